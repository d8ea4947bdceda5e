package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"airlift/bundle"
)

func TestExitCode(t *testing.T) {
	var (
		plain     = errors.New("plain")
		usage     = usagef("bad flag")
		untrusted = fmt.Errorf("open bundle: %w", bundle.ErrUntrusted)
		damaged   = fmt.Errorf("bundle.tar: %w", bundle.ErrDamaged)
		missing   = fmt.Errorf("two images: %w", bundle.ErrMissing)
		absent    = fmt.Errorf("bundle.tar.002: %w", bundle.ErrAbsent)
		locked    = fmt.Errorf("%w: objects", bundle.ErrLocked)
		space     = fmt.Errorf("write: %w", bundle.ErrNoSpace)
	)
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"none", nil, 0},
		{"plain", plain, 1},
		{"usage", usage, 2},
		{"usage of the library", fmt.Errorf("%w: bad prefix", bundle.ErrUsage), 2},
		{"missing", missing, 3},
		{"damaged", damaged, 4},
		{"untrusted", untrusted, 5},
		{"no space", space, 6},
		{"absent", absent, 7},
		{"locked", locked, 8},
		{"4 before 8", errors.Join(locked, damaged), 4},
		{"7 before 8", errors.Join(locked, absent), 7},
		{"6 before 8", errors.Join(locked, space), 6},
		{"1 before 8", errors.Join(locked, plain), 1},
		{"8 before 3", errors.Join(missing, locked), 8},
		{"5 before 4", errors.Join(plain, missing, space, absent, damaged, untrusted), 5},
		{"4 before 7", errors.Join(plain, missing, space, absent, damaged), 4},
		{"7 before 6", errors.Join(plain, missing, space, absent), 7},
		{"6 before 1", errors.Join(plain, missing, space), 6},
		{"1 before 3", errors.Join(missing, plain), 1},
		{"1 before 3, wrapped", fmt.Errorf("import: %w", errors.Join(missing, plain)), 1},
		{"a list of a class", fmt.Errorf("%w: %w", bundle.ErrDamaged, errors.Join(plain, plain)), 4},
		{"a list within a hint", withHint(errors.Join(missing, damaged), "h"), 4},
		{"an error with its cause", fmt.Errorf("%w: %w", bundle.ErrMissing, io.EOF), 3},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

func TestPrintError(t *testing.T) {
	damaged := func(name string) error { return fmt.Errorf("%s: %w", name, bundle.ErrDamaged) }
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"one", errors.New("open x"), "airlift: open x\n"},
		{"hint", withHint(errors.New("open x"), "do y"), "airlift: open x\nairlift: hint: do y\n"},
		{"a list, one hint", errors.Join(damaged("a"), damaged("b")),
			"airlift: a: damaged\nairlift: b: damaged\nairlift: hint: " + hintFor(bundle.ErrDamaged) + "\n"},
		{"a list in a list, wrapped", fmt.Errorf("export: %w", errors.Join(
			errors.New("a"), fmt.Errorf("quay.io: %w", errors.Join(errors.New("b"), errors.New("c"))))),
			"airlift: export: a\nairlift: export: quay.io: b\nairlift: export: quay.io: c\n"},
		{"a hint for a list", withHint(errors.Join(errors.New("a"), withHint(errors.New("b"), "own")), "all"),
			"airlift: a\nairlift: b\nairlift: hint: all\nairlift: hint: own\n"},
		{"usage", ofCommand("airlift export", errors.Join(usagef("a"), usagef("b"))),
			"airlift: a\nairlift: b\nairlift: hint: \"airlift export --help\" lists the flags\n"},
		{"a list that usage wraps", usagef("--map: %w", errors.Join(errors.New("a"), errors.New("b"))),
			"airlift: --map: a\nairlift: --map: b\n"},
		{"interrupted", errors.Join(fmt.Errorf("fetch: %w", context.Canceled), context.Canceled), "airlift: interrupted\n"},
		{"control characters", errors.New("tag \x1b[2J\nairlift: hint: evil\r\u202e\xff\u00e9"),
			`airlift: tag \x1b[2J\nairlift: hint: evil\r\u202e\xffé` + "\n"},
	} {
		var out strings.Builder
		printError(&out, test.err)
		if out.String() != test.want {
			t.Errorf("%s: got\n%swant\n%s", test.name, &out, test.want)
		}
	}
}
