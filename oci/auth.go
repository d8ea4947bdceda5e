package oci

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"
)

// keychain finds credentials as containers' tools do: in the file that was
// named, or else REGISTRY_AUTH_FILE, or else the usual places, by the longest
// prefix of the repository.
type keychain struct{ system *types.SystemContext }

// maxAuthfile is the largest pull secret that is read, in bytes.
const maxAuthfile = 16 << 20

func newKeychain(authfile string) (keychain, error) {
	if authfile == "" {
		return keychain{&types.SystemContext{AuthFilePath: os.Getenv("REGISTRY_AUTH_FILE")}}, nil
	}
	info, err := os.Stat(authfile)
	if err == nil && info.Size() > maxAuthfile {
		err = fmt.Errorf("%s has more than %d bytes", authfile, maxAuthfile)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(authfile)
	}
	if err != nil {
		return keychain{}, fmt.Errorf("read credentials: %w", err)
	}
	var shape struct {
		Auths map[string]struct{ Auth, IdentityToken string } `json:"auths"`
	}
	if err := json.Unmarshal(data, &shape); err != nil { // its text could hold a secret
		return keychain{}, fmt.Errorf("read credentials: %s is not a pull secret: it must be JSON with \"auths\"", authfile)
	}
	return keychain{&types.SystemContext{AuthFilePath: authfile}}, nil
}

// authenticator gives the credentials for a repository; anonymous if there are none.
func (k keychain) authenticator(host, repository string) (authn.Authenticator, error) {
	if host == dockerHubHost {
		host = dockerHub
	}
	found, err := config.GetCredentials(k.system, host+"/"+repository)
	if err != nil {
		return nil, fmt.Errorf("look up credentials for %s: %w", host, err)
	}
	if found == (types.DockerAuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: found.Username, Password: found.Password, IdentityToken: found.IdentityToken}), nil
}
