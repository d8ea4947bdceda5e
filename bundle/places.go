package bundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"airlift/oci"
)

// States of a place.
const (
	PlaceThere  = "there"   // it can be pulled from
	PlaceAbsent = "absent"  // the registry knows of no such repository
	PlaceDenied = "denied"  // it may not be used, or is hidden; often because what it lies in is not there
	PlaceUnfit  = "refused" // for another reason, such as its depth
)

// Place is a repository of the destination.
type Place struct {
	Namespace  string `json:"namespace"`  // the first component of its path: a project, an organisation
	Repository string `json:"repository"` // path in the registry
	State      string `json:"state,omitempty"`
	Answer     string `json:"answer,omitempty"` // that the registry gave, where it refuses

	at     oci.Reference
	lookup *oci.Lookup    // of a refusal: with which credentials
	page   *oci.PageError // that answered for the registry
}

// placeAt is a repository of which nothing is known.
func placeAt(at oci.Reference) Place {
	namespace, _, _ := strings.Cut(at.Repository, "/")
	return Place{Namespace: namespace, Repository: at.Repository, at: at}
}

func sortedPlaces(repositories map[oci.Reference]bool) []Place {
	var places []Place
	for at := range repositories {
		places = append(places, placeAt(at))
	}
	slices.SortFunc(places, func(a, b Place) int { return strings.Compare(a.Repository, b.Repository) })
	return places
}

// judge notes what an answer says of a place; nothing if it does not say that the
// place cannot be used.
func (p *Place) judge(err error) {
	var answer *oci.StatusError
	var page *oci.PageError
	switch {
	case errors.As(err, &page):
		p.State, p.Answer, p.page = PlaceUnfit, page.Error(), page
		return
	case !errors.As(err, &answer):
		return
	case oci.IsDenied(err) || answer.Code == "DENIED":
		p.State = PlaceDenied
	case oci.IsMissing(err):
		p.State = PlaceAbsent
	case oci.IsRefusal(err):
		p.State = PlaceUnfit
	default:
		return
	}
	p.lookup = answer.Lookup
	p.Answer = strings.TrimSpace(fmt.Sprintf("%d %s", answer.Status, joinWords(answer.Code, answer.Message)))
}

// joinWords joins two texts, of which any may be empty.
func joinWords(code, message string) string {
	if code != "" && message != "" {
		return code + ": " + message
	}
	return code + message
}

// ClosedError: the registry does not let be pushed into places that are needed, or be
// looked into. Nothing was pushed.
type ClosedError struct {
	To     Location
	Places []Place // that are refused, sorted
	// Surveyed: nobody asked for leave to push. What is denied may be hidden only: some
	// registries let an account make a repository, and deny it what is not there yet.
	Surveyed bool
	// Namespaces are those of which every place is refused.
	Namespaces []string
	// Lookup is where credentials were looked for, if there are none for a place that is
	// denied; nil if there are.
	Lookup *oci.Lookup
	Page   *oci.PageError // that answered for the registry, if one did
	// MaxNestedPaths is how deep a path may be, if that may be what is wrong: all
	// places are refused that are deeper, and no other; 0 if not.
	MaxNestedPaths int
}

// closed is the error for places of which some are refused.
func closed(to Location, places []Place, surveyed bool) error {
	e := &ClosedError{To: to, Surveyed: surveyed}
	open, deepest, flattest := map[string]bool{}, 0, 0
	for _, p := range places {
		n := depth(p.Repository)
		if p.Answer == "" {
			open[p.Namespace], deepest = true, max(deepest, n)
			continue
		}
		e.Places = append(e.Places, p)
		if flattest == 0 || n < flattest {
			flattest = n
		}
	}
	if len(e.Places) == 0 {
		return nil
	}
	namespaces := map[string]bool{}
	unfit := true
	for _, p := range e.Places {
		if !open[p.Namespace] {
			namespaces[p.Namespace] = true
		}
		unfit = unfit && p.State == PlaceUnfit
		if p.lookup != nil && p.lookup.Entry == "" {
			e.Lookup = p.lookup
		}
		if p.page != nil {
			e.Page = p.page
		}
	}
	e.Namespaces = slices.Sorted(maps.Keys(namespaces))
	if n := flattest - 1; n >= deepest && n > max(depth(to.Path), 1) && (unfit || len(e.Namespaces) == 0) {
		e.MaxNestedPaths = n
	}
	return e
}

// Error is a line for each of Unwrap.
func (e *ClosedError) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap is what is wrong: an error for each namespace of which nothing is open,
// and for each other place.
func (e *ClosedError) Unwrap() []error {
	words := "%s lets nothing be pushed into %s; nothing was pushed"
	if e.Surveyed {
		words = "%s lets nobody look into %s; whether an import may push there, only the import asks"
	}
	errs := []error{fmt.Errorf(words, e.To.Host, counted(len(e.Places), "repository", "repositories"))}
	whole := map[string][]Place{}
	for _, p := range e.Places {
		if slices.Contains(e.Namespaces, p.Namespace) {
			whole[p.Namespace] = append(whole[p.Namespace], p)
		} else {
			errs = append(errs, errors.New(e.describe([]Place{p})))
		}
	}
	for _, namespace := range e.Namespaces {
		errs = append(errs, errors.New(e.describe(whole[namespace])))
	}
	return errs
}

// describe words a place, or a namespace of which all places are refused.
func (e *ClosedError) describe(places []Place) string {
	first := places[0]
	state := first.Stated(e.Surveyed)
	if len(places) == 1 {
		return fmt.Sprintf("%s is %s: %s", first.Repository, state, first.Answer)
	}
	var names []string
	for _, p := range places {
		names = append(names, p.Repository)
	}
	return fmt.Sprintf("all of %s is %s (%s): %s", first.Namespace, state, listSome(names, 5), first.Answer)
}

// Stated is the state in words. Where a registry denies a look, a push may be another
// matter.
func (p *Place) Stated(surveyed bool) string {
	if surveyed && p.State == PlaceDenied {
		return "denied or hidden"
	}
	return p.State
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Survey lists the repositories that an import needs at its destination, sorted: a
// registry that makes no project, organisation or repository by itself must have
// them. It asks the registry for them and writes nothing: whether they are there is
// known then, and whether they are hidden or denied; whether they may be pushed to,
// only an import asks. The error is a *ClosedError or a *ClusterRegistryError if the
// registry refuses; another, with the list, says why it was not asked: it does not
// answer, say, or knows nobody of the name and password.
func (b *Bundle) Survey(ctx context.Context, client *oci.Client, o ImportOptions) ([]Place, error) {
	p := o.Placement
	images, err := p.place(&b.Inventory.Content)
	if images = o.Shard.of(images); err != nil || len(images) == 0 {
		return nil, err
	}
	repositories := map[oci.Reference]bool{}
	for _, image := range images {
		for _, at := range p.repositories(image) {
			repositories[at] = true
		}
	}
	places := sortedPlaces(repositories)
	if err := p.fits(ctx, client, places[0].at, images); err != nil {
		return places, err
	}
	if err := client.Ping(ctx, places[0].at, false); err != nil {
		return places, err
	}
	err = forEach(ctx, jobs(0), len(places), func(ctx context.Context, i int) error {
		return places[i].ask(ctx, client)
	})
	if err != nil {
		return places, err
	}
	return places, closed(p.To, places, true)
}

// ask asks whether a place is there. An error is not about the place.
func (p *Place) ask(ctx context.Context, client *oci.Client) error {
	there, err := client.HasRepository(ctx, p.at)
	switch {
	case err == nil && there:
		p.State = PlaceThere
	case err == nil:
		p.State = PlaceAbsent
	default:
		p.judge(err)
	}
	if p.State != "" {
		return nil
	}
	return err
}
