package ocitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Rule is one thing that a kind of registry does where docker-registry does
// another. A registry is emulated by its rules, in front of a real one.
type Rule struct {
	Name   string
	Source string // where the real one does so: its code, its documentation, a thread
	Answer func(*http.Request) *Fault
}

// Emulate serves target (HOST:PORT over plain HTTP) through rules, of which the
// first answers that has something to say.
func Emulate(t testing.TB, target string, rules []Rule) *Proxy {
	t.Helper()
	return Misbehave(t, target, func(r *http.Request) *Fault {
		for _, rule := range rules {
			if f := rule.Answer(r); f != nil {
				return f
			}
		}
		return nil
	})
}

// repositoryOf is the repository that a request is about; "" if it is about none.
func repositoryOf(r *http.Request) string {
	if found := ofRepository.FindStringSubmatch(r.URL.Path); found != nil {
		return found[1]
	}
	return ""
}

// inRepository is a rule about requests of a repository.
func inRepository(answer func(repository string, r *http.Request) *Fault) func(*http.Request) *Fault {
	return func(r *http.Request) *Fault {
		if repository := repositoryOf(r); repository != "" {
			return answer(repository, r)
		}
		return nil
	}
}

// refusal is an answer with one error in the form of the distribution spec.
func refusal(status int, code, message string, detail any) *Fault {
	type fault struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	body, _ := json.Marshal(map[string][]fault{"errors": {{code, message, detail}}}) // plain strings
	return &Fault{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: string(body) + "\n"}
}

// components counts those of a path.
func components(path string) int { return strings.Count(path, "/") + 1 }

// isPut says whether a request pushes a manifest.
func isPut(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
}

// Zot refuses Docker's media types, unless it was set to be compatible with them.
func Zot(docker2s2 bool) []Rule {
	if docker2s2 {
		return nil
	}
	return []Rule{{
		"Docker's manifests are refused",
		"project-zot/zot, pkg/api/routes.go, UpdateManifest; pull request 596 and issue 724",
		func(r *http.Request) *Fault {
			kind := r.Header.Get("Content-Type")
			if !isPut(r) || !strings.HasPrefix(kind, "application/vnd.docker.") {
				return nil
			}
			return refusal(http.StatusUnsupportedMediaType, "MANIFEST_INVALID", "manifest invalid", map[string]string{"mediaType": kind})
		},
	}}
}

// QuayOptions are how a Quay is set up.
type QuayOptions struct {
	Organisations []string // that are there: a push makes no other (CREATE_NAMESPACE_ON_PUSH is off)
	Nested        bool     // FEATURE_EXTENDED_REPOSITORY_NAMES
	Creator       bool     // the account may create repositories, and sees none before it has
	Busy          bool     // the first try of every fifth request to push fails
	// Signatures are the digests of signatures as they were made; nil for any.
	Signatures []digest.Digest
}

// Quay knows organisations, and paths of two components if it was set so. That it
// collects what no tag leads to, [Registry.CollectUntagged] does.
func Quay(o QuayOptions) []Rule {
	rules := []Rule{{
		"an organisation that is not there is not made",
		"quay/quay, endpoints/v2/v2auth.py, _authorize_or_downscope_request, and endpoints/v2/errors.py, Unauthorized; pull request 799",
		inRepository(func(repository string, _ *http.Request) *Fault {
			if namespace, _, _ := strings.Cut(repository, "/"); slices.Contains(o.Organisations, namespace) {
				return nil
			}
			return refusal(http.StatusUnauthorized, "UNAUTHORIZED", "access to the requested resource is not authorized", struct{}{})
		}),
	}, {
		"signatures that were made anew are refused",
		"openshift/oc-mirror, issue 1478; quay/quay, endpoints/v2/errors.py, ManifestInvalid",
		o.refuseSignature,
	}}
	if !o.Nested {
		rules = slices.Insert(rules, 0, Rule{
			"paths have two components",
			"quay/quay, endpoints/v2/v2auth.py, _authorize_or_downscope_request, and endpoints/v2/errors.py, NameInvalid",
			inRepository(func(repository string, _ *http.Request) *Fault {
				if components(repository) <= 2 {
					return nil
				}
				return refusal(http.StatusBadRequest, "NAME_INVALID", "Nested repositories are not supported. Found: "+repository, struct{}{})
			}),
		})
	}
	if o.Creator {
		rules = append(rules, creator())
	}
	if o.Busy {
		rules = append(rules, busy())
	}
	return rules
}

func (o QuayOptions) refuseSignature(r *http.Request) *Fault {
	if o.Signatures == nil || !isPut(r) || !strings.HasSuffix(r.URL.Path, ".sig") {
		return nil
	}
	raw, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	if err == nil && slices.Contains(o.Signatures, digest.FromBytes(raw)) {
		return nil
	}
	return refusal(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid", struct{}{})
}

// creator hides from an account that may create repositories those that it has not:
// leave to push makes one, leave to pull is not given.
func creator() Rule {
	var mu sync.Mutex
	made := map[string]bool{}
	return Rule{
		"a repository that is not there is hidden from who may create it",
		"quay/quay, endpoints/v2/v2auth.py, _authorize_or_downscope_request, and endpoints/v2/errors.py, Unauthorized",
		inRepository(func(repository string, r *http.Request) *Fault {
			mu.Lock()
			defer mu.Unlock()
			made[repository] = made[repository] || r.Method != http.MethodGet
			if made[repository] {
				return nil
			}
			return refusal(http.StatusUnauthorized, "UNAUTHORIZED", "access to the requested resource is not authorized", struct{}{})
		}),
	}
}

// Portal leads requests of a method (POST, as a rule) to a page to log in, as what is
// made for people does in front of a registry.
func Portal(method string) []Rule {
	page := &Fault{Status: http.StatusNotFound, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: "<html>who are you?</html>"}
	return []Rule{{
		"requests without a cookie are led to a page",
		"oauth2-proxy/oauth2-proxy, oauthproxy.go, Proxy, with skip-provider-button",
		func(r *http.Request) *Fault {
			switch {
			case r.URL.Path == "/login":
				return page
			case r.Method == method:
				return &Fault{Status: http.StatusFound, Header: http.Header{"Location": {"/login?rd=" + r.URL.Path}}}
			}
			return nil
		},
	}}
}

// busy fails as a Quay does whose workers are killed: what is asked again goes well.
func busy() Rule {
	var mu sync.Mutex
	seen := map[string]bool{}
	return Rule{
		"some requests fail under load",
		"quay/mirror-registry, issue 179: nginx in front of workers that were killed",
		func(r *http.Request) *Fault {
			mu.Lock()
			defer mu.Unlock()
			name := r.Method + " " + r.URL.Path
			if r.Method != http.MethodPost && !isPut(r) || seen[name] {
				return nil
			}
			if seen[name] = true; len(seen)%5 != 0 {
				return nil
			}
			return &Fault{Status: http.StatusBadGateway, Header: http.Header{"Content-Type": {"text/html"}},
				Body: "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"}
		},
	}
}

// Harbor has projects, which a push does not make.
func Harbor(projects ...string) []Rule {
	return []Rule{{
		"paths have a project in front",
		"goharbor/harbor, src/server/middleware/artifactinfo/artifact_info.go, projectNameFromRepo",
		inRepository(func(repository string, _ *http.Request) *Fault {
			if components(repository) >= 2 {
				return nil
			}
			return refusal(http.StatusBadRequest, "BAD_REQUEST", "invalid repository name: "+repository, nil)
		}),
	}, {
		"a project that is not there is not made",
		"goharbor/harbor, src/server/middleware/v2auth/auth.go, check and Middleware; issues 966 and 20544",
		inRepository(func(repository string, _ *http.Request) *Fault {
			project, _, _ := strings.Cut(repository, "/")
			if slices.Contains(projects, project) {
				return nil
			}
			return refusal(http.StatusUnauthorized, "UNAUTHORIZED", fmt.Sprintf("project %s not found", project), nil)
		}),
	}}
}

// GitLab has projects in groups; paths go at most two components below a project.
func GitLab(projects ...string) []Rule {
	return []Rule{{
		"paths lie at most two components below a project that is there",
		"gitlab-org/gitlab, issue 438563; distribution/distribution, registry/auth/token/accesscontroller.go, ErrInsufficientScope",
		inRepository(func(repository string, r *http.Request) *Fault {
			for _, project := range projects {
				rest, under := strings.CutPrefix(repository, project)
				if under && (rest == "" || rest[0] == '/' && components(rest) <= 3) {
					return nil
				}
			}
			f := refusal(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required",
				[]map[string]string{{"Type": "repository", "Class": "", "Name": repository, "Action": "push"}})
			f.Header.Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/jwt/auth",service="container_registry",scope="repository:%s:pull,push",error="insufficient_scope"`, r.Host, repository))
			return f
		}),
	}}
}

// ECR has repositories, which a push does not make.
func ECR(repositories ...string) []Rule {
	return []Rule{{
		"a repository that is not there is not made",
		"plexsystems/sinker, issue 55; regclient/regclient, issue 869",
		inRepository(func(repository string, _ *http.Request) *Fault {
			if slices.Contains(repositories, repository) {
				return nil
			}
			return refusal(http.StatusNotFound, "NAME_UNKNOWN", fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '123456789012'", repository), nil)
		}),
	}}
}

// OpenShift is the registry inside of a cluster before 4.13.
func OpenShift() []Rule {
	return []Rule{{
		"tokens come from the registry itself",
		"openshift/image-registry, pkg/dockerregistry/server/auth.go, wrapErr, and pkg/dockerregistry/server/configuration, TokenRealm; pkg/dockerregistry/server/app.go, NewApp",
		func(r *http.Request) *Fault {
			switch {
			case r.URL.Path == "/openshift/token":
				return &Fault{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"access_token":"anonymous","token":"anonymous"}`}
			case r.Header.Get("Authorization") != "":
				return nil
			}
			f := refusal(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
			f.Header.Set("Www-Authenticate", fmt.Sprintf("Bearer realm=%q", "http://"+r.Host+"/openshift/token"))
			f.Header.Set("X-Registry-Supports-Signatures", "1")
			return f
		},
	}, {
		"paths have two components",
		"openshift/image-registry, pkg/dockerregistry/server/util.go, getNamespaceName; distribution/distribution, registry/handlers/app.go, authorized",
		inRepository(func(repository string, _ *http.Request) *Fault {
			if components(repository) == 2 {
				return nil
			}
			return &Fault{Status: http.StatusBadRequest}
		}),
	}, {
		"what has no tag is refused",
		"openshift/origin, issue 9550",
		func(r *http.Request) *Fault {
			if !isPut(r) || !strings.Contains(r.URL.Path, "/manifests/sha256:") {
				return nil
			}
			return refusal(http.StatusInternalServerError, "UNKNOWN", "unknown error", nil)
		},
	}}
}
