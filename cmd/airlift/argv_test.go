package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// trial is the app with one more command, which does action.
func trial(action cli.ActionFunc) *cli.App {
	command := &cli.Command{Name: "carry", Action: action, Flags: []cli.Flag{
		&cli.BoolFlag{Name: "skip", Aliases: []string{"s"}},
		&cli.StringFlag{Name: "to", Aliases: []string{"t"}},
		&cli.StringSliceFlag{Name: "image"},
		&cli.IntFlag{Name: "jobs"},
	}}
	prepare(command)
	app := newApp()
	app.Commands = append(app.Commands, command)
	return app
}

func TestArrange(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{"--version", "--version"},
		{"other DIR --skip", "other DIR --skip"},
		{"carry", "carry --"},
		{"carry DIR", "carry -- DIR"},
		{"carry DIR --skip", "carry --skip=true -- DIR"},
		{"carry --skip DIR", "carry --skip=true -- DIR"},
		{"carry DIR --skip DIR2", "carry --skip=true -- DIR DIR2"},
		{"carry A -s B -t C D", "carry --skip=true --to=C -- A B D"},
		{"carry --skip=false A", "carry --skip=false -- A"},
		{"carry A --to=B=C", "carry --to=B=C -- A"},
		{"carry A --to=", "carry --to= -- A"},
		{"carry A --to=--skip", "carry --to=--skip -- A"},
		{"carry A -to B", "carry --to=B -- A"},
		{"carry - --to -", "carry --to=- -- -"},
		{"carry A --to B -- --skip -t", "carry --to=B -- A --skip -t"},
		{"carry -- --skip", "carry -- --skip"},
		{"carry A --image 1 B --image 2", "carry --image=1 --image=2 -- A B"},
		{"carry A --skip -h", "carry --help"},
		{"carry A --skip --generate-bash-completion", "carry A --skip --generate-bash-completion"},
		{"carry help", "carry -- help"},
	} {
		t.Run(test.in, func(t *testing.T) {
			got, err := arrange(append([]string{"airlift"}, strings.Fields(test.in)...), trial(nil))
			if want := append([]string{"airlift"}, strings.Fields(test.want)...); err != nil || !slices.Equal(got, want) {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestArrangeRefuses(t *testing.T) {
	for _, test := range []struct{ in, text, hint string }{
		{"carry A --to", "--to lacks its value", "airlift carry --help"},
		{"carry --to --skip A", "--to lacks its value: --skip looks like a flag", "--to=VALUE"},
		{"carry A --to -- B", "--to lacks its value: -- looks like a flag", "--to=VALUE"},
		{"carry A --skipp", "unknown flag --skipp", "did you mean --skip?"},
		{"carry --bogus=1 A", "unknown flag --bogus", "airlift carry --help"},
		{"carry A -x", "unknown flag -x", "airlift carry --help"},
		{"carry A ---skip", "unknown flag ---skip", ""},
		{"carry --to A -t B", "--to is given twice", ""},
		{"carry --jobs 1 --jobs 1", "--jobs is given twice", ""},
		{"--skip carry A", "flag --skip before the command", "after the command"},
	} {
		t.Run(test.in, func(t *testing.T) {
			got, err := arrange(append([]string{"airlift"}, strings.Fields(test.in)...), trial(nil))
			if err == nil {
				t.Fatalf("accepted: %q", got)
			}
			if err.Error() != test.text || exitCode(err) != exitUsage || !strings.Contains(hintFor(err), test.hint) {
				t.Errorf("got %q, code %d, hint %q", err, exitCode(err), hintFor(err))
			}
		})
	}
}

// A value of the wrong kind is a usage error too, with the command's own help.
func TestBadValueIsUsage(t *testing.T) {
	for _, word := range []string{"--jobs=x", "--skip=maybe"} {
		err := trial(nil).Run([]string{"airlift", "carry", word})
		if exitCode(err) != exitUsage || hintFor(err) != helpOf("airlift carry") {
			t.Errorf("%s: got %v, code %d", word, err, exitCode(err))
		}
	}
}

// What arrange gives must mean to cli what was meant.
func TestArrangedFlagsAreParsed(t *testing.T) {
	var seen string
	app := trial(func(c *cli.Context) error {
		seen = strings.Join([]string{c.String("to"), strings.Join(c.StringSlice("image"), "|"),
			strings.Join(c.Args().Slice(), "|")}, " ")
		if !c.Bool("skip") {
			t.Error("--skip was lost")
		}
		return nil
	})
	argv := strings.Fields("airlift carry help --to=x=y --image a,b -s --image c -- --skip")
	if code := run(t.Context(), app, argv); code != 0 || seen != "x=y a,b|c help|--skip" {
		t.Errorf("code %d, seen %q", code, seen)
	}
}
