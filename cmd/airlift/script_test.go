package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// update rewrites the golden text that scripts compare with.
var update = flag.Bool("update", false, "rewrite golden text in testdata/script")

// TestMain makes this test binary serve as the programs that tests run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"airlift":  main,
		"exits":    exits,
		"stubborn": stubborn,
		"weighed":  weighed,
	})
}

// TestScripts runs testdata/script/*.txtar, each in an empty directory, with
// airlift and exits among the programs and these commands:
//
//	registry NAME [tls|nosan|expired|clients|memory|sparse] [as=HOST] [USER:PASSWORD]…
//		starts a registry, which with sparse takes lists whose images are not
//		all there, with clients wants certificates of them, and with as has a
//		further name in its own; sets $NAME to its host, ${NAME}_CA,
//		${NAME}_CERT and ${NAME}_KEY to the files of its CA, certificate and key
//		and ${NAME}_AUTH to an auth file for it, of the first user.
//	tokens NAME REGISTRY USER:PASSWORD:ACTIONS…
//		serves a registry at $NAME to who has a token for it; ACTIONS are pull,
//		push or pull,push.
//	release NAME REGISTRY [VERSION] [multi] [signed] [samples]
//		pushes a release, whose references say quay.io, to the registry with
//		that host; with samples its samples operator has some; sets $NAME to its reference by tag, ${NAME}_AT to the one
//		by digest and ${NAME}_COMPONENT to those of its components.
//	samples REGISTRY RELEASE FILE
//		pushes images of image streams and writes the streams, with those of
//		the release, into a file, as oc get is -o json does.
//	assets NAME REDHAT ACCESS N
//		pushes a release with all real samples, and small images for them, but
//		for N, to the registries that stand for registry.redhat.io and
//		registry.access.redhat.com; sets $NAME to the release's reference, and
//		writes the streams that lack something into the file skips, and what
//		can be pulled, REPOSITORY:TAG, into the file pulls.
//	pulls REGISTRY PATH FILE
//		pulls all images of a file of REPOSITORY:TAG, under a path of a registry.
//	image NAME REGISTRY REPOSITORY[:TAG] SHAPE
//		pushes an image of one of the shapes, and sets $NAME to its digest and
//		${NAME}HEX to what follows "sha256:" in it.
//	delete REGISTRY REFERENCE
//		takes the image away that the reference, of any host, names by digest.
//	holds REGISTRY
//		prints what the registry holds: repository:tag and digest, a line each.
//	proxy NAME REGISTRY [REQUESTS FAULT]…
//		serves a registry through a proxy at $NAME, which does a fault to the
//		requests, "METHOD /path", that a pattern matches.
//	forward NAME [account=USER:PASSWORD|status=N] [HOST=REGISTRY]…
//		serves as an HTTP proxy at $NAME, which alone knows where the hosts are;
//		it demands an account, or answers all with a status.
//	forwarded NAME
//		prints what that proxy was asked so far, "METHOD host".
//	kind NAME REGISTRY KIND [WORD]…
//		serves a registry at $NAME by the rules of a kind: quay with its
//		organisations, flatquay which has no nested names, creator which hides what
//		is not there yet, harbor with its projects, gitlab likewise, ecr with its
//		repositories, zot, openshift, portal which leads pushes to a page to log in.
//	await NAME REQUESTS
//		waits until a proxy has seen such a request.
//	requests NAME
//		prints the requests that a proxy has seen so far.
//	signal INT|TERM
//		sends the signal to the program in the background.
//	readonly DIR
//		makes a directory read-only until the script ends.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[worldKey{}] = newWorld(env.T().(testing.TB))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"registry":  inWorld((*world).registry),
			"tokens":    inWorld((*world).tokens),
			"release":   inWorld((*world).release),
			"samples":   inWorld((*world).samples),
			"assets":    inWorld((*world).assets),
			"pulls":     inWorld((*world).pulls),
			"image":     inWorld((*world).image),
			"delete":    inWorld((*world).delete),
			"holds":     inWorld((*world).holds),
			"proxy":     inWorld((*world).proxy),
			"forward":   inWorld((*world).forward),
			"forwarded": inWorld((*world).forwarded),
			"kind":      inWorld((*world).kind),
			"await":     inWorld((*world).await),
			"requests":  inWorld((*world).requests),
			"signal":    inWorld((*world).signal),
			"readonly":  inWorld((*world).readonly),
		},
	})
}

// withEnv sets a variable for a test, or takes it away.
func withEnv(t *testing.T, name string, value *string) {
	t.Helper()
	t.Setenv(name, "") // brings the present value back when the test ends
	if value == nil {
		os.Unsetenv(name)
		return
	}
	os.Setenv(name, *value)
}
