package conformance

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"airlift/manifest"
	"airlift/oci/ocitest"
)

// TestWrittenConfigMap: the ConfigMap of certificates is one that strict
// validation takes, with keys that a ConfigMap can have.
func TestWrittenConfigMap(t *testing.T) {
	ca, err := os.ReadFile(ocitest.WriteCertificates(t, false).CAFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"mirror.example", "mirror.example:5000", "10.0.0.7:8443"} {
		m, err := manifest.ConfigMap{Name: "airlift-registry-ca"}.WithRegistry(host, ca)
		if err != nil {
			t.Fatal(err)
		}
		text, err := m.YAML("why")
		if err != nil {
			t.Fatal(err)
		}
		var got corev1.ConfigMap
		if err := yaml.UnmarshalStrict(text, &got); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if got.Kind != "ConfigMap" || got.Namespace != "openshift-config" || len(got.Data) != 2 || got.Data[manifest.RegistryKey(host)] != string(ca) || got.Data["updateservice-registry"] != string(ca) {
			t.Errorf("%s", text)
		}
		if faults := apivalidation.NameIsDNSSubdomain(got.Name, false); len(faults) > 0 {
			t.Error(faults)
		}
		for key := range got.Data {
			if faults := validation.IsConfigMapKey(key); len(faults) > 0 {
				t.Errorf("%s: %s", key, faults)
			}
		}
	}
}
