package bundle_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"airlift/bundle"
	"airlift/manifest"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// told is a registry that an import has filled, behind a proxy, and a cluster
// that was told of it.
type told struct {
	proxy   *ocitest.Proxy
	rule    atomic.Pointer[func(*http.Request) *ocitest.Fault]
	bundle  *bundle.Bundle
	place   bundle.Placement
	objects string
	asked   int // requests before the check
}

// tell imports images of all shapes, and writes the objects.
func tell(t *testing.T, cluster string) *told {
	t.Helper()
	var refs []string
	near := source(t, func(b *ocitest.Builder) { refs = everyShape(b) })
	far := ocitest.StartRegistry(t)
	w := &told{objects: t.TempDir()}
	w.proxy = ocitest.Misbehave(t, far.Host, func(r *http.Request) *ocitest.Fault {
		if rule := w.rule.Load(); rule != nil {
			return (*rule)(r)
		}
		return nil
	})
	c := client(t, near.Host, w.proxy.Host)
	m := export(t, c, inventory(t, plan(t, c, bundle.Request{Images: references(t, refs...)}), 0))
	w.bundle = openAt(t, m, m.dir)
	var err error
	w.place.To, err = bundle.ParseLocation(w.proxy.Host + "/in")
	check(t, err)
	w.place.Cluster, err = bundle.ParseClusterLocation(strings.ReplaceAll(cluster, "PROXY", w.proxy.Host))
	check(t, err)
	results, err := w.bundle.Import(t.Context(), c, bundle.ImportOptions{Placement: w.place})
	check(t, err)
	_, err = w.bundle.Report(results, bundle.NewObjectOptions(w.place, "", "")).WriteObjects(w.objects)
	check(t, err)
	w.asked = len(w.proxy.Log())
	return w
}

// check asks what the cluster could pull, with the mirror sets that lie there.
func (w *told) check(t *testing.T, full bool) []bundle.PullResult {
	t.Helper()
	cluster, err := bundle.ReadCluster(w.objects, w.place.Cluster.Host, bundle.Stated{})
	check(t, err)
	return w.checkPulls(t, cluster.Pulls(&w.bundle.Inventory.Content, nil), full)
}

func (w *told) checkPulls(t *testing.T, pulls []bundle.Pull, full bool) []bundle.PullResult {
	t.Helper()
	authfile := filepath.Join(t.TempDir(), "auth.json")
	ocitest.WriteAuthfile(t, authfile, nil)
	c, err := oci.NewClient(oci.Options{Insecure: []string{w.proxy.Host}, Authfile: authfile, Tries: 2, Backoff: 1})
	check(t, err)
	w.asked = len(w.proxy.Log())
	results, err := w.bundle.CheckPulls(t.Context(), c, pulls, bundle.PullOptions{Placement: w.place, Full: full})
	check(t, err)
	return results
}

// answer makes the proxy answer requests of a method ("" = any) whose path has
// the text.
func (w *told) answer(method, text string, f *ocitest.Fault) {
	rule := func(r *http.Request) *ocitest.Fault {
		if (method == "" || r.Method == method) && strings.Contains(r.URL.Path, text) {
			return f
		}
		return nil
	}
	w.rule.Store(&rule)
}

func lost(results []bundle.PullResult) (all []bundle.PullResult) {
	for _, r := range results {
		if !r.OK {
			all = append(all, r)
		}
	}
	return all
}

// TestPullsAreAskedOnce: whatever refers to it, each manifest and each blob is
// asked for once, nothing is written, and an index has all of its children.
func TestPullsAreAskedOnce(t *testing.T) {
	t.Parallel()
	w := tell(t, "PROXY/in")
	results := w.check(t, false)
	if len(lost(results)) > 0 || bundle.PullVerdict(results) != nil || len(results) < len(w.bundle.Inventory.Content.Images) {
		t.Fatalf("%+v", lost(results))
	}
	counts := map[string]int{}
	for _, r := range w.proxy.Log()[w.asked:] {
		counts[r.Method+" "+r.Path]++
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
	for request, n := range counts {
		if n > 1 && !strings.HasSuffix(request, "/v2/") { // logins ask it
			t.Errorf("%s was asked %d times", request, n)
		}
	}
	content := &w.bundle.Inventory.Content
	attached := map[digest.Digest]bool{} // looked for by their tags alone
	for _, i := range content.Images {
		if name, tag, found := strings.Cut(i.Reference, ":sha256-"); found {
			attached[i.Digest] = hasRequest(counts, "GET ", strings.TrimPrefix(name, "quay.io")+"/manifests/sha256-"+tag)
		}
	}
	if len(attached) == 0 {
		t.Error("nothing is attached to anything")
	}
	for _, n := range content.Nodes {
		if !attached[n.Digest] && !hasRequest(counts, "GET ", "/manifests/"+n.Digest.String()) {
			t.Errorf("the manifest %s was not asked for", n.Digest)
		}
	}
	for _, b := range content.Blobs {
		if !hasRequest(counts, "HEAD ", "/blobs/"+b.Digest.String()) {
			t.Errorf("the blob %s was not asked for", b.Digest)
		}
	}
}

func hasRequest(counts map[string]int, method, end string) bool {
	for request := range counts {
		if strings.HasPrefix(request, method) && strings.HasSuffix(request, end) {
			return true
		}
	}
	return false
}

// TestWhatCannotBePulled: what a registry does to any part of an image is a
// finding about this image, and about no other.
func TestWhatCannotBePulled(t *testing.T) {
	t.Parallel()
	w := tell(t, "PROXY/in")
	gone := &ocitest.Fault{Status: 404, Body: "gone"}
	var child digest.Digest
	for _, i := range w.bundle.Inventory.Content.Images {
		for _, n := range w.bundle.Inventory.Content.Nodes {
			if i.Reference == "quay.io/shapes/list:v1" && n.Digest == i.Digest {
				child = n.Children[1]
			}
		}
	}
	for _, c := range []struct {
		name   string
		full   bool
		method string
		path   string
		fault  *ocitest.Fault
		reason string // "" if it can be pulled all the same
	}{
		{"no manifest", false, "GET", "/in/shapes/oci/manifests/", gone, "404"},
		{"no child", false, "GET", "/in/shapes/list/manifests/" + child.String(), gone, "404"},
		{"no blob", false, "HEAD", "/in/shapes/oci/blobs/", gone, "404"},
		{"a blob of another size", false, "HEAD", "/in/shapes/oci/blobs/", &ocitest.Fault{Header: http.Header{"Content-Length": {"7"}}}, "/in/shapes/oci has 7 bytes of blob"},
		{"denied", false, "GET", "/in/shapes/oci/manifests/", &ocitest.Fault{Status: 403}, "403"},
		{"no HEAD of blobs", false, "HEAD", "/in/shapes/oci/blobs/", &ocitest.Fault{Status: 405}, ""},
		{"other bytes of a manifest", false, "GET", "/in/shapes/oci/manifests/", &ocitest.Fault{Corrupt: true, At: 5}, ""},
		{"other bytes of a blob, not looked at", false, "GET", "/in/shapes/oci/blobs/", &ocitest.Fault{Corrupt: true, At: 5}, ""},
		{"other bytes of a blob", true, "GET", "/in/shapes/oci/blobs/", &ocitest.Fault{Corrupt: true, At: 5}, "the registry sent sha256:"},
		{"all bytes as they should be", true, "PUT", "", nil, ""},
	} {
		if c.name == "other bytes of a manifest" {
			c.reason = "shapes/oci" // by tag it is no manifest or another one, by digest it has another
		}
		w.answer(c.method, c.path, c.fault)
		found := lost(w.check(t, c.full))
		if (len(found) > 0) != (c.reason != "") {
			t.Errorf("%s: %+v", c.name, found)
		}
		for _, r := range found {
			path := strings.Split(c.path, "/")
			if !strings.Contains(r.Reason, c.reason) || !strings.Contains(r.Reference, "shapes/"+path[3]) {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
	}
}

// TestFirstMirrorCounts: the first place that has the manifest serves all of an
// image; one that is another registry's is passed over, and never asked.
func TestFirstMirrorCounts(t *testing.T) {
	t.Parallel()
	w := tell(t, "PROXY/in")
	image := w.bundle.Inventory.Content.Images[0]
	for _, i := range w.bundle.Inventory.Content.Images {
		if i.Reference == "quay.io/shapes/oci:v1" {
			image = i
		}
	}
	here, elsewhere := w.proxy.Host+"/in/shapes/oci", "127.0.0.1:1/shapes/oci"
	missing := w.proxy.Host + "/in/shapes/none"
	for _, c := range []struct {
		name    string
		sources []manifest.PullSource
		from    string
		reason  string
	}{
		{"after one that has it not", []manifest.PullSource{{Name: missing}, {Name: here}, {Name: "quay.io/shapes/oci"}}, here, ""},
		{"after another registry", []manifest.PullSource{{Name: elsewhere}, {Name: here}, {Name: "quay.io/shapes/oci"}}, here, ""},
		{"only another registry", []manifest.PullSource{{Name: elsewhere}, {Name: "quay.io/shapes/oci"}}, "", "127.0.0.1:1/shapes/oci is in another registry, which was not asked"},
		{"only a blocked one", []manifest.PullSource{{Name: here, Blocked: true}, {Name: "quay.io/shapes/oci"}}, "", here + " is blocked"},
		{"itself", []manifest.PullSource{{Name: here}}, here, ""},
		{"itself, blocked", []manifest.PullSource{{Name: here, Blocked: true}}, "", here + " is blocked"},
		{"no mirror", []manifest.PullSource{{Name: "quay.io/shapes/oci"}}, "", "no mirror is given for it: a cluster would ask quay.io"},
		{"another image first", []manifest.PullSource{{Name: w.proxy.Host + "/in/shapes/list"}, {Name: here}, {Name: "quay.io/shapes/oci"}}, w.proxy.Host + "/in/shapes/list", "is another image"},
		{"not under the prefix", []manifest.PullSource{{Name: w.proxy.Host + "/shapes/oci"}, {Name: "quay.io/shapes/oci"}}, "", "404"},
	} {
		p := bundle.Pull{Way: bundle.ByNode, Reference: image.Reference, Digest: image.Digest, Sources: c.sources}
		r := w.checkPulls(t, []bundle.Pull{p}, false)[0]
		if r.OK != (c.reason == "") || r.From != c.from || !strings.Contains(r.Reason, c.reason) {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// TestEveryLineOfMirrorSets: no line can be deleted from the mirror sets without
// being missed. (Names of objects are the API's affair.)
func TestEveryLineOfMirrorSets(t *testing.T) {
	t.Parallel()
	w := tell(t, "registry.plant.example:8443/of/plant") // and its names are not those of this host
	if found := lost(w.check(t, false)); len(found) > 0 {
		t.Fatalf("%+v", found)
	}
	for _, file := range []string{bundle.IDMSFile, bundle.ITMSFile} {
		path := filepath.Join(w.objects, file)
		whole, err := os.ReadFile(path)
		check(t, err)
		lines := strings.SplitAfter(string(whole), "\n")
		for i, line := range lines {
			if line == "" || strings.HasPrefix(line, "metadata:") || strings.HasPrefix(line, "  name:") {
				continue
			}
			without := strings.Join(lines[:i], "") + strings.Join(lines[i+1:], "")
			check(t, os.WriteFile(path, []byte(without), 0o666))
			cluster, err := bundle.ReadCluster(w.objects, w.place.Cluster.Host, bundle.Stated{})
			if err != nil {
				continue
			}
			if len(lost(w.checkPulls(t, cluster.Pulls(&w.bundle.Inventory.Content, nil), false))) == 0 {
				t.Errorf("nobody misses line %d of %s: %s", i+1, file, line)
			}
		}
		check(t, os.WriteFile(path, whole, 0o666))
	}
}
