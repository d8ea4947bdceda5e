package oci

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.podman.io/image/v5/types"
)

// Options are how registries are reached; the zero value is usable.
type Options struct {
	Authfile string         // a pull secret or auth.json, used alone; "" = REGISTRY_AUTH_FILE, or podman's order of places
	CAFiles  []string       // further CA certificates, PEM, beside the system's
	CAs      []byte         // and these, PEM
	CertDirs []string       // with a directory HOST[:PORT] for each host that has certificates of its own; see UsualCertDirs; nil = none
	Insecure []string       // HOST[:PORT] that may be spoken to over plain HTTP, or with a certificate nobody has verified
	Mirrors  []SourceMirror // fetch through these; the longest source wins
	Jobs     int            // requests of pushes to one host at once, and idle connections to keep for each; 0 = 8
	Backoff  time.Duration  // the first wait between two tries; 0 = 500 ms
	Tries    int            // tries of one request; 0 = 5
	Stall    time.Duration  // without a byte, while we wait for one, until a try is given up; 0 = a minute. It is told after a sixth of that
	// KnownAs is the name under which credentials for a repository (HOST/PATH) are
	// kept, where it is another than the one it is asked by; nil = it never is.
	KnownAs func(name string) string
	Notice  func(string) // told, from any goroutine, what takes long: a host that gives nothing, a try that is made again; nil = nobody
}

// Limits of time, all about the network alone.
const (
	stallLimit   = time.Minute // without a byte, while we wait for one
	idleLimit    = time.Second // that a blob's reader may do other things; a connection lost after that is nobody's failure
	commitStalls = 15          // of the limit above, for the answer to an upload: some registries copy the blob first
)

// Client speaks to registries. It may be used from several goroutines.
type Client struct {
	mirrors  []SourceMirror
	insecure map[string]bool
	certs    certDirs
	base     http.RoundTripper // below all login and retrying
	context  *types.SystemContext
	knownAs  func(string) string
	backoff  time.Duration
	tries    int
	jobs     int
	stall    time.Duration
	idle     time.Duration
	commit   time.Duration

	rangeless sync.Map // registries that know no ranges
	notices   notices

	mu          sync.Mutex
	greetings   map[string]*shared[*greeting] // by registry
	sessions    map[sessionKey]*shared[*http.Client]
	paces       map[string]*pace
	pieces      map[string]int64 // of registries that take no whole blobs: how much they take
	noReferrers map[string]bool  // registries known to have no referrers API
}

// NewClient makes a client. It connects to nothing, but reads the files that
// the options name: it is an error if one cannot be read.
func NewClient(o Options) (*Client, error) {
	stall := orElse(o.Stall, stallLimit)
	c := &Client{
		mirrors: o.Mirrors, insecure: map[string]bool{}, certs: o.CertDirs,
		backoff: orElse(o.Backoff, 500*time.Millisecond), tries: orElse(o.Tries, 5), jobs: orElse(o.Jobs, 8),
		knownAs: o.KnownAs, stall: stall, idle: idleLimit, commit: commitStalls * stall,
		greetings: map[string]*shared[*greeting]{}, sessions: map[sessionKey]*shared[*http.Client]{}, paces: map[string]*pace{}, pieces: map[string]int64{}, noReferrers: map[string]bool{},
		notices: notices{tell: o.Notice, limit: min(noticeLimit, stall/6), told: map[string]time.Time{}},
	}
	for _, host := range o.Insecure {
		normal, err := checkHost(host)
		if err != nil {
			return nil, fmt.Errorf("read insecure registry %q: %w", host, err)
		}
		c.insecure[normal] = true
	}
	if err := checkProxies(); err != nil {
		return nil, err
	}
	roots, err := certificates(o.CAFiles, o.CAs)
	if err != nil {
		return nil, err
	}
	if c.context, err = credentials(o.Authfile); err != nil {
		return nil, err
	}
	c.base = newGate(c.insecure, c.certs, roots, orElse(o.Jobs, 8))
	return c, nil
}

func orElse[N int | time.Duration](n, otherwise N) N {
	if n <= 0 {
		return otherwise
	}
	return n
}

// certificates are the system's, those of the files, and further ones.
func certificates(files []string, further []byte) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's CA certificates: %w", err)
	}
	if len(further) > 0 && !roots.AppendCertsFromPEM(further) {
		return nil, fmt.Errorf("read CA certificates: what was given holds no certificate in PEM")
	}
	for _, file := range files {
		if err := addAuthority(roots, file); err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
	}
	return roots, nil
}

// newTransport is Go's own transport, proxies from the environment included. It speaks
// HTTP/1.1, also to who could do HTTP/2, which puts all requests to a host on one
// connection: blobs share its window then, and take more of the processor's time.
func newTransport(idle int) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Protocols = &http.Protocols{}
	t.Protocols.SetHTTP1(true)
	behindProxy(t)
	t.DisableCompression = true // bodies byte for byte
	t.MaxIdleConnsPerHost = idle
	return t
}
