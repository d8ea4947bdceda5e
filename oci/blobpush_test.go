package oci_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci"
	"airlift/oci/ocitest"
)

// tooLarge is the answer of nginx to a body above client_max_body_size
// (ngx_http_special_response.c), which it gives before it reads any of it
// (ngx_http_core_module.c, ngx_http_core_find_config_phase). Registries are put behind it
// with its 1 MiB: see nginx/kubernetes-ingress issue 122, goharbor/harbor issue 3270.
var tooLarge = ocitest.Fault{Status: 413, Header: http.Header{"Content-Type": {"text/html"}},
	Body: "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"}

// TestUploadInPieces: a blob that a registry does not take whole comes in pieces,
// and so do those after it, without asking again; from what can be read again and
// from what cannot.
func TestUploadInPieces(t *testing.T) {
	data := bytesOf(3<<20 + 7)
	puts := func(r *http.Request) bool { return r.Method == http.MethodPut && r.ContentLength > 0 }
	for name, c := range map[string]struct {
		refuse func(r *http.Request) *ocitest.Fault
		want   string // the requests with bytes of the first blob, and of the second
	}{
		"413": {func(r *http.Request) *ocitest.Fault {
			if r.ContentLength > 1<<20 {
				return &tooLarge
			}
			return nil
		}, "PUT 3145735, PATCH 1048576, PATCH 1048576, PATCH 1048576, PATCH 7; PATCH 1048576, PATCH 1048576, PATCH 1048576, PATCH 7"},
		"404": {refusing(puts, ocitest.Fault{Status: 404}), "PUT 3145735, PATCH 3145735; PATCH 3145735"},
		"405": {refusing(puts, ocitest.Fault{Status: 405}), "PUT 3145735, PATCH 3145735; PATCH 3145735"},
		"501": {refusing(puts, ocitest.Fault{Status: 501, Body: `{"errors":[{"code":"UNSUPPORTED"}]}`}), "PUT 3145735, PATCH 3145735; PATCH 3145735"},
		"pieces of at least 2 MiB": {func(r *http.Request) *ocitest.Fault {
			if r.Method == http.MethodPost {
				return &ocitest.Fault{Header: http.Header{"OCI-Chunk-Min-Length": {"2097152"}}}
			}
			if r.ContentLength > 2<<20 {
				return &tooLarge
			}
			return nil
		}, "PUT 3145735, PATCH 2097152, PATCH 1048583; PATCH 2097152, PATCH 1048583"},
	} {
		for _, host := range registries(t) {
			for _, once := range []bool{false, true} {
				proxy := ocitest.Misbehave(t, host, c.refuse)
				registry, got := client(t, proxy.Host), []string(nil)
				for _, repo := range []string{"/a/b", "/c/d"} {
					before := len(proxy.Log())
					r := parse(t, proxy.Host+repo)
					var err error
					if once {
						err = registry.PutBlobOnce(background, r, blobOf(data), bytes.NewReader(data))
					} else {
						err = registry.PutBlob(background, r, blobOf(data), opening(data))
					}
					if err != nil {
						t.Fatalf("%s, %s, once %v: %v", name, host, once, err)
					}
					got = append(got, bodies(proxy.Log()[before:]))
					if has, err := registry.HasBlob(background, r, blobOf(data)); !has || err != nil {
						t.Errorf("%s, %s: has it: %v, %v", name, host, has, err)
					}
				}
				if got := strings.Join(got, "; "); got != c.want {
					t.Errorf("%s, %s, once %v: sent %s", name, host, once, got)
				}
			}
		}
	}
}

func refusing(which func(*http.Request) bool, fault ocitest.Fault) func(*http.Request) *ocitest.Fault {
	return func(r *http.Request) *ocitest.Fault {
		if which(r) {
			return &fault
		}
		return nil
	}
}

// bodies lists the requests that had one.
func bodies(log []ocitest.Request) string {
	var all []string
	for _, r := range log {
		if r.Length > 0 {
			all = append(all, fmt.Sprint(r.Method, " ", r.Length))
		}
	}
	return strings.Join(all, ", ")
}

// TestUploadTooLarge: where even the smallest piece is refused that is said.
func TestUploadTooLarge(t *testing.T) {
	proxy := ocitest.Misbehave(t, registries(t)[0], refusing(func(r *http.Request) bool { return r.ContentLength > 1<<19 }, tooLarge))
	data := bytesOf(5 << 20)
	err := client(t, proxy.Host).PutBlob(background, parse(t, proxy.Host+"/a/b"), blobOf(data), opening(data))
	wantError(t, err, "413")
	if got := bodies(proxy.Log()); got != "PUT 5242880, PATCH 4194304, PATCH 1048576" {
		t.Errorf("sent %s", got)
	}
}

// TestUploadTooLargeForLess: pieces that are refused are not sent again and again because
// the registry wants none that are smaller.
func TestUploadTooLargeForLess(t *testing.T) {
	proxy := ocitest.Misbehave(t, registries(t)[0], func(r *http.Request) *ocitest.Fault {
		switch {
		case r.Method == http.MethodPost:
			return &ocitest.Fault{Header: http.Header{"OCI-Chunk-Min-Length": {"2097152"}}}
		case r.ContentLength > 1<<20:
			return &tooLarge
		}
		return nil
	})
	data := bytesOf(5 << 20)
	err := client(t, proxy.Host).PutBlob(t.Context(), parse(t, proxy.Host+"/a/b"), blobOf(data), opening(data))
	wantError(t, err, "413")
	if got := bodies(proxy.Log()); got != "PUT 5242880, PATCH 4194304, PATCH 2097152" {
		t.Errorf("sent %s", got)
	}
}

// TestUploadNeverEnds: where no upload can be ended, in one piece or in several, that is
// said, and not tried for ever.
func TestUploadNeverEnds(t *testing.T) {
	for size, want := range map[int]string{0: "", 1000: "PUT 1000, PATCH 1000"} {
		proxy := ocitest.Misbehave(t, registries(t)[0], refusing(func(r *http.Request) bool { return r.Method == http.MethodPut }, ocitest.Fault{Status: 404}))
		data := bytesOf(size)
		ctx, end := context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		err := client(t, proxy.Host).PutBlob(ctx, parse(t, proxy.Host+"/a/b"), blobOf(data), opening(data))
		wantError(t, err, ": 404")
		if got := bodies(proxy.Log()); got != want {
			t.Errorf("%d bytes: sent %.200s", size, got)
		}
	}
}

// TestPieceOnlyShrinks: what is answered late to a larger blob does not undo what was
// learnt from a smaller one.
func TestPieceOnlyShrinks(t *testing.T) {
	small, large := bytesOf(3<<20), bytesOf(70<<20)
	arrived, learnt := make(chan struct{}), make(chan struct{})
	proxy := ocitest.Misbehave(t, registries(t)[0], func(r *http.Request) *ocitest.Fault {
		if r.ContentLength == int64(len(large)) {
			close(arrived)
			<-learnt
		}
		if r.ContentLength > 1<<20 {
			return &tooLarge
		}
		return nil
	})
	c := client(t, proxy.Host)
	var all sync.WaitGroup
	all.Go(func() {
		if err := c.PutBlob(background, parse(t, proxy.Host+"/a/large"), blobOf(large), opening(large)); err != nil {
			t.Error(err)
		}
	})
	<-arrived
	err := c.PutBlob(background, parse(t, proxy.Host+"/a/small"), blobOf(small), opening(small))
	close(learnt)
	all.Wait()
	if err != nil || strings.Contains(bodies(proxy.Log()), "PATCH 67108864") {
		t.Errorf("%v: sent %.300s", err, bodies(proxy.Log()))
	}
}

// TestUploadFlipped: a byte that the network changes costs a try, not the blob; what
// always arrives so is given up.
func TestUploadFlipped(t *testing.T) {
	data := bytesOf(300_000)
	for _, o := range []ocitest.RegistryOptions{{}, {Three: true}} {
		for flips, reason := range map[int32]string{1: "", 4: "", 99: "DIGEST_INVALID"} {
			var puts atomic.Int32
			proxy := ocitest.Misbehave(t, ocitest.StartRegistryWith(t, o).Host, refusing(func(r *http.Request) bool {
				return r.Method == http.MethodPut && puts.Add(1) <= flips
			}, ocitest.Fault{CorruptUpload: true, At: 100_000}))
			err := client(t, proxy.Host).PutBlob(background, parse(t, proxy.Host+"/a/b"), blobOf(data), opening(data))
			if want := min(flips+1, 5); puts.Load() != want || (err == nil) != (reason == "") {
				t.Errorf("three %v, %d flips: sent %d times, %v", o.Three, flips, puts.Load(), err)
			}
			if reason != "" {
				wantError(t, err, reason)
			}
		}
	}
}

// TestUploadGoesOn: distribution 3 keeps what came of a try that broke off, and the
// next goes on from there; 2.8 has lost it, and the blob comes from its start. That
// holds for a blob in one piece and for one in several.
func TestUploadGoesOn(t *testing.T) {
	data := bytesOf(6 << 20)
	for _, c := range []struct {
		registry ocitest.RegistryOptions
		pieces   bool
		from     string // where what was sent again began
	}{
		{ocitest.RegistryOptions{Three: true}, false, "on"},
		{ocitest.RegistryOptions{Three: true}, true, "on"},
		{ocitest.RegistryOptions{}, false, "anew"},
		{ocitest.RegistryOptions{}, true, "anew"},
	} {
		host := ocitest.StartRegistryWith(t, c.registry).Host
		var cuts atomic.Int32
		proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
			switch {
			case c.pieces && r.ContentLength > 1<<20:
				return &tooLarge
			case !c.pieces && r.ContentLength == int64(len(data)) && cuts.Add(1) == 1:
				return &ocitest.Fault{BreakUpload: true, At: 3 << 20}
			case c.pieces && strings.HasPrefix(r.Header.Get("Content-Range"), "2097152-") && cuts.Add(1) == 1:
				return &ocitest.Fault{BreakUpload: true, At: 1 << 19}
			}
			return nil
		})
		registry, r := newClient(t, oci.Options{Insecure: []string{proxy.Host}, Backoff: 200 * time.Millisecond}), parse(t, proxy.Host+"/a/b")
		opened := 0
		err := registry.PutBlob(background, r, blobOf(data), func() (io.ReadCloser, error) { opened++; return opening(data)() })
		has, asked := registry.HasBlob(background, r, blobOf(data))
		if err != nil || asked != nil || !has {
			t.Fatalf("%+v: %v, has it: %v, %v", c, err, has, asked)
		}
		begun := 0 // with all of it, or with its first piece
		for _, q := range proxy.Log() {
			if q.Length == int64(len(data)) && !c.pieces || strings.HasPrefix(q.Header.Get("Content-Range"), "0-") && q.Length <= 1<<20 {
				begun++
			}
		}
		if want := map[string]int{"on": 1, "anew": 2}[c.from]; begun != want || cuts.Load() == 0 {
			t.Errorf("%+v: begun %d times, opened %d times: %s", c, begun, opened, bodies(proxy.Log()))
		}
	}
}

// TestUploadProgress: a link that breaks again and again brings a blob all the
// same, as long as each try adds to what the registry has.
func TestUploadProgress(t *testing.T) {
	host := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{Three: true}).Host
	data := bytesOf(8 << 20)
	proxy := ocitest.Misbehave(t, host, func(r *http.Request) *ocitest.Fault {
		if r.ContentLength > 1<<20 {
			return &ocitest.Fault{BreakUpload: true, At: 1 << 20}
		}
		return nil
	})
	c := newClient(t, oci.Options{Insecure: []string{proxy.Host}, Backoff: 100 * time.Millisecond, Tries: 3})
	if err := c.PutBlob(background, parse(t, proxy.Host+"/a/b"), blobOf(data), opening(data)); err != nil {
		t.Error(err)
	}
}

// TestUploadKeptWrong: where a registry says to have kept what is not what was
// sent, the blob comes from its start.
func TestUploadKeptWrong(t *testing.T) {
	data := bytesOf(300_000)
	var mu sync.Mutex
	var sent []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Location", "/v2/a/blobs/uploads/1")
		if n > 0 && err == nil {
			sent = append(sent, fmt.Sprint(r.Method, " ", n))
		}
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodGet:
			w.Header().Set("Range", "0-99999")
			w.WriteHeader(http.StatusNoContent)
		case r.Method == http.MethodPut && len(sent) == 1:
			w.WriteHeader(http.StatusBadGateway)
		case r.Method == http.MethodPut && len(sent) == 2:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"errors":[{"code":"DIGEST_INVALID"}]}`)
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusCreated)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	err := client(t, s.host).PutBlob(background, parse(t, s.host+"/a"), blobOf(data), opening(data))
	if got := strings.Join(sent, ", "); err != nil || got != "PUT 300000, PATCH 200000, PUT 300000" {
		t.Errorf("%v: sent %s", err, got)
	}
}

// TestUploadAnswerLost: a blob whose answer alone was lost is not sent again.
func TestUploadAnswerLost(t *testing.T) {
	data := bytesOf(100_000)
	for _, host := range registries(t) {
		var puts atomic.Int32
		proxy := ocitest.Misbehave(t, host, refusing(func(r *http.Request) bool { return r.Method == http.MethodPut && puts.Add(1) == 1 }, ocitest.Fault{Lose: true}))
		err := client(t, proxy.Host).PutBlob(background, parse(t, proxy.Host+"/a/b"), blobOf(data), opening(data))
		if err != nil || puts.Load() != 1 {
			t.Errorf("%s: sent %d times, %v", host, puts.Load(), err)
		}
	}
}

// TestUploadResumedIsChecked: what was kept is read again, and a reader that finds
// at its end that the bytes are wrong keeps the rest from being sent.
func TestUploadResumedIsChecked(t *testing.T) {
	host := ocitest.StartRegistryWith(t, ocitest.RegistryOptions{Three: true}).Host
	var cuts atomic.Int32
	proxy := ocitest.Misbehave(t, host, refusing(func(r *http.Request) bool { return r.ContentLength > 1<<20 && cuts.Add(1) == 1 },
		ocitest.Fault{BreakUpload: true, At: 3 << 20}))
	data, damaged := bytesOf(32<<20), errors.New("damaged") // more than sockets hold
	opened := 0
	err := client(t, proxy.Host).PutBlob(background, parse(t, proxy.Host+"/a/b"), blobOf(data), func() (io.ReadCloser, error) {
		opened++
		return io.NopCloser(&failing{bytes.NewReader(data), damaged}), nil
	})
	if opened < 2 || !errors.Is(err, damaged) || proxy.Count(http.MethodDelete, "/uploads/") == 0 {
		t.Errorf("opened %d times, %v", opened, err)
	}
}

// TestUploadTakesLittleMemory: a blob goes through the same few chunks from its first
// byte to its last, whatever its size.
func TestUploadTakesLittleMemory(t *testing.T) {
	const size, allowed = 64 << 20, 8 << 20
	var got atomic.Int64
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("Location", "/v2/a/b/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			n, _ := io.Copy(io.Discard, r.Body)
			got.Add(n)
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer registry.Close()
	host := registry.Listener.Addr().String()
	blob := ocispec.Descriptor{Digest: digest.FromString("not looked at"), Size: size}
	zeros := func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(zeros{}, 0, size)), nil }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := client(t, host).PutBlob(background, parse(t, host+"/a/b"), blob, zeros); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; got.Load() != size || taken > allowed {
		t.Errorf("%d of %d bytes arrived, and took %d bytes of memory, %d are allowed", got.Load(), size, taken, allowed)
	}
}
