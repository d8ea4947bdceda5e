package oci_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
)

func TestNode(t *testing.T) {
	raw := imageJSON("")
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for _, accepted := range []string{image, index, "docker.distribution.manifest.list.v2+json", "docker.distribution.manifest.v2+json", "manifest.v1+prettyjws"} {
			if !strings.Contains(r.Header.Get("Accept"), accepted) {
				t.Errorf("does not accept %s", accepted)
			}
		}
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("accepts the encoding %s, which would change the bytes", got)
		}
		w.Header().Set("Content-Type", image)
		fmt.Fprint(w, raw)
	})
	c := client(t, s.host)
	want := digest.FromString(raw)
	for path, ref := range map[string]oci.Reference{
		"/v2/a/b/manifests/v1":              parse(t, s.host+"/a/b:v1"),
		"/v2/a/b/manifests/" + string(want): parse(t, s.host+"/a/b:v1@"+string(want)),
	} {
		n, err := c.Node(background, ref)
		if err != nil || n.Descriptor.Digest != want || string(n.Raw) != raw {
			t.Errorf("%s: got %+v, %v", ref, n.Descriptor, err)
		}
		seen := s.seen()
		if got := seen[len(seen)-1].URL.Path; got != path {
			t.Errorf("%s: asked for %s, want %s", ref, got, path)
		}
	}
}

// A registry cannot pass off other bytes for a digest, nor say with headers that
// they have it.
func TestNodeOfLyingRegistry(t *testing.T) {
	for _, kind := range []string{image, "application/vnd.docker.distribution.manifest.v1+prettyjws"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Docker-Content-Digest", someDigest)
			fmt.Fprint(w, imageJSON(""))
		})
		_, err := client(t, s.host).Node(background, parse(t, s.host+"/a@"+someDigest))
		wantError(t, err, "the registry sent sha256:")
		if n := len(s.seen()); n != 1 {
			t.Errorf("asked %d times", n)
		}
	}
}

func TestNodeLimits(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", image)
		for range oci.MaxNodeSize/1024 + 1 {
			fmt.Fprint(w, strings.Repeat(" ", 1024))
		}
	})
	_, err := client(t, s.host).Node(background, parse(t, s.host+"/a"))
	wantError(t, err, "larger than 4194304 bytes")
}

// Plain web servers serve manifests with the media types of any file.
func TestNodeWithGenericType(t *testing.T) {
	for _, kind := range []string{"application/json", "text/plain; charset=utf-8", "application/octet-stream"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, imageJSON(""))
		})
		n, err := client(t, s.host).Node(background, parse(t, s.host+"/a"))
		if err != nil || n.Descriptor.MediaType != image {
			t.Errorf("%s: %s, %v", kind, n.Descriptor.MediaType, err)
		}
	}
}

// Answers are classified by their status, and 404 by its code too; never by their
// words.
func TestStatuses(t *testing.T) {
	const ociBody = `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest \u001b[31munknown","detail":{}},{"code":"SECOND"}]}`
	for _, c := range []struct {
		status          int
		kind, body      string
		tries           int
		missing, denied bool
		text            string
	}{
		{404, "application/json", ociBody, 1, true, false, ": 404 MANIFEST_UNKNOWN: manifest  [31munknown"},
		{404, "text/plain", "Not found\nsecond line", 1, true, false, ": 404 Not found"},
		{404, "text/html", "<h1>404</h1>", 1, true, false, ": 404 Not Found"},
		{404, "", "", 1, true, false, ": 404 Not Found"},
		{410, "", "", 1, true, false, ": 410 Gone"},
		{404, "application/json", `{"errors":[{"code":"NAME_UNKNOWN","message":"access denied"}]}`, 1, true, false, ": 404 NAME_UNKNOWN: access denied"},
		{404, "application/json", `{"errors":[{"code":"DENIED","message":"not found"}]}`, 1, false, true, ": 404 DENIED: not found"},
		{404, "application/json", `{"errors":[{"code":"UNAUTHORIZED"}]}`, 1, false, true, ": 404 UNAUTHORIZED"},
		{401, "", ociBody, 1, false, true, ": 401 MANIFEST_UNKNOWN"},
		{403, "text/html", "404 not found", 1, false, true, ": 403 Forbidden"},
		{400, "application/json", `{"errors":[]}`, 1, false, false, ": 400 Bad Request"},
		{418, "application/json", `{"errors":"a string"}`, 1, false, false, ": 418 I'm a teapot"},
		{429, "", "", 5, false, false, ": 429 Too Many Requests (tried 5 times)"},
		{408, "", "", 5, false, false, ": 408 Request Timeout"},
		{500, "", ociBody, 5, false, false, ": 500 MANIFEST_UNKNOWN"},
		{502, "", "", 5, false, false, ": 502 Bad Gateway"},
		{503, "", "", 5, false, false, ": 503 Service Unavailable"},
		{504, "", "", 5, false, false, ": 504 Gateway Timeout"},
		{522, "", "", 5, false, false, ": 522"},
		{501, "", "", 1, false, false, ": 501 Not Implemented"},
		{507, "", "", 1, false, false, ": 507"},
		{204, "", "", 1, false, false, ": 204"},
		{404, "application/json", `{"errors":[{"code":"X","message":"` + strings.Repeat("é", 300) + `"}]}`, 1, true, false, "é…"},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.kind != "" {
				w.Header().Set("Content-Type", c.kind)
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		_, err := client(t, s.host).Node(background, parse(t, s.host+"/a/b:x"))
		var answer *oci.StatusError
		if !errors.As(err, &answer) || answer.Status != c.status {
			t.Errorf("%d: got %v", c.status, err)
			continue
		}
		if text := "GET " + s.host + "/v2/a/b/manifests/x"; !strings.HasPrefix(err.Error(), text) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%d: got %q, want it to say %q", c.status, err, text+c.text)
		}
		if n := len(s.seen()); n != c.tries || oci.IsMissing(err) != c.missing || oci.IsDenied(err) != c.denied {
			t.Errorf("%d %s: %d tries, missing %v, denied %v", c.status, c.kind, n, oci.IsMissing(err), oci.IsDenied(err))
		}
		if len(answer.Message) > 200 {
			t.Errorf("a message of %d bytes", len(answer.Message))
		}
	}
}

// A failure that goes by is not seen; the whole of the body counts.
func TestNodeRetries(t *testing.T) {
	var n atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", image)
		switch n.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler)
		case 3: // cut in the middle
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "{")
			panic(http.ErrAbortHandler)
		default:
			fmt.Fprint(w, imageJSON(""))
		}
	})
	if _, err := client(t, s.host).Node(background, parse(t, s.host+"/a")); err != nil {
		t.Fatal(err)
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "1.5": 0, "soon": 0, "99999999999": 0,
		"Wed, 21 Oct 2015 07:28:00 GMT":                         0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): time.Hour,
	} {
		got := oci.RetryAfter(http.Header{"Retry-After": {value}})
		if got > want || got < want-2*time.Second {
			t.Errorf("%s: got %v, want %v", value, got, want)
		}
	}
}

// The wait that a registry asks for is waited; one beyond reason is not.
func TestRetryAfterIsHonoured(t *testing.T) {
	var n atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", image)
		fmt.Fprint(w, imageJSON(""))
	})
	began := time.Now()
	if _, err := client(t, s.host).Node(background, parse(t, s.host+"/a")); err != nil || time.Since(began) < time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	for _, value := range []string{"3600", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		_, err := client(t, s.host).Node(background, parse(t, s.host+"/a"))
		var answer *oci.StatusError
		if !errors.As(err, &answer) || answer.RetryAfter < 59*time.Minute || len(s.seen()) != 1 || !strings.Contains(err.Error(), "again in "+answer.RetryAfter.Round(time.Second).String()) {
			t.Errorf("%s: %d tries, %v", value, len(s.seen()), err)
		}
	}
}

// A context that ends ends the waits between tries, and keeps its cause.
func TestContextEndsWaiting(t *testing.T) {
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(background)
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "200")
		w.WriteHeader(http.StatusServiceUnavailable)
		time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	})
	began := time.Now()
	_, err := client(t, s.host).Node(ctx, parse(t, s.host+"/a"))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, reason) || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// A registry that takes the request and says nothing is given up.
func TestStalledAnswer(t *testing.T) {
	end := make(chan struct{})
	var n atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", image)
		if n.Add(1) == 1 {
			select {
			case <-end:
			case <-r.Context().Done():
			}
			return
		}
		fmt.Fprint(w, imageJSON(""))
	})
	defer close(end)
	c := client(t, s.host)
	c.SetLimits(100*time.Millisecond, time.Minute)
	if _, err := c.Node(background, parse(t, s.host+"/a")); err != nil || n.Load() != 2 {
		t.Errorf("%d tries, %v", n.Load(), err)
	}
}

func TestConfig(t *testing.T) {
	data := []byte(`{"architecture":"amd64"}`)
	sent := data
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(sent) })
	c := client(t, s.host)
	r := parse(t, s.host+"/a")
	d := blobOf(data)
	got, err := c.Config(background, r, oci.Node{Config: &d})
	if err != nil || string(got) != string(data) {
		t.Errorf("got %s, %v", got, err)
	}
	sent = []byte(strings.Replace(string(data), "amd64", "arm64", 1))
	_, err = c.Config(background, r, oci.Node{Config: &d})
	wantError(t, err, "the registry sent sha256:")
	_, err = c.Config(background, r, oci.Node{})
	wantError(t, err, "an index has none")
	d.Size = 9 << 20
	_, err = c.Config(background, r, oci.Node{Config: &d})
	wantError(t, err, "the limit is")
}

func TestReferrers(t *testing.T) {
	descriptor := func(n int) string {
		return fmt.Sprintf(`{"mediaType":"%s","digest":"sha256:%064d","size":%d,"artifactType":"a/b"}`, image, n, n)
	}
	page := func(n ...string) string {
		return `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[` + strings.Join(n, ",") + `]}`
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", index)
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `</v2/a/b/referrers/`+someDigest+`?n=2&last=9>; rel="next"`)
			fmt.Fprint(w, page(descriptor(9), descriptor(2)))
			return
		}
		fmt.Fprint(w, page(descriptor(5), descriptor(2)))
	})
	c := client(t, s.host)
	r := parse(t, s.host+"/a/b@"+someDigest)
	got, supported, err := c.Referrers(background, r)
	if err != nil || !supported || len(got) != 3 || got[0].Size != 2 || got[1].Size != 5 || got[2].Size != 9 || got[0].ArtifactType != "a/b" {
		t.Errorf("got %+v, %v, %v", got, supported, err)
	}
	if _, _, err := c.Referrers(background, r.WithTag("a")); err == nil {
		t.Error("listed the referrers of a tag")
	}
}

func TestReferrersOfGenericType(t *testing.T) {
	for body, want := range map[string]bool{`{"schemaVersion":2,"mediaType":"` + index + `","manifests":[]}`: true, `{"schemaVersion":2,"manifests":[]}`: true, imageJSON(""): false, `{"a":1}`: false, "": false} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, body)
		})
		if _, supported, err := client(t, s.host).Referrers(background, parse(t, s.host+"/a@"+someDigest)); supported != want || err != nil {
			t.Errorf("%s: %v, %v", body, supported, err)
		}
	}
}

func TestReferrersUnsupported(t *testing.T) {
	for status, kind := range map[int]string{404: "", 400: "", 405: "", 501: "", 200: "text/html"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
		})
		c := client(t, s.host)
		for _, path := range []string{"/a@", "/b@"} {
			if got, supported, err := c.Referrers(background, parse(t, s.host+path+someDigest)); err != nil || supported || got != nil {
				t.Errorf("%d: %v, %v, %v", status, got, supported, err)
			}
		}
		if n := len(s.seen()); n != 1 {
			t.Errorf("%d: asked %d times", status, n)
		}
	}
}

func TestReferrersErrors(t *testing.T) {
	for _, c := range []struct {
		status           int
		link, body, text string
	}{
		{401, "", "", "401"},
		{403, "", "", "403"},
		{429, "", "", "429"},
		{503, "", "", "503"},
		{200, `<http://other.example/v2/>; rel="next"`, `{"schemaVersion":2,"manifests":[]}`, "another host"},
		{200, "", `{"schemaVersion":2,"manifests":[{"digest":"sha256:1","size":1}]}`, "sha256"},
		{200, `</v2/a/referrers/again>; rel="next"`, `{"schemaVersion":2,"manifests":[]}`, "pages"},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			if c.link != "" {
				w.Header().Set("Link", c.link)
			}
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		_, _, err := client(t, s.host).Referrers(background, parse(t, s.host+"/a@"+someDigest))
		wantError(t, err, c.text)
	}
}
