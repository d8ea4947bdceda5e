package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"airlift/bundle"
	"airlift/oci"
)

// limits are those of who asks. None is on how long an answer takes.
type limits struct {
	header time.Duration // for TLS to begin, and for the header of a request
	body   time.Duration // for the body of one, of which nothing is wanted
	idle   time.Duration // between two requests of a connection
	stall  time.Duration // between two looks at whether anything is taken of an answer
	end    time.Duration // for answers under way when serving ends
}

var usualLimits = limits{header: 10 * time.Second, body: 5 * time.Second, idle: 2 * time.Minute, stall: time.Minute, end: 10 * time.Second}

const maxHeader = 64 << 10 // bytes

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve a bundle as a read-only registry, straight from its media",
		ArgsUsage: "DIR…",
		Description: "Nothing is unpacked and nothing is written. Images have the names that import would give them;\n" +
			"airlift manifests DIR --to HOST:PORT writes the mirror sets for it, with the same --keep-source-host\n" +
			"and --map. What is on media that are not given, or was missing at its source, is answered with 404\n" +
			"and the reason. A release of which not all is at hand is refused, unless --partial is given. A blob\n" +
			"is hashed when it is first asked for; a damaged one is never sent to its end.\n" +
			"Ctrl-C ends it; the exit code says then what was served: 0 all of the bundle, 3 all but what the\n" +
			"bundle records as missing, 4 a blob was found damaged, 7 volumes were absent.",
		Flags: slices.Concat(trustFlags(), pathFlags(), []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:5000", Usage: "listen at `HOST:PORT`; :PORT is every address of this host"},
			&cli.StringFlag{Name: "tls-cert", Usage: "serve HTTPS with the certificate in `FILE` (PEM; behind it those up to the authority)"},
			&cli.StringFlag{Name: "tls-key", Usage: "the certificate's private key, in `FILE` (PEM)"},
			&cli.StringFlag{Name: "htpasswd", Usage: "serve only the users in `FILE`, which htpasswd -B writes"},
			&cli.BoolFlag{Name: "partial", Usage: "serve what is at hand of a release, though a cluster could not pull all of it"},
			&cli.BoolFlag{Name: "verbose", Usage: "print a line for each request"},
		}),
		Action: serveBundle,
	}
}

func serveBundle(c *cli.Context) error {
	at, err := newSite(c)
	if err != nil {
		return err
	}
	if stream, err := isStream(c); stream || err != nil {
		return cmp.Or(err, usagef("a stream goes by once and cannot be served: name the directories of the media"))
	}
	b, err := openBundle(c, c.Args().Slice())
	if err != nil {
		return err
	}
	listener, err := at.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	served, err := at.serve(c, b)
	if err != nil {
		return serveHint(err)
	}
	defer served.Close()
	if err := at.announce(c.App.Writer, b, served); err != nil {
		return err
	}
	warnAbsent(served.Verdict())
	return errors.Join(at.run(c.Context, listener, served), served.Verdict())
}

// site is where and to whom a bundle is served.
type site struct {
	address string      // as --listen has it; once it listens, as clients may name it
	tls     *tls.Config // nil = plain HTTP
	users   *oci.Users  // nil = everybody
	verbose bool
	limits  limits
}

// newSite reads the flags, and refuses to let passwords be read on the way.
func newSite(c *cli.Context) (*site, error) {
	s := &site{address: c.String("listen"), verbose: c.Bool("verbose"), limits: usualLimits}
	host, _, err := net.SplitHostPort(s.address)
	if err != nil {
		return nil, usagef("--listen %s: must be HOST:PORT", s.address)
	}
	if s.tls, err = tlsConfig(c.String("tls-cert"), c.String("tls-key")); err != nil {
		return nil, err
	}
	if file := c.String("htpasswd"); file != "" {
		data, err := os.ReadFile(file)
		if err == nil {
			s.users, err = oci.ParseUsers(data)
		}
		if err != nil {
			return nil, usagef("--htpasswd %s: %w", file, err)
		}
	}
	switch open := s.tls == nil && !isLoopback(host); {
	case open && s.users != nil:
		return nil, usagef("--htpasswd without --tls-cert: at %s, passwords could be read on the way", s.address)
	case open:
		say(os.Stderr, "warning: plain HTTP at %s: whoever is on the way can read images, and change what tags lead to; what is pulled by digest is safe from change", s.address)
		say(os.Stderr, "hint: --tls-cert FILE --tls-key FILE serve HTTPS")
	}
	return s, nil
}

// tlsConfig is nil if there is no certificate.
func tlsConfig(cert, key string) (*tls.Config, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "" || key == "":
		return nil, usagef("--tls-cert and --tls-key belong together")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, usagef("--tls-cert %s, --tls-key %s: %w", cert, key, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// listen begins to listen, and knows from then on by which address clients get here.
func (s *site) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", s.address)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = withHint(err, "another program listens there: --listen HOST:PORT names another address")
	}
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(s.address)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	s.address = net.JoinHostPort(reachable(host), port)
	return listener, nil
}

// reachable is a name for an address to listen at: its own, unless it is that of no
// host, or one that names of images cannot have.
func reachable(host string) string {
	if ip := net.ParseIP(host); isLoopback(host) && ip.To4() == nil {
		return "localhost"
	} else if host != "" && (ip == nil || ip.To4() != nil && !ip.IsUnspecified()) {
		return host
	}
	name, err := os.Hostname()
	if _, unfit := bundle.ParseClusterLocation(name); err != nil || unfit != nil {
		return "localhost"
	}
	return name
}

// serve is a bundle as a registry at this site.
func (s *site) serve(c *cli.Context, b *bundle.Bundle) (*bundle.Served, error) {
	to, err := bundle.ParseClusterLocation(s.address)
	if err != nil {
		return nil, ofFlag("listen", err)
	}
	p := bundle.Placement{To: to, Cluster: to, KeepSourceHost: c.Bool("keep-source-host")}
	if p.Maps, err = parseMaps(c, to); err != nil {
		return nil, ofFlag("map", err)
	}
	warnIdle(p, b)
	return b.Serve(bundle.ServeOptions{Placement: p, Partial: c.Bool("partial"), Progress: func(e bundle.Event) {
		if e.Note != "" {
			say(os.Stderr, "%s", e.Note)
		}
	}})
}

// announce says what is served and where, how to pull one image of it, and what is
// not there.
func (s *site) announce(w io.Writer, b *bundle.Bundle, served *bundle.Served) error {
	var there []bundle.ImageResult
	var not []string
	for _, r := range served.Images() {
		switch {
		case r.State == bundle.StateSkipped:
			not = append(not, resultLine(r))
			continue
		case r.Reason != "":
			not = append(not, "not all of "+r.Reference+": "+r.Reason)
		}
		there = append(there, r)
	}
	scheme, insecure := "https", ""
	if s.tls == nil {
		scheme, insecure = "http", "--tls-verify=false "
	}
	fmt.Fprintf(w, "serving %s at %s://%s, until Ctrl-C\n", count(len(there), "image"), scheme, s.address)
	if s.users != nil {
		fmt.Fprintf(w, "  podman login %s%s\n", insecure, s.address)
	}
	if len(there) > 0 {
		fmt.Fprintf(w, "  podman pull %s%s\n", insecure, example(b, there).Names[0])
	}
	for _, line := range not {
		fmt.Fprintln(w, printable(line))
	}
	_, err := fmt.Fprintf(w, "content %s\n%s\n", b.Inventory.ContentID(), signedBy(b))
	return err
}

// warnAbsent says what to do about images that are not there because of where they are.
func warnAbsent(verdict error) {
	if !errors.Is(verdict, bundle.ErrAbsent) {
		return
	}
	for _, f := range faults(verdict) {
		if errors.Is(f.err, bundle.ErrAbsent) {
			say(os.Stderr, "warning: %s: the images that need it are answered with 404", f.text)
			say(os.Stderr, "hint: %s", hintFor(f.err))
		}
	}
}

// serveHint says for an error of serving what only its flags can do.
func serveHint(err error) error {
	switch {
	case errors.Is(err, bundle.ErrPartialRelease):
		return withHint(err, bundleHint(err)+"; --partial serves what is at hand")
	case errors.Is(err, bundle.ErrAbsent):
		return err
	}
	return importHint(err)
}

// example is an image to try: a release, if there is one.
func example(b *bundle.Bundle, images []bundle.ImageResult) bundle.ImageResult {
	i := slices.IndexFunc(images, func(r bundle.ImageResult) bool {
		return slices.ContainsFunc(b.Inventory.Content.Releases, func(release bundle.Release) bool { return release.Image == r.Reference })
	})
	return images[max(i, 0)]
}

// run answers until ctx ends; answers under way get some time then. It speaks no
// HTTP/2: there one of many answers over a connection can stall and not be seen.
func (s *site) run(ctx context.Context, listener net.Listener, registry http.Handler) error {
	listener = patientListener{listener, s.limits.stall}
	server := &http.Server{
		Handler: s.handler(registry), TLSConfig: s.tls, ErrorLog: log.New(&saidLines{}, "", 0), Protocols: &http.Protocols{},
		ReadHeaderTimeout: s.limits.header, IdleTimeout: s.limits.idle, MaxHeaderBytes: maxHeader,
	}
	server.Protocols.SetHTTP1(true)
	ended := make(chan error, 1)
	go func() {
		if s.tls != nil {
			ended <- server.ServeTLS(listener, "", "")
			return
		}
		ended <- server.Serve(listener)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	say(os.Stderr, "ending: answers under way get %s; Ctrl-C ends them at once", s.limits.end)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.end)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close()
	}
	<-ended
	return nil
}

// handler is the registry behind the users, and the log and the limits before both.
func (s *site) handler(registry http.Handler) http.Handler {
	if s.users != nil {
		registry = s.users.Guard(registry)
	}
	if s.verbose {
		registry = accessLog(registry)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.limits.body)) // net/http reads on before it answers
		}
		registry.ServeHTTP(w, r)
	})
}
