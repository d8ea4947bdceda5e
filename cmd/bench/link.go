package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// The link of the contest: bytes a second, and the time of a round trip.
const (
	linkSpeed = 20_000_000
	linkTrip  = 80 * time.Millisecond
)

// link measures how much of a long link an export fills. What is between is a
// relay that keeps every byte for half a round trip and lets through no more than
// the speed; it has no slow start, no loss and no queue that overflows.
func (b *bench) link() (err error) {
	c, err := b.ready("release")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.clear()) }()
	relay, err := newRelay(c.source.host)
	if err != nil {
		return err
	}
	defer relay.Close()
	host := relay.Addr().String()
	f, err := c.measure(c.through(c.export(), host))
	if err != nil {
		return err
	}
	if err := c.writePlan(); err != nil {
		return err
	}
	b.printf("\n## A link of %d MB/s with round trips of %s\n\n", linkSpeed/1_000_000, linkTrip)
	ideal := float64(c.payload) / linkSpeed
	b.printf("Export took %.1f s for what the link alone takes %.1f s for: %.1f %% of it.\n", f.wall.Seconds(), ideal, 100*ideal/f.wall.Seconds())
	return nil
}

// newRelay listens and passes on to a target.
func newRelay(target string) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	down := &pace{}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				from.Close()
				continue
			}
			go late(to, from, &pace{})
			go late(from, to, down)
		}
	}()
	return listener, nil
}

// pace lets bytes through at the speed of the link.
type pace struct {
	mu   sync.Mutex
	free time.Time // when the link has let through what it took so far
}

// through waits until the link has let n bytes through.
func (p *pace) through(n int) {
	p.mu.Lock()
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(n) * time.Second / linkSpeed)
	free := p.free
	p.mu.Unlock()
	time.Sleep(time.Until(free))
}

// late copies until one side ends, each piece half a round trip after it came.
func late(to, from net.Conn, p *pace) {
	type piece struct {
		due  time.Time
		data []byte
	}
	under := make(chan piece, 256)
	go func() {
		defer close(under)
		for {
			buffer := make([]byte, 16<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				p.through(n)
				under <- piece{time.Now().Add(linkTrip / 2), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for one := range under {
		time.Sleep(time.Until(one.due))
		if _, err := to.Write(one.data); err != nil {
			break
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	for range under { // the other side may have more
	}
	_, _ = io.Copy(io.Discard, from)
	from.Close()
}
