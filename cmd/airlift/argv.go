package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionWord stands last where a shell asks for completions.
const completionWord = "--generate-bash-completion"

// arrange puts the flags of a command before its arguments, and "--" between
// them: cli takes a flag after the first argument for an argument, in silence,
// and "import DIR --skip-missing" must mean what it says.
//
// A word that begins with "-" is a flag, but for "-" itself and whatever
// follows "--". A flag that takes a value takes it from "--flag=value" or from
// the next word, which may not look like a flag; one whose value may be left out,
// from "--flag=value" alone, and its values may not be the next word. Every flag
// leaves by its first name. Unknown flags, missing values and a second value for a
// flag that holds one are usage errors.
func arrange(argv []string, app *cli.App) ([]string, error) {
	if len(argv) == 0 || argv[len(argv)-1] == completionWord {
		return argv, nil
	}
	at := 1
	for at < len(argv) && strings.HasPrefix(argv[at], "-") && argv[at] != "-" {
		if !isGlobal(argv[at]) {
			return nil, withHint(usagef("flag %s before the command", argv[at]),
				"flags stand after the command: airlift COMMAND --flag …")
		}
		at++
	}
	if at >= len(argv) {
		return argv, nil
	}
	command := app.Command(argv[at])
	if command == nil { // the app's action says so
		return argv, nil
	}
	words := line{command: command, seen: map[cli.Flag]bool{}}
	if err := words.read(argv[at+1:]); err != nil {
		return nil, ofCommand("airlift "+command.Name, err)
	}
	if words.seen[cli.HelpFlag] { // with arguments cli would look for a topic of that name
		return append(argv[:at+1:at+1], "--help"), nil
	}
	return slices.Concat(argv[:at+1], words.flags, []string{"--"}, words.arguments), nil
}

// line is what follows a command, taken apart.
type line struct {
	command          *cli.Command
	seen             map[cli.Flag]bool
	flags, arguments []string
}

func (l *line) read(words []string) error {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case word == "--":
			l.arguments = append(l.arguments, words...)
			return nil
		case !looksLikeFlag(word):
			l.arguments = append(l.arguments, word)
		default:
			rest, err := l.readFlag(word, words)
			if err != nil {
				return err
			}
			words = rest
		}
	}
	return nil
}

// readFlag takes the flag in word, with its value from next if need be, and
// gives what is left of next.
func (l *line) readFlag(word string, next []string) ([]string, error) {
	name, value, inline := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	flag := findFlag(l.command, name)
	if flag == nil {
		return nil, withHint(usagef("unknown flag %s", strings.SplitN(word, "=", 2)[0]),
			"did you mean "+cli.SuggestFlag(l.command.Flags, name, false)+"? "+helpOf("airlift "+l.command.Name))
	}
	if l.seen[flag] && !repeats(flag) {
		return nil, usagef("--%s is given twice", flag.Names()[0])
	}
	l.seen[flag] = true
	switch {
	case inline:
	case !takesValue(flag):
		value = "true"
	case isOptional(flag):
		optional := flag.(*optionalFlag)
		if value = optional.alone; len(next) > 0 && slices.Contains(optional.values, next[0]) {
			return nil, withHint(usagef("--%s %s: the value stands behind a =", name, next[0]),
				fmt.Sprintf("--%s=%s; or ./%s, if that is a name", name, next[0], next[0]))
		}
	case len(next) == 0:
		return nil, usagef("--%s lacks its value", name)
	case looksLikeFlag(next[0]):
		return nil, withHint(usagef("--%s lacks its value: %s looks like a flag", name, next[0]),
			"a value that begins with - is written --"+name+"=VALUE")
	default:
		value, next = next[0], next[1:]
	}
	l.flags = append(l.flags, "--"+flag.Names()[0]+"="+value)
	return next, nil
}

func looksLikeFlag(word string) bool { return strings.HasPrefix(word, "-") && word != "-" }

func takesValue(flag cli.Flag) bool {
	f, ok := flag.(cli.DocGenerationFlag)
	return ok && f.TakesValue()
}

func isOptional(flag cli.Flag) bool {
	_, optional := flag.(*optionalFlag)
	return optional
}

func repeats(flag cli.Flag) bool {
	f, ok := flag.(cli.DocGenerationSliceFlag)
	return !takesValue(flag) || ok && f.IsSliceFlag()
}

func findFlag(command *cli.Command, name string) cli.Flag {
	for _, flag := range append(slices.Clone(command.Flags), cli.HelpFlag) {
		if slices.Contains(flag.Names(), name) {
			return flag
		}
	}
	return nil
}

func isGlobal(word string) bool {
	name := strings.TrimPrefix(word[1:], "-")
	return slices.Contains(cli.HelpFlag.Names(), name) || slices.Contains(cli.VersionFlag.Names(), name)
}
