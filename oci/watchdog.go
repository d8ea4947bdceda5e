package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// errStalled ends a try in which the network gave nothing for too long.
var errStalled = errors.New("no progress")

// watchdog ends one try when the network makes no progress, and says before that
// it is waited for. It runs only meanwhile.
type watchdog struct {
	ctx    context.Context
	parent context.Context
	cancel context.CancelCauseFunc
	limit  time.Duration
	timer  *time.Timer
	notice *time.Timer
	after  time.Duration // until notice
}

// watch begins to wait for a host.
func (c *Client) watch(parent context.Context, host string, limit time.Duration) *watchdog {
	w := &watchdog{parent: parent, limit: limit, after: c.notices.limit}
	w.ctx, w.cancel = context.WithCancelCause(parent)
	w.timer = time.AfterFunc(limit, func() { w.cancel(fmt.Errorf("%w for %s", errStalled, w.limit)) })
	w.notice = time.AfterFunc(w.after, func() { c.notices.stalled(host) })
	return w
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.notice.Stop()
}

func (w *watchdog) start(limit time.Duration) {
	w.timer.Reset(limit)
	w.notice.Reset(w.after)
}

// end ends the try.
func (w *watchdog) end() {
	w.stop()
	w.cancel(nil)
}

// judge words the failure of a try: the caller's own end of it, or a stall, or
// err, which may be transient.
func (w *watchdog) judge(err error, transient bool) error {
	if w.parent.Err() != nil {
		return ended(w.parent)
	}
	if cause := context.Cause(w.ctx); errors.Is(cause, errStalled) {
		if !errors.Is(err, errStalled) {
			err = cause
		}
		return transientError{err}
	}
	if transient {
		return transientError{err}
	}
	return err
}

// watchedBody is an answer's body under a watchdog; failures to read it are
// transient. Closing it ends the try.
type watchedBody struct {
	io.ReadCloser
	watch *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.start(b.watch.limit)
	n, err := b.ReadCloser.Read(p)
	b.watch.stop()
	if err != nil && err != io.EOF {
		err = b.watch.judge(err, isTransient(err))
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	b.watch.end()
	return err
}
