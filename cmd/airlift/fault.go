package main

import (
	"errors"
	"strings"

	"airlift/bundle"
)

// The exit codes; ui.go says what they mean.
const (
	exitComplete  = 0
	exitFailed    = 1
	exitUsage     = 2
	exitMissing   = 3
	exitDamaged   = 4
	exitUntrusted = 5
	exitNoSpace   = 6
	exitAbsent    = 7
	exitLocked    = 8
)

// classes of errors and their codes, in the order in which they win. Nothing was begun
// where usage was wrong, so that never meets the others. A directory that is locked does
// where an import has pushed, and is to write what it leaves: what failed before says more.
var classes = []struct {
	class error // nil: whatever is of no other class
	code  int
}{
	{bundle.ErrUsage, exitUsage},
	{bundle.ErrUntrusted, exitUntrusted},
	{bundle.ErrDamaged, exitDamaged},
	{bundle.ErrAbsent, exitAbsent},
	{bundle.ErrNoSpace, exitNoSpace},
	{nil, exitFailed},
	{bundle.ErrLocked, exitLocked},
	{bundle.ErrMissing, exitMissing},
	{bundle.ErrSparse, exitMissing},
	{bundle.ErrUnpullable, exitMissing},
}

// exitCode is the code for an error: of all that it joins, what wins.
func exitCode(err error) int {
	if err == nil {
		return exitComplete
	}
	best := len(classes) - 1
	for _, f := range faults(err) {
		best = min(best, rank(f.err))
	}
	return classes[best].code
}

// rank is the place of an error in classes.
func rank(err error) int {
	plain := 0
	for i, c := range classes {
		switch {
		case c.class == nil:
			plain = i
		case errors.Is(err, c.class):
			return i
		}
	}
	return plain
}

// fault is one of the errors that a run ended with.
type fault struct {
	text string // complete: with what stands around the list that it was in
	err  error
}

// faults takes err apart where errors.Join put it together, however deep.
// What is wrapped around a list holds for each of its errors.
func faults(err error) []fault {
	var around []error
	for inner := err; inner != nil; {
		if parts := joined(inner); parts != nil {
			return each(parts, strings.TrimSuffix(err.Error(), inner.Error()), around)
		}
		next, beside := below(inner)
		around, inner = append(around, beside...), next
	}
	return []fault{{err.Error(), err}}
}

func each(parts []error, prefix string, around []error) []fault {
	var all []fault
	for _, part := range parts {
		for _, f := range faults(part) {
			all = append(all, fault{prefix + f.text, among{f.err, around}})
		}
	}
	return all
}

// joined gives the parts of what errors.Join made, and nothing else.
func joined(err error) []error {
	list, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(list.Unwrap()...).Error() {
		return nil
	}
	return list.Unwrap()
}

// below is the error that err ends with, and what err says beside it.
func below(err error) (next error, beside []error) {
	switch e := err.(type) {
	case *hinted:
		return e.error, []error{&hinted{hint: e.hint}}
	case interface{ Unwrap() error }:
		return e.Unwrap(), nil
	case interface{ Unwrap() []error }:
		parts := e.Unwrap()
		return parts[len(parts)-1], parts[:len(parts)-1]
	}
	return nil, nil
}

// among is an error out of a list, with what was said about the whole list.
type among struct {
	error
	around []error
}

func (a among) Unwrap() []error { return append([]error{a.error}, a.around...) }
