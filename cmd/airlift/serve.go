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

// Limits of who asks.
const (
	headerTime = 10 * time.Second // for the header of a request
	idleTime   = 2 * time.Minute  // between two requests of a connection
	endTime    = 10 * time.Second // for answers under way when serving ends
	maxHeader  = 64 << 10         // bytes
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve a bundle as a read-only registry, straight from its media",
		ArgsUsage: "DIR…",
		Description: "Nothing is unpacked and nothing is written. Images have the names that import would give them;\n" +
			"airlift manifests DIR --to HOST:PORT writes the mirror sets for it, with the same --keep-source-host\n" +
			"and --map. What is on media that are not given, or was missing at its source, is answered with 404\n" +
			"and the reason. A blob is hashed when it is first asked for; a damaged one is never sent to its end.\n" +
			"Ctrl-C ends it; the exit code says then what was served: 0 all of the bundle, 3 all but what the\n" +
			"bundle records as missing, 4 a blob was found damaged, 7 volumes were absent.",
		Flags: slices.Concat(trustFlags(), pathFlags(), []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:5000", Usage: "listen at `HOST:PORT`; :PORT is every address of this host"},
			&cli.StringFlag{Name: "tls-cert", Usage: "serve HTTPS with the certificate in `FILE` (PEM; behind it those up to the authority)"},
			&cli.StringFlag{Name: "tls-key", Usage: "the certificate's private key, in `FILE` (PEM)"},
			&cli.StringFlag{Name: "htpasswd", Usage: "serve only the users in `FILE`, which htpasswd -B writes"},
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
		return importHint(err)
	}
	defer served.Close()
	if err := at.announce(c.App.Writer, b, served); err != nil {
		return err
	}
	return errors.Join(at.run(c.Context, listener, served), served.Verdict())
}

// site is where and to whom a bundle is served.
type site struct {
	address string      // as --listen has it; once it listens, as clients may name it
	tls     *tls.Config // nil = plain HTTP
	users   *oci.Users  // nil = everybody
	verbose bool
}

// newSite reads the flags, and refuses to let passwords be read on the way.
func newSite(c *cli.Context) (*site, error) {
	s := &site{address: c.String("listen"), verbose: c.Bool("verbose")}
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
	return b.Serve(p, func(e bundle.Event) {
		if e.Note != "" {
			say(os.Stderr, "%s", e.Note)
		}
	})
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

// example is an image to try: a release, if there is one.
func example(b *bundle.Bundle, images []bundle.ImageResult) bundle.ImageResult {
	i := slices.IndexFunc(images, func(r bundle.ImageResult) bool {
		return slices.ContainsFunc(b.Inventory.Content.Releases, func(release bundle.Release) bool { return release.Image == r.Reference })
	})
	return images[max(i, 0)]
}

// run answers until ctx ends; answers under way get some time then.
func (s *site) run(ctx context.Context, listener net.Listener, registry http.Handler) error {
	server := &http.Server{
		Handler: s.handler(registry), TLSConfig: s.tls, ErrorLog: log.New(&saidLines{}, "", 0),
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}
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
	say(os.Stderr, "ending: answers under way get %s; Ctrl-C ends them at once", endTime)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close()
	}
	<-ended
	return nil
}

// handler is the registry behind the users, and the log before both.
func (s *site) handler(registry http.Handler) http.Handler {
	if s.users != nil {
		registry = s.users.Guard(registry)
	}
	if s.verbose {
		registry = accessLog(registry)
	}
	return registry
}
