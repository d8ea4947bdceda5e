package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"
)

// credentials prepares to look up credentials as podman and skopeo do: in
// the file named, else in that of REGISTRY_AUTH_FILE, else in the usual places.
// A file that was named must be there.
func credentials(authfile string) (*types.SystemContext, error) {
	if authfile == "" {
		authfile = os.Getenv("REGISTRY_AUTH_FILE")
	}
	if authfile != "" {
		if err := checkAuthfile(authfile); err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
	}
	return &types.SystemContext{AuthFilePath: authfile}, nil
}

// checkAuthfile refuses what is no auth.json. Errors never quote the contents.
func checkAuthfile(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var file struct {
		Auths       map[string]struct{ Auth []byte } `json:"auths"`
		CredHelpers map[string]string                `json:"credHelpers"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return fmt.Errorf("%s is not an auth.json: %w", name, withoutContents(err))
	}
	if file.Auths == nil && file.CredHelpers == nil {
		return fmt.Errorf(`%s is not an auth.json: it has no "auths"`, name)
	}
	return nil
}

// withoutContents keeps the place of a JSON error, not the value there.
func withoutContents(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("unexpected value at byte %d", kind.Offset)
	}
	return errors.New("unexpected value")
}

// Account is the user and the password that the client would log in with for
// the repository of r; both are empty if there are none.
func (c *Client) Account(r Reference) (user, password string, err error) {
	found, err := config.GetCredentials(c.context, strings.TrimSuffix(r.Name(), "/"))
	if err != nil {
		return "", "", fmt.Errorf("find credentials for %s: %w", r.Registry, err)
	}
	return found.Username, found.Password, nil
}

// account finds the credentials for a repository: the entry of the longest name
// that it is under (repository, namespace, registry).
func (c *Client) account(r Reference) (account, error) {
	found, err := config.GetCredentials(c.context, c.known(r))
	if err != nil {
		return account{}, fmt.Errorf("find credentials for %s: %w", r.Name(), err)
	}
	return account{found.Username, found.Password, found.IdentityToken}, nil
}

// known is the name that the credentials for a repository are kept under.
func (c *Client) known(r Reference) string {
	if c.knownAs != nil {
		return c.knownAs(r.Name())
	}
	return r.Name()
}
