//go:build soak

package conformance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"airlift/bundle"
	airlift "airlift/manifest"
	"airlift/oci"
	"airlift/oci/ocitest"
)

// serverModule is the API server of custom resources: the part of kube-apiserver
// that checks and keeps what airlift writes. Its version is go.mod's.
const serverModule = "k8s.io/apiextensions-apiserver"

// serverCRDs are those of all that airlift writes or patches.
var serverCRDs = append(slices.Clone(crdFiles),
	"payload-manifests/crds/0000_10_config-operator_01_images.crd.yaml",
)

// apiServer is a real API server with etcd behind it.
type apiServer struct {
	url    string
	client *http.Client
}

// startAPIServer builds the server, which takes minutes where nothing is cached,
// and runs it until the test ends.
func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	dir := t.TempDir()
	version := output(t, "go", "list", "-m", "-f", "{{.Version}}", serverModule)
	install := exec.Command("go", "install", serverModule+"@"+version)
	install.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("build the API server: %v\n%s", err, out)
	}
	etcd, peer, port := freeAddress(t), freeAddress(t), freeAddress(t)
	run(t, ocitest.Program(t, "etcd"), "--data-dir", filepath.Join(dir, "etcd"),
		"--listen-client-urls", "http://"+etcd, "--advertise-client-urls", "http://"+etcd,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer)
	s := &apiServer{url: "https://" + port}
	var config string
	config, s.client = credentials(t, dir, s.url)
	_, number, _ := net.SplitHostPort(port)
	run(t, filepath.Join(dir, filepath.Base(serverModule)),
		"--etcd-servers", "http://"+etcd, "--bind-address", "127.0.0.1", "--secure-port", number,
		"--client-ca-file", filepath.Join(dir, "ca.pem"), "--tls-cert-file", filepath.Join(dir, "server.pem"), "--tls-private-key-file", filepath.Join(dir, "server.key"),
		"--kubeconfig", config, "--authentication-kubeconfig", config, "--authorization-kubeconfig", config, "--authentication-skip-lookup",
		"--enable-priority-and-fairness=false",
		"--disable-admission-plugins=NamespaceLifecycle,MutatingAdmissionWebhook,ValidatingAdmissionWebhook,ValidatingAdmissionPolicy,MutatingAdmissionPolicy")
	s.await(t, func() bool {
		status, _ := s.try("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "", nil)
		return status == 200
	})
	s.addCRDs(t)
	return s
}

// addCRDs adds the CRDs, and waits until their objects are served.
func (s *apiServer) addCRDs(t *testing.T) {
	t.Helper()
	module := output(t, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/openshift/api")
	for _, name := range serverCRDs {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, 201, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/yaml", text)
		var crd struct {
			Spec struct {
				Group    string
				Names    struct{ Plural string }
				Versions []struct{ Name string }
			}
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			at := fmt.Sprintf("/apis/%s/%s/%s", crd.Spec.Group, v.Name, crd.Spec.Names.Plural)
			s.await(t, func() bool { status, _ := s.try("GET", at, "", nil); return status == 200 })
		}
	}
}

// await asks again until the answer is yes, for a minute.
func (s *apiServer) await(t *testing.T, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !yes(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the API server does not serve what it should")
		}
	}
}

func (s *apiServer) try(method, path, kind string, body []byte) (status int, answer []byte) {
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, []byte(err.Error())
	}
	req.Header.Set("Content-Type", kind)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return resp.StatusCode, answer
}

// want fails unless a request has this status.
func (s *apiServer) want(t *testing.T, status int, method, path, kind string, body []byte) (answer []byte) {
	t.Helper()
	got, answer := s.try(method, path, kind, body)
	if got != status {
		t.Errorf("%s %s: %d, not %d: %s\n%s", method, path, got, status, answer, body)
	}
	return answer
}

// create makes an object as `oc apply --validate=strict` does.
func (s *apiServer) create(t *testing.T, status int, collection string, text []byte) string {
	t.Helper()
	return string(s.want(t, status, "POST", "/apis/"+collection+"?fieldValidation=Strict", "application/yaml", text))
}

// patch applies a merge patch, as `oc patch --type=merge` does.
func (s *apiServer) patch(t *testing.T, status int, object string, text []byte) string {
	t.Helper()
	changes, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(s.want(t, status, "PATCH", "/apis/"+object+"?fieldValidation=Strict", "application/merge-patch+json", changes))
}

// spec is that of an object.
func (s *apiServer) spec(t *testing.T, object string) map[string]any {
	t.Helper()
	var held struct{ Spec map[string]any }
	if err := json.Unmarshal(s.want(t, 200, "GET", "/apis/"+object, "", nil), &held); err != nil {
		t.Fatal(err)
	}
	return held.Spec
}

const (
	digestSets   = "config.openshift.io/v1/imagedigestmirrorsets"
	tagSets      = "config.openshift.io/v1/imagetagmirrorsets"
	policySets   = "operator.openshift.io/v1alpha1/imagecontentsourcepolicies"
	imageConfigs = "config.openshift.io/v1/images"
	samplesKind  = "samples.operator.openshift.io/v1/configs"
)

const heldImageConfig = `apiVersion: config.openshift.io/v1
kind: Image
metadata: {name: cluster}
spec:
  allowedRegistriesForImport: [{domainName: quay.io}]
  additionalTrustedCA: {name: user-ca}
  registrySources: {allowedRegistries: [z.example, quay.io], insecureRegistries: [old.example]}
`

// TestAPIServer: all objects are taken by a real API server with the real CRDs
// and strict validation, and every patch has the effect that it should have; what
// airlift refuses to write is refused there.
func TestAPIServer(t *testing.T) {
	s := startAPIServer(t)
	n, f := newNear(t), newFar(t, "/mirror")
	carry(t, n, f, bundle.Request{Releases: []oci.Reference{parse(t, n.releases[0].Reference)}})
	carrySamples(t, n, f, ocitest.ExampleSamples())
	report, err := bundle.ReadReport(filepath.Join(f.objects, bundle.ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(ocitest.WriteCertificates(t, false).CAFile)
	if err != nil {
		t.Fatal(err)
	}
	held, err := airlift.ParseImageConfig([]byte(heldImageConfig))
	if err != nil {
		t.Fatal(err)
	}
	report.Options.ICSP = bundle.ICSPAlso
	report.Options.Config = bundle.ClusterConfig{
		RegistryCA: string(ca), Insecure: true, Allowed: true, ImageConfig: &held,
		CAConfigMap: &airlift.ConfigMap{Name: "user-ca", Data: map[string]string{"other.example": "kept"}},
	}
	f.objects = t.TempDir()
	if _, err := report.WriteObjects(f.objects); err != nil {
		t.Fatal(err)
	}

	s.create(t, 201, digestSets, f.object(t, bundle.IDMSFile))
	s.create(t, 201, tagSets, f.object(t, bundle.ITMSFile))
	s.create(t, 201, policySets, f.object(t, bundle.ICSPFile))
	name := report.Options.Name
	for _, kept := range []string{digestSets, tagSets, policySets} {
		if spec := s.spec(t, kept+"/"+name); len(spec) != 1 {
			t.Errorf("of %s is kept %v", kept, spec)
		}
	}

	s.create(t, 201, samplesKind, []byte(samplesConfig))
	s.patch(t, 200, samplesKind+"/cluster", f.object(t, bundle.SamplesFile))
	spec := s.spec(t, samplesKind+"/cluster")
	if spec["samplesRegistry"] != report.Options.Cluster || spec["managementState"] != "Managed" || fmt.Sprint(spec["architectures"]) != "[x86_64]" || fmt.Sprint(spec["skippedImagestreams"]) == "[long gone]" {
		t.Errorf("the samples operator has %v", spec)
	}

	s.create(t, 201, imageConfigs, []byte(heldImageConfig))
	s.patch(t, 200, imageConfigs+"/cluster", f.object(t, bundle.ImageConfigFile))
	expectImageConfig(t, s.spec(t, imageConfigs+"/cluster"), f.Host)

	// What is refused here is refused there: misspelt, and two lists that exclude each other.
	wrong := bytes.Replace(f.object(t, bundle.IDMSFile), []byte("source:"), []byte("sauce:"), 1)
	if answer := s.create(t, 400, digestSets, wrong); !strings.Contains(answer, "unknown field") {
		t.Errorf("a misspelt field: %s", answer)
	}
	if answer := s.patch(t, 422, imageConfigs+"/cluster", []byte("spec: {registrySources: {blockedRegistries: [bad.example]}}")); !strings.Contains(answer, "Only one of blockedRegistries or allowedRegistries") {
		t.Errorf("blocked beside allowed: %s", answer)
	}
	if _, err := airlift.ImageConfigPatch(airlift.ImageConfig{Blocked: []string{"bad.example"}}, airlift.ImageConfig{Allowed: []string{"m.example"}}, ""); err == nil {
		t.Error("airlift writes a list that the API server refuses")
	}
}

// expectImageConfig: what the cluster had is there still, and what was added too.
func expectImageConfig(t *testing.T, spec map[string]any, mirror string) {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		AdditionalTrustedCA        struct{ Name string }
		AllowedRegistriesForImport []any
		RegistrySources            struct{ AllowedRegistries, InsecureRegistries []string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	lists := got.RegistrySources
	if got.AdditionalTrustedCA.Name != "user-ca" || len(got.AllowedRegistriesForImport) != 1 || !slices.Equal(lists.InsecureRegistries, []string{"old.example", mirror}) {
		t.Errorf("the image configuration is %s", text)
	}
	for _, name := range []string{"z.example", "quay.io", mirror + "/mirror", airlift.InternalRegistry, "registry.redhat.io/ubi8/python-39"} {
		if !slices.Contains(lists.AllowedRegistries, name) {
			t.Errorf("%s is not allowed: %s", name, text)
		}
	}
}

// run starts a program, which is killed when the test ends.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has ended
		_ = cmd.Wait()         // it was killed
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(program), log.Bytes()[max(0, log.Len()-4000):])
		}
	})
}

func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return strings.TrimSpace(string(out))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// credentials makes a CA, the server's certificate and that of an administrator,
// who is the server itself too; it gives its kubeconfig and a client.
func credentials(t *testing.T, dir, url string) (kubeconfig string, client *http.Client) {
	t.Helper()
	now := time.Now()
	template := func(name string, groups ...string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name, Organization: groups},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
	}
	ca := template("ca")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey := issue(t, dir, "ca", ca, ca, nil)
	issue(t, dir, "server", template("server"), ca, caKey)
	issue(t, dir, "admin", template("admin", "system:masters"), ca, caKey)
	kubeconfig = filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}],
users: [{name: u, user: {client-certificate: %q, client-key: %q}}]}
`, url, filepath.Join(dir, "ca.pem"), filepath.Join(dir, "admin.pem"), filepath.Join(dir, "admin.key"))
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	admin, err := tls.LoadX509KeyPair(filepath.Join(dir, "admin.pem"), filepath.Join(dir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || !roots.AppendCertsFromPEM(authority) {
		t.Fatal("the CA is not read", err)
	}
	return kubeconfig, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{admin}}}}
}

// issue writes NAME.pem and NAME.key, signed by the parent, or by itself.
func issue(t *testing.T, dir, name string, cert, parent *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key
}
