package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"airlift/oci/ocitest"
)

// answers are what a proxy gives in a registry's place, by their names.
var answers = map[string]ocitest.Fault{
	"403": {Status: 403, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`},
	"404json": {Status: 404, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`},
	"404text": {Status: 404, Header: http.Header{"Content-Type": {"text/plain"}}, Body: "404 page not found\n"},
	"404html": {Status: 404, Header: http.Header{"Content-Type": {"text/html"}},
		Body: "<!DOCTYPE html><html><body><h1>Not Found</h1></body></html>\n"},
	"stall": {Delay: time.Hour}, // or until the client or the test has gone
	"drop":  {Drop: true},
}

// faultNamed reads the name of an answer, or corrupt:OFFSET.
func faultNamed(ts *testscript.TestScript, word string) *ocitest.Fault {
	if f, ok := answers[word]; ok {
		return &f
	}
	offset, ok := strings.CutPrefix(word, "corrupt:")
	at, err := strconv.ParseInt(offset, 10, 64)
	if !ok || err != nil {
		ts.Fatalf("there is no fault %s", word)
	}
	return &ocitest.Fault{Corrupt: true, At: at}
}

func (w *world) proxy(ts *testscript.TestScript, args []string) {
	first, rules := words(ts, args, 2)
	type rule struct {
		requests *regexp.Regexp
		fault    *ocitest.Fault
	}
	var all []rule
	for pair := range slices.Chunk(rules, 2) {
		pair, _ = words(ts, pair, 2)
		pattern, err := regexp.Compile(pair[0])
		ts.Check(err)
		all = append(all, rule{pattern, faultNamed(ts, pair[1])})
	}
	p := ocitest.Misbehave(w.t, first[1], func(r *http.Request) *ocitest.Fault {
		for _, one := range all {
			if one.requests.MatchString(r.Method + " " + r.URL.Path) {
				return one.fault
			}
		}
		return nil
	})
	w.proxies[first[0]] = p
	ts.Setenv(first[0], p.Host)
}

func (w *world) forward(ts *testscript.TestScript, args []string) {
	first, rest := words(ts, args, 1)
	o := ocitest.ForwardOptions{Routes: map[string]string{}}
	for _, arg := range rest {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "account":
			o.Account = value
		case "status":
			status, err := strconv.Atoi(value)
			ts.Check(err)
			o.Status = status
		default:
			o.Routes[key] = value
		}
	}
	f := ocitest.StartForward(w.t, o)
	w.forwards[first[0]] = f
	ts.Setenv(first[0], f.Host)
}

func (w *world) forwarded(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 1)
	f := w.forwards[first[0]]
	if f == nil {
		ts.Fatalf("%s is no proxy of this script", first[0])
	}
	for _, r := range f.Log() {
		fmt.Fprintln(ts.Stdout(), r.Method, r.Path)
	}
}

func (w *world) kind(ts *testscript.TestScript, args []string) {
	first, names := words(ts, args, 3)
	rules, known := map[string][]ocitest.Rule{
		"quay":      ocitest.Quay(ocitest.QuayOptions{Organisations: names, Nested: true}),
		"creator":   ocitest.Quay(ocitest.QuayOptions{Organisations: names, Nested: true, Creator: true}),
		"portal":    ocitest.Portal(http.MethodPost),
		"flatquay":  ocitest.Quay(ocitest.QuayOptions{Organisations: names}),
		"harbor":    ocitest.Harbor(names...),
		"gitlab":    ocitest.GitLab(names...),
		"ecr":       ocitest.ECR(names...),
		"zot":       ocitest.Zot(false),
		"openshift": ocitest.OpenShift(),
	}[first[2]]
	if !known {
		ts.Fatalf("there is no kind of registry %s", first[2])
	}
	p := ocitest.Emulate(w.t, first[1], rules)
	w.proxies[first[0]] = p
	ts.Setenv(first[0], p.Host)
}

// awaited is how long a script waits for a request, which comes within
// milliseconds if it comes.
const awaited = 30 * time.Second

func (w *world) await(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 2)
	pattern, err := regexp.Compile(first[1])
	ts.Check(err)
	for deadline := time.Now().Add(awaited); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if slices.ContainsFunc(w.seen(ts, first[0]), pattern.MatchString) {
			return
		}
	}
	ts.Fatalf("no request %s came; there were %q", first[1], w.seen(ts, first[0]))
}

func (w *world) requests(ts *testscript.TestScript, args []string) {
	first, _ := words(ts, args, 1)
	out := ts.Stdout()
	for _, request := range w.seen(ts, first[0]) {
		fmt.Fprintln(out, request)
	}
}

// seen are the requests to a proxy, as "METHOD /path".
func (w *world) seen(ts *testscript.TestScript, name string) []string {
	p := w.proxies[name]
	if p == nil {
		ts.Fatalf("%s is no proxy of this script", name)
	}
	var seen []string
	for _, r := range p.Log() {
		seen = append(seen, r.Method+" "+r.Path)
	}
	return seen
}
