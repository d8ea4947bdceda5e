package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep JSON may be nested.
const maxDepth = 100

// CheckJSON lets through exactly one JSON value in UTF-8, with nothing after it,
// without an object that has a key twice, and not nested deeper than 100. Where
// two parsers could read two different things, one of them would be tricked.
func CheckJSON(data []byte) error {
	switch {
	case !utf8.Valid(data):
		return errors.New("not UTF-8")
	case !json.Valid(data):
		return notJSON(data)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return checkValue(d, 0)
}

// notJSON says where the fault is.
func notJSON(data []byte) error {
	var value json.RawMessage
	err := json.Unmarshal(data, &value)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON at byte %d: %s", syntax.Offset, clean(syntax.Error()))
	}
	return errors.New("not JSON")
}

func checkValue(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delimiter == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if seen[key.(string)] {
				return fmt.Errorf("the key %q is there twice", clean(key.(string)))
			}
			seen[key.(string)] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// object is a JSON object whose keys are taken exactly as written: encoding/json
// would take "Config" for "config" as well.
type object map[string]json.RawMessage

func parseObject(data []byte) (object, error) {
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, errors.New("not an object")
	}
	if o == nil {
		return nil, errors.New("null, not an object")
	}
	return o, nil
}

// read reads the value of a key. It leaves into as it is if there is none, or
// null.
func (o object) read(key string, into any) error {
	if err := o.checkSpelling(key); err != nil {
		return err
	}
	if !o.has(key) {
		return nil
	}
	if err := json.Unmarshal(o[key], into); err != nil {
		return fmt.Errorf("%q: %s", key, clean(err.Error()))
	}
	return nil
}

// checkSpelling refuses keys that differ from one of ours by their case alone.
func (o object) checkSpelling(keys ...string) error {
	for _, key := range keys {
		for k := range o {
			if k != key && strings.EqualFold(k, key) {
				return fmt.Errorf("%q: the key %q is not written so", key, clean(k))
			}
		}
	}
	return nil
}

// field is a key and where its value goes.
type field struct {
	key  string
	into any
}

func (o object) readAll(fields []field) error {
	for _, f := range fields {
		if err := o.read(f.key, f.into); err != nil {
			return err
		}
	}
	return nil
}

// has says whether there is a value other than null.
func (o object) has(key string) bool {
	value, ok := o[key]
	return ok && string(value) != "null"
}
