package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"airlift/oci"
)

// checkKeys is the check of a whole JSON file before it is decoded: what
// oci.CheckJSON does, and that no key differs from one of the format's by its
// case alone. encoding/json would take it for that one, other readers would not.
func checkKeys(data []byte, of any) error {
	if err := oci.CheckJSON(data); err != nil {
		return err
	}
	known := map[string]string{}
	addKeys(known, reflect.TypeOf(of))
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return walkKeys(d, known)
}

// addKeys adds the keys of a type and of all types in it, folded.
func addKeys(known map[string]string, t reflect.Type) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		addKeys(known, t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).Anonymous {
				addKeys(known, t.Field(i).Type)
			}
			if key, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); key != "" {
				known[fold(key)] = key
				addKeys(known, t.Field(i).Type)
			}
		}
	}
}

// fold gives one text to all keys that encoding/json takes for the same: lower
// case, also of the two letters outside of ASCII that fold to an s and a k.
func fold(key string) string { return strings.ToLower(strings.ToUpper(key)) }

// walkKeys looks at every key of the next value.
func walkKeys(d *json.Decoder, known map[string]string) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	delimiter, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	for d.More() {
		if delimiter == '{' {
			token, err := d.Token()
			if err != nil {
				return err
			}
			if key := token.(string); known[fold(key)] != "" && known[fold(key)] != key {
				return fmt.Errorf("the key %.80q is written %q", key, known[fold(key)])
			}
		}
		if err := walkKeys(d, known); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing one
	return err
}
