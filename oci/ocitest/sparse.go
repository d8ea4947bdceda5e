package ocitest

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// SparseRefusals are the answers of registries to an index whose children are not
// all there.
var SparseRefusals = map[string]Fault{
	"distribution": {Status: 400, Body: `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":{}}]}`},
	"zot":          {Status: 400, Body: `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{}}]}`},
	"Quay":         {Status: 400, Body: `{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"message":"Could not find child manifest with digest"}}]}`},
	"Harbor":       {Status: 404, Body: `{"errors":[{"code":"NOT_FOUND","message":"artifact not found"}]}`},
	"in memory":    {Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"Sub-manifest not found"}]}`},
}

// Lists serves a registry from memory, as [Embedded] does, that has an opinion on
// indexes whose children are not all there: with refusal nil it takes them, else it
// answers so.
func Lists(t testing.TB, refusal *Fault) (host string) {
	t.Helper()
	l := &lists{next: registry.New(registry.Logger(log.New(io.Discard, "", 0))), refusal: refusal, kinds: map[string]string{}}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).String()
}

// lists lets the registry behind it keep sparse indexes as what it does not look
// into.
type lists struct {
	next    http.Handler
	refusal *Fault

	mu    sync.Mutex
	kinds map[string]string // media types of sparse indexes, by digest
}

func (l *lists) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repo, _, isManifest := strings.Cut(r.URL.Path, "/manifests/")
	if !isManifest {
		l.next.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodPut {
		l.next.ServeHTTP(&relabelled{w, l}, r)
		return
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if l.isSparse(repo, raw) {
		if l.refusal != nil {
			l.refusal.answer(w)
			return
		}
		l.mu.Lock()
		l.kinds[string(digest.FromBytes(raw))] = r.Header.Get("Content-Type")
		l.mu.Unlock()
		r.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	l.next.ServeHTTP(w, r)
}

// isSparse says whether the registry lacks a child of an index.
func (l *lists) isSparse(repo string, raw []byte) bool {
	var x index
	if json.Unmarshal(raw, &x) != nil {
		return false
	}
	for _, child := range x.Manifests {
		there := httptest.NewRecorder()
		l.next.ServeHTTP(there, httptest.NewRequest(http.MethodHead, repo+"/manifests/"+child.Digest.String(), nil))
		if there.Code != http.StatusOK {
			return true
		}
	}
	return false
}

// relabelled gives sparse indexes their media type back.
type relabelled struct {
	http.ResponseWriter
	lists *lists
}

func (r *relabelled) WriteHeader(status int) {
	r.lists.mu.Lock()
	kind, sparse := r.lists.kinds[r.Header().Get("Docker-Content-Digest")]
	r.lists.mu.Unlock()
	if sparse {
		r.Header().Set("Content-Type", kind)
	}
	r.ResponseWriter.WriteHeader(status)
}
