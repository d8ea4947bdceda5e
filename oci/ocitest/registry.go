package ocitest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"go/build"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	registryProgram = "docker-registry"
	threeProgram    = "registry"       // distribution 3
	startLimit      = 20 * time.Second // until the registry answers; it takes some 40 ms
	startTries      = 5                // ports to try: a free port may be taken in between
	markHeader      = "X-Ocitest-Mark" // tells our own process from another at the same port
)

// Registry is a running docker-registry.
type Registry struct {
	Host     string // 127.0.0.1:port
	URL      string // http://127.0.0.1:port, https with TLS
	CAFile   string // PEM of the CA to trust; "" without TLS or with certificates from outside
	CertFile string // PEM of the server's certificate; "" without TLS
	KeyFile  string // and of its key
	Authfile string // an auth.json with the user's credentials; "" without a user
	Root     string // the storage directory, laid out by the registry

	user, password string
	client         *http.Client
	program        string
	config         string // its file
}

// RegistryOptions are the ways to run a registry; the zero value is plain HTTP
// without credentials.
type RegistryOptions struct {
	TLS      bool   // serve with a certificate of a new private CA
	Expired  bool   // with TLS: the certificate has expired
	NoSAN    bool   // with TLS: the certificate has a common name only
	CertFile string // with TLS: serve this certificate, PEM, instead
	KeyFile  string // and this key of it
	User     string // demand this user, by htpasswd
	Password string
	Others   map[string]string // passwords of further users, who may do the same
	Tokens   *Issuer           // demand tokens of this issuer
	Names    []string          // with TLS: further names in the certificate
	Clients  bool              // with TLS: demand a certificate of the same authority of clients; the server's is one
	Three    bool              // run distribution 3, which refuses indexes whose children are not all there
	Sparse   bool              // run distribution 3, set to take such indexes
}

// StartRegistry runs Debian's docker-registry 2.8 on a free loopback port over
// plain HTTP until the test ends, its storage in a temporary directory. Blobs
// and manifests can be deleted.
//
// Without docker-registry the test is skipped or fails; see [Program].
func StartRegistry(t testing.TB) *Registry {
	t.Helper()
	return StartRegistryWith(t, RegistryOptions{})
}

// StartRegistryWith is [StartRegistry] with options.
func StartRegistryWith(t testing.TB, opts RegistryOptions) *Registry {
	t.Helper()
	program := Program(t, opts.program())
	dir := t.TempDir()
	r := &Registry{Root: filepath.Join(dir, "root"), program: program, config: filepath.Join(dir, configFile), user: opts.User, password: opts.Password}
	config := registryConfig{dir: dir, root: r.Root, mark: rand.Text(), sparse: opts.Sparse}
	scheme := "http"
	if opts.TLS {
		scheme = "https"
		r.CAFile, config.cert, config.key = serverCertificate(t, opts)
		r.CertFile, r.KeyFile = config.cert, config.key
	}
	if opts.User != "" {
		config.htpasswd = writeHtpasswd(t, dir, opts)
	}
	config.tokens = opts.Tokens
	r.client = r.newClient(t)
	if opts.Clients {
		config.clientCA = r.CAFile
		withOwnCertificate(t, r.client, config)
	}
	if opts.Tokens != nil {
		r.client.Transport = tokenLogin{opts.Tokens, r.client.Transport}
	}
	for range startTries {
		r.Host = freePort(t)
		r.URL = scheme + "://" + r.Host
		if config.run(t, program, r) {
			r.Authfile = r.writeAuthfile(t, dir)
			return r
		}
	}
	t.Fatalf("start %s: no port of %d could be had", program, startTries)
	return nil
}

func (o RegistryOptions) program() string {
	if o.Three || o.Sparse {
		return threeProgram
	}
	return registryProgram
}

// Builder returns a builder that pushes to r with its CA and credentials.
func (r *Registry) Builder() *Builder {
	return newBuilder(r.URL, r.client)
}

// Program returns the path of a program that a test needs: from PATH, or from
// where go install puts programs. Without it the test
// is skipped, but on CI (CI=true) and for root it fails, for there it can be
// installed.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath(filepath.Join(build.Default.GOPATH, "bin", name))
	}
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true" || os.Getuid() == 0:
		t.Fatalf("%s is not installed; run make parts", name)
	default:
		t.Skipf("%s is not installed; run make parts as root", name)
	}
	return ""
}

// freePort returns a loopback address nobody listens on at this moment.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func serverCertificate(t testing.TB, opts RegistryOptions) (ca, cert, key string) {
	t.Helper()
	if opts.CertFile != "" {
		return "", opts.CertFile, opts.KeyFile
	}
	c := WriteCertificatesWith(t, CertificateOptions{NoSAN: opts.NoSAN, Expired: opts.Expired, Names: opts.Names})
	return c.CAFile, c.CertFile, c.KeyFile
}

// writeHtpasswd writes a password file, a line for each user; the registry reads
// bcrypt only.
func writeHtpasswd(t testing.TB, dir string, opts RegistryOptions) string {
	t.Helper()
	users := map[string]string{opts.User: opts.Password}
	maps.Copy(users, opts.Others)
	var lines []byte
	for user, password := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		lines = fmt.Appendf(lines, "%s:%s\n", user, hash)
	}
	name := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(name, lines, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (r *Registry) writeAuthfile(t testing.TB, dir string) string {
	t.Helper()
	if r.user == "" {
		return ""
	}
	name := filepath.Join(dir, "auth.json")
	WriteAuthfile(t, name, map[string][2]string{r.Host: {r.user, r.password}})
	return name
}

// WriteAuthfile writes an auth.json (a pull secret) to the file name: for each
// registry, or registry/namespace, a user and a password.
func WriteAuthfile(t testing.TB, name string, users map[string][2]string) {
	t.Helper()
	type entry struct {
		Auth []byte `json:"auth"` // base64 in JSON, as the format wants it
	}
	auths := map[string]entry{}
	for registry, u := range users {
		auths[registry] = entry{Auth: []byte(u[0] + ":" + u[1])}
	}
	data, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newClient returns a client that logs in. It verifies no certificate, for it
// must reach registries whose certificate nobody should accept: a builder only
// prepares, it proves nothing.
func (r *Registry) newClient(t testing.TB) *http.Client {
	t.Helper()
	transport := insecureTransport()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: login{transport, r.user, r.password}}
}

// insecureTransport verifies no certificate and uses no proxy.
func insecureTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	return transport
}

// withOwnCertificate makes a client show the certificate of the server, which
// the authority of the server's clients may have signed.
func withOwnCertificate(t testing.TB, client *http.Client, c registryConfig) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	client.Transport.(login).next.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair}
}

// login adds credentials to every request.
type login struct {
	next           http.RoundTripper
	user, password string
}

func (l login) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.user != "" {
		r = r.Clone(r.Context())
		r.SetBasicAuth(l.user, l.password)
	}
	return l.next.RoundTrip(r)
}

// registryConfig is what goes into the configuration file of docker-registry.
type registryConfig struct {
	dir, root, mark string
	cert, key       string
	htpasswd        string
	tokens          *Issuer
	clientCA        string
	sparse          bool
}

func (c registryConfig) yaml(addr string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\n")
	fmt.Fprintf(&b, "storage:\n  filesystem: {rootdirectory: %q}\n", c.root)
	fmt.Fprintf(&b, "  delete: {enabled: true}\n")
	fmt.Fprintf(&b, "  maintenance: {uploadpurging: {enabled: false}}\n")
	if c.sparse {
		fmt.Fprintf(&b, "validation: {manifests: {indexes: {platforms: none}}}\n")
	}
	fmt.Fprintf(&b, "http:\n  addr: %q\n  secret: ocitest\n", addr)
	fmt.Fprintf(&b, "  headers: {%s: [%q]}\n", markHeader, c.mark)
	if c.cert != "" {
		fmt.Fprintf(&b, "  tls:\n    certificate: %q\n    key: %q\n", c.cert, c.key)
	}
	if c.clientCA != "" {
		fmt.Fprintf(&b, "    clientcas: [%q]\n", c.clientCA)
	}
	if c.tokens != nil {
		fmt.Fprintf(&b, "auth: {token: {realm: %q, service: %q, issuer: %q, rootcertbundle: %q}}\n",
			c.tokens.Realm, issuerService, issuerName, c.tokens.bundle)
	}
	if c.htpasswd != "" {
		fmt.Fprintf(&b, "auth: {htpasswd: {realm: ocitest, path: %q}}\n", c.htpasswd)
	}
	return b.Bytes()
}
