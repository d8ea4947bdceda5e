package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// errStalled: whoever asked took nothing of an answer for too long.
var errStalled = errors.New("cut off")

// patientListener gives connections that wait for the other side as long as it takes
// something, however slow it is.
type patientListener struct {
	net.Listener // of TCP
	limit        time.Duration
}

func (l patientListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	patient := &patientConn{TCPConn: c.(*net.TCPConn), limit: l.limit}
	patient.until.Store(math.MaxInt64)
	return patient, nil
}

// patientConn looks at what it sends every limit. If the other side took nothing since
// the look before, the connection is closed and the error is errStalled: after one limit
// at the earliest, two at the latest. How long it takes to send all does not count.
type patientConn struct {
	*net.TCPConn
	limit time.Duration
	until atomic.Int64 // the deadline of whoever uses it, in Unix nanoseconds
}

// SetWriteDeadline is for the whole of what is sent until then.
func (c *patientConn) SetWriteDeadline(t time.Time) error {
	until := int64(math.MaxInt64)
	if !t.IsZero() {
		until = t.UnixNano()
	}
	c.until.Store(until)
	return c.TCPConn.SetWriteDeadline(t)
}

// SetDeadline is that of reading, too.
func (c *patientConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *patientConn) Write(p []byte) (int, error) {
	n, err := c.send(func(sent int64) (int64, error) {
		n, err := c.TCPConn.Write(p[sent:])
		return int64(n), err
	})
	return int(n), err
}

// ReadFrom lets the kernel send a part of a file (sendfile).
func (c *patientConn) ReadFrom(src io.Reader) (int64, error) {
	part, limited := src.(*io.LimitedReader)
	if !limited {
		return io.Copy(struct{ io.Writer }{c}, src)
	}
	f, isFile := part.R.(*os.File)
	if !isFile {
		return io.Copy(struct{ io.Writer }{c}, src)
	}
	begin, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	return c.send(func(sent int64) (int64, error) {
		if _, err := f.Seek(begin+sent, io.SeekStart); err != nil {
			return 0, err
		}
		return c.TCPConn.ReadFrom(io.LimitReader(f, part.N-sent))
	})
}

// send tries, from what was sent on, until all is sent or nothing moves.
func (c *patientConn) send(try func(sent int64) (int64, error)) (sent int64, err error) {
	for before := math.MaxInt; ; {
		until := c.until.Load()
		look := min(time.Now().Add(c.limit).UnixNano(), until)
		if err := c.TCPConn.SetWriteDeadline(time.Unix(0, look)); err != nil {
			return sent, err
		}
		n, err := try(sent)
		sent += n
		if !errors.Is(err, os.ErrDeadlineExceeded) || look == until {
			return sent, err
		}
		waiting := untaken(c.TCPConn)
		if n == 0 && waiting >= before {
			_ = c.Close() // what would say goodbye must not wait again
			return sent, fmt.Errorf("%w: nothing was taken for %s", errStalled, c.limit)
		}
		before = waiting
	}
}
