package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of what is parsed; manifests nest five deep.
const maxJSONDepth = 100

// CheckJSON refuses what two parsers could read differently: a key twice in one
// object, anything behind the value, bytes that are not UTF-8.
func CheckJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return jsonError(err)
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	if depth == maxJSONDepth {
		return errors.New("nested too deep")
	}
	keys := map[string]bool{}
	for d.More() {
		if delim == '{' {
			if err := checkKey(d, keys); err != nil {
				return err
			}
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing one
	return jsonError(err)
}

func checkKey(d *json.Decoder, keys map[string]bool) error {
	token, err := d.Token()
	if err != nil {
		return jsonError(err)
	}
	key, _ := token.(string)
	if keys[key] {
		return fmt.Errorf("the key %.80q stands twice in one object", key)
	}
	keys[key] = true
	return nil
}

func jsonError(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
