package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
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
	limit  time.Duration // unless start says another
	now    atomic.Int64  // the limit that runs
	timer  *time.Timer
	notice *waiting
}

// watch begins to wait for the answer to a try, which parent has the note of.
func (c *Client) watch(parent context.Context, limit time.Duration) *watchdog {
	w := &watchdog{parent: parent, limit: limit, notice: c.notices.waiting(noteOf(parent))}
	w.ctx, w.cancel = context.WithCancelCause(parent)
	w.now.Store(int64(limit))
	w.timer = time.AfterFunc(limit, func() { w.cancel(fmt.Errorf("%w for %s", errStalled, time.Duration(w.now.Load()))) })
	return w
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.notice.stop()
}

// start waits again, for what the constants of notices say.
func (w *watchdog) start(limit time.Duration, what string) {
	w.now.Store(int64(limit))
	w.timer.Reset(limit)
	w.notice.start(what)
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
	b.watch.start(b.watch.limit, waitData)
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
