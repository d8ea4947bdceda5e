package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"
)

// crdFiles are the CRDs of what airlift writes, in openshift/api.
var crdFiles = []string{
	"payload-manifests/crds/0000_10_config-operator_01_imagedigestmirrorsets.crd.yaml",
	"payload-manifests/crds/0000_10_config-operator_01_imagetagmirrorsets.crd.yaml",
	"payload-manifests/crds/0000_10_config-operator_01_imagecontentsourcepolicies.crd.yaml",
	"samples/v1/zz_generated.crd-manifests/00_configs.crd.yaml",
}

// Schemas are the structural schemas of custom resources, by "apiVersion kind".
type Schemas map[string]*schema.Structural

// LoadSchemas reads the CRDs out of the module that go.mod names. It runs the go
// command, and so works in this module's directory only.
func LoadSchemas() (Schemas, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/openshift/api")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("locate openshift/api: %w", err)
	}
	schemas := Schemas{}
	for _, name := range crdFiles {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), name))
		if err != nil {
			return nil, err
		}
		if err := schemas.add(data); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return schemas, nil
}

func (s Schemas) add(data []byte) error {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		return err
	}
	for _, v := range crd.Spec.Versions {
		var props apiextensions.JSONSchemaProps
		err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &props, nil)
		if err != nil {
			return err
		}
		structural, err := schema.NewStructural(&props)
		if err != nil {
			return err
		}
		s[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = structural
	}
	return nil
}

// Check does to one object, in YAML, what an API server does when it creates one
// with fieldValidation=Strict: unknown and repeated fields are errors, and the
// schema must hold, sets included. Rules in CEL are not run; an object with a
// field that has one is an error, so that nothing passes unchecked.
func (s Schemas) Check(text []byte) error {
	object, err := decode(text)
	if err != nil {
		return err
	}
	return s.checkObject(object)
}

// CheckPatch applies a merge patch, in YAML, to an object as an API server does,
// and checks the result.
func (s Schemas) CheckPatch(object, patch []byte) error {
	patched, err := ApplyPatch(object, patch)
	if err != nil {
		return err
	}
	return s.Check(patched)
}

// ApplyPatch applies a merge patch with the API server's own library. Both
// texts, and the result, are YAML.
func ApplyPatch(object, patch []byte) ([]byte, error) {
	original, err := yaml.YAMLToJSONStrict(object)
	if err != nil {
		return nil, err
	}
	changes, err := yaml.YAMLToJSONStrict(patch)
	if err != nil {
		return nil, err
	}
	patched, err := jsonpatch.MergePatch(original, changes)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(patched)
}

// decode reads one document, with numbers as the API server has them.
func decode(text []byte) (map[string]any, error) {
	if bytes.Contains(text, []byte("\n---")) {
		return nil, errors.New("more than one document")
	}
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, err
	}
	return object, nil
}

func (s Schemas) checkObject(object map[string]any) error {
	kind := fmt.Sprint(object["apiVersion"], " ", object["kind"])
	structural, known := s[kind]
	if !known {
		return fmt.Errorf("no CRD has %s", kind)
	}
	faults := []error{checkMeta(object["metadata"])}
	for _, name := range unknownFields(structural, object) {
		faults = append(faults, fmt.Errorf("unknown field %s", name))
	}
	result := validate.NewSchemaValidator(structural.ToKubeOpenAPI(), nil, "", strfmt.Default).Validate(object)
	faults = append(faults, result.Errors...)
	for _, fault := range listtype.ValidateListSetsAndMaps(nil, structural, object) {
		faults = append(faults, fault)
	}
	faults = append(faults, notRun(structural, object, nil)...)
	return errors.Join(faults...)
}

// unknownFields names what a server that is not strict would drop, and drops it.
func unknownFields(s *schema.Structural, object map[string]any) []string {
	return pruning.PruneWithOptions(object, s, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
}

// checkMeta checks the metadata of an object that is in no namespace.
func checkMeta(metadata any) error {
	data, err := json.Marshal(metadata)
	if err != nil {
		return err
	}
	var meta metav1.ObjectMeta
	if err := yaml.UnmarshalStrict(data, &meta); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return validation.ValidateObjectMeta(&meta, false, validation.NameIsDNSSubdomain, field.NewPath("metadata")).ToAggregate()
}

// notRun lists the fields that are present and have rules in CEL.
func notRun(s *schema.Structural, value any, at *field.Path) []error {
	if s == nil {
		return nil
	}
	var faults []error
	if len(s.XValidations) > 0 {
		faults = append(faults, fmt.Errorf("%s has rules in CEL, which are not run here", at))
	}
	switch value := value.(type) {
	case map[string]any:
		for name, child := range value {
			if property, known := s.Properties[name]; known {
				faults = append(faults, notRun(&property, child, at.Child(name))...)
			}
		}
	case []any:
		for i, item := range value {
			faults = append(faults, notRun(s.Items, item, at.Index(i))...)
		}
	}
	return faults
}
