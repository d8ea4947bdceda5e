package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"airlift/oci/ocitest"
)

// update rewrites the golden text that scripts compare with.
var update = flag.Bool("update", false, "rewrite golden text in testdata/script")

// TestMain makes this test binary serve as the programs that tests run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"airlift":  main,
		"stubborn": stubborn,
	})
}

// TestScripts runs testdata/script/*.txtar, each in an empty directory, with
// airlift among the programs and these commands:
//
//	registry NAME [tls|nosan] [USER:PASSWORD]
//		starts a registry and sets $NAME to its host, ${NAME}_CA to the file
//		of its CA and ${NAME}_AUTH to an auth file for it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[testKey{}] = env.T()
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"registry": registryCommand,
		},
	})
}

// testKey finds the testing.TB of a script, for what must end with it.
type testKey struct{}

func testOf(ts *testscript.TestScript) testing.TB {
	return ts.Value(testKey{}).(testing.TB)
}

func registryCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: registry NAME [tls|nosan] [USER:PASSWORD]")
	}
	var opts ocitest.RegistryOptions
	for _, arg := range args[1:] {
		user, password, isUser := strings.Cut(arg, ":")
		switch {
		case isUser:
			opts.User, opts.Password = user, password
		case arg == "tls" || arg == "nosan":
			opts.TLS, opts.NoSAN = true, arg == "nosan"
		default:
			ts.Fatalf("registry: unknown word %s", arg)
		}
	}
	started := ocitest.StartRegistryWith(testOf(ts), opts)
	ts.Setenv(args[0], started.Host)
	ts.Setenv(args[0]+"_CA", started.CAFile)
	ts.Setenv(args[0]+"_AUTH", started.Authfile)
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
