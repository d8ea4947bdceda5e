package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"airlift/bundle"
)

// rehearsal is what an import would do, and what must be at the destination for it.
type rehearsal struct {
	Images []bundle.ImageResult `json:"images"`
	// Places have states if the registry was asked.
	Places []bundle.Place `json:"places"`
	// NotAsked is why the registry was not asked for them; "" if it was.
	NotAsked string `json:"notAsked,omitempty"`
	// Lacks is what an increment leaves out and the registry does not have.
	Lacks []digest.Digest `json:"lacks,omitempty"`
}

// rehearse says what an import would do, and asks the registry for what must be
// there. That it does not answer is no failure of a dry run: bundles are planned
// where there is no way to it. Without a report nothing is said of the cluster.
func rehearse(c *cli.Context, from source, o bundle.ImportOptions, report *bundle.Report, objects *bundle.Objects) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	results, planned := from.rehearse(o)
	if results == nil {
		return importHint(planned)
	}
	r := rehearsal{Images: results}
	refused, lacks := r.survey(c, from.bundle, o)
	switch {
	case asJSON:
		err = r.printJSON(c.App.Writer)
	default:
		err = r.print(c.App.Writer)
		if report != nil {
			err = errors.Join(err, printSamples(c, report, objects))
		}
		printLeftOut(c.App.Writer, from.bundle.Inventory)
	}
	if lacks != nil { // then an import comes to nothing of what is planned
		planned = nil
	}
	return errors.Join(err, importHint(refused), importHint(lacks), importHint(planned))
}

// survey asks the registry. The errors are what it refuses, and what it lacks that an
// increment leaves out.
func (r *rehearsal) survey(c *cli.Context, b *bundle.Bundle, o bundle.ImportOptions) (refused, lacks error) {
	shown := newProgress(c)
	defer shown.close()
	client, err := newClient(c, nil, shown.tell)
	if err != nil {
		return err, nil
	}
	r.Places, err = b.Survey(c.Context, client, o)
	if err == nil || errors.As(err, new(*bundle.ClosedError)) {
		refused, err = err, b.AskBase(c.Context, client, o)
	}
	var base *bundle.BaseError
	switch {
	case errors.As(err, &base):
		r.Lacks = base.All()
		return refused, err
	case err == nil:
		return refused, nil
	case placesHint(err) != "" || c.Context.Err() != nil:
		return err, nil
	}
	r.NotAsked = err.Error()
	say(os.Stderr, "warning: %s was not asked for what must be there: %v", o.Placement.To.Host, err)
	if hint := hintFor(err); hint != "" {
		say(os.Stderr, "hint: %s", hint)
	}
	return refused, nil
}

func (r *rehearsal) printJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(r)
}

func (r *rehearsal) print(w io.Writer) error {
	namespace := ""
	for i, p := range r.Places {
		if i == 0 || p.Namespace != namespace {
			namespace = p.Namespace
			fmt.Fprintf(w, "needs the project, organisation or other namespace %s, and in it\n", namespace)
		}
		fmt.Fprintf(w, "  %s%s\n", p.Repository, placeState(p))
	}
	return printResults(w, r.Images)
}

// placeState words what the registry said of a place, if it said something.
func placeState(p bundle.Place) string {
	switch {
	case p.State == "":
		return ""
	case p.State == bundle.PlaceAbsent:
		return "  (not there yet)"
	case p.Answer != "":
		return printable(fmt.Sprintf("  (%s: %s)", p.Stated(true), p.Answer))
	}
	return fmt.Sprintf("  (%s)", p.State)
}
