package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"
)

// maxSecret is the largest pull secret that is read, bytes: what a Kubernetes
// secret can hold.
const maxSecret = 1 << 20

// Account is a user of a registry. It does not print itself.
type Account struct{ user, password string }

// NewAccount makes an account of its parts.
func NewAccount(user, password string) Account { return Account{user, password} }

// Format prints nothing of it, whatever the verb.
func (Account) Format(s fmt.State, _ rune) { fmt.Fprint(s, "an account") }

// ParseAccount reads the account for a registry out of a file of one of two
// kinds: an auth.json as podman login writes it, where the first of the names
// that has an entry counts (HOST[:PORT] or a path below it), or one line
// USER:PASSWORD, where the password may have colons. Errors quote nothing of it.
func ParseAccount(data []byte, names ...string) (Account, error) {
	text := bytes.TrimRight(utf8Text(data), "\r\n")
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return parseUser(string(text))
	}
	secret, err := ParsePullSecret(text)
	if err != nil {
		return Account{}, err
	}
	for _, name := range names {
		entry, found := secret.auths[name]
		if !found {
			continue
		}
		var auth struct {
			Auth string `json:"auth"`
		}
		if json.Unmarshal(entry, &auth) != nil || auth.Auth == "" {
			return Account{}, fmt.Errorf("its entry for %s has no auth", name)
		}
		plain, err := base64.StdEncoding.DecodeString(auth.Auth)
		if err != nil {
			return Account{}, fmt.Errorf("its auth for %s is not base64", name)
		}
		return parseUser(string(plain))
	}
	return Account{}, fmt.Errorf("it has no entry for %s", strings.Join(names, " or "))
}

func parseUser(text string) (Account, error) {
	user, password, found := strings.Cut(text, ":")
	if !found || user == "" || password == "" {
		return Account{}, errors.New("it is neither an auth.json nor a line USER:PASSWORD")
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return Account{}, errors.New("it has more than a line USER:PASSWORD")
	}
	return Account{user, password}, nil
}

// PullSecret is what a cluster logs in with: a file of the form of podman's
// auth.json. It does not print itself.
type PullSecret struct{ fields, auths map[string]json.RawMessage }

// Format prints nothing of it, whatever the verb.
func (PullSecret) Format(s fmt.State, _ rune) { fmt.Fprint(s, "a pull secret") }

// ParsePullSecret reads a pull secret. Errors quote nothing of it.
func ParsePullSecret(data []byte) (PullSecret, error) {
	if len(data) > maxSecret {
		return PullSecret{}, fmt.Errorf("it is larger than %d bytes", maxSecret)
	}
	var s PullSecret
	if err := json.Unmarshal(utf8Text(data), &s.fields); err != nil {
		return PullSecret{}, fmt.Errorf("it is not JSON of a pull secret%s", place(err))
	}
	if err := json.Unmarshal(s.fields["auths"], &s.auths); err != nil || s.auths == nil {
		return PullSecret{}, errors.New(`it is not a pull secret: it has no "auths"`)
	}
	return s, nil
}

// place says where a JSON error is, and not what stands there.
func place(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf(" (byte %d)", syntax.Offset)
	}
	return ""
}

// Entries are the names, sorted, that the pull secret has accounts under for a
// place, HOST[:PORT][/PATH]: what nodes would log in with there, since the
// longest name counts, and those below it.
func (s PullSecret) Entries(place string) (at, below []string) {
	for name := range s.auths {
		switch {
		case strings.HasPrefix(name, "*"): // less than the host alone
		case Covers(name, place):
			at = append(at, name)
		case Covers(place, name):
			below = append(below, name)
		}
	}
	slices.Sort(at)
	slices.Sort(below)
	return at, below
}

// With returns the file of the pull secret, one line of JSON, with an account for
// a place, HOST[:PORT][/PATH]. It stands for the host, and replaces whatever nodes
// would log in with at the place. All else is kept.
func (s PullSecret) With(place string, a Account) ([]byte, error) {
	auths := map[string]json.RawMessage{}
	for name, entry := range s.auths {
		auths[name] = entry
	}
	entry, err := json.Marshal(map[string][]byte{"auth": []byte(a.user + ":" + a.password)})
	if err != nil {
		return nil, errors.New("encode the account")
	}
	host, _, _ := strings.Cut(place, "/")
	replaced, _ := s.Entries(place)
	for _, name := range append(replaced, host) {
		auths[name] = entry
	}
	fields := map[string]any{}
	for name, value := range s.fields {
		fields[name] = value
	}
	fields["auths"] = auths
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(fields); err != nil {
		return nil, errors.New("encode the pull secret")
	}
	return out.Bytes(), nil
}

// PullSecretFragment returns the line of an install-config that holds a pull
// secret, as [PullSecret.With] made it.
func PullSecretFragment(secret []byte) ([]byte, error) {
	text, err := yaml.Marshal(map[string]string{"pullSecret": string(bytes.TrimSpace(secret))})
	if err != nil {
		return nil, errors.New("encode YAML of the pull secret")
	}
	return text, nil
}
