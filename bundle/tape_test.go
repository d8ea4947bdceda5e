package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// tape is the disk with a recorder, and with a fault where a test wants one.
type tape struct {
	mu     sync.Mutex
	fault  fault
	ops    []operation
	inodes map[string]int // of the files that have names
	files  int
	broken map[int]bool // files whose sync failed in this run
	sins   []string     // what no run may do
}

// operation is one call of a storage, with all that it takes to do it again.
type operation struct {
	kind   string // create, cut, write, sync, close, remove, syncDir, mkdir
	name   string // in the directory
	file   int    // which one, whatever its name
	offset int64
	data   []byte
	failed bool // nothing became durable or visible by it
}

func (o operation) String() string {
	return fmt.Sprintf("%s %s at %d, %d bytes", o.kind, o.name, o.offset, len(o.data))
}

// fault says which operation fails, counted from 1, and how.
type fault struct {
	at    int
	err   error
	half  bool // half of what is written is
	onall bool // and every later one
}

// errKilled is what operations give after the end of their process: nothing is
// done, and nothing is recorded.
var errKilled = errors.New("killed")

func (f fault) String() string {
	return fmt.Sprintf("operation %d: %v, half %v, and all later %v", f.at, f.err, f.half, f.onall)
}

func newTape(f fault) *tape {
	return &tape{fault: f, inodes: map[string]int{}, broken: map[int]bool{}}
}

// run begins another run on the same medium.
func (t *tape) run(f fault) *tape {
	t.fault, t.broken = f, map[int]bool{}
	if f.at > 0 {
		t.fault.at += len(t.ops)
	}
	return t
}

// kill ends the process here.
func (t *tape) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault = fault{at: len(t.ops) + 1, err: errKilled, onall: true}
}

// do records an operation and does it, or fails. apply is given how many of its bytes to write.
func (t *tape) do(o operation, apply func(n int) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.ops) + 1
	hit := n == t.fault.at || t.fault.onall && t.fault.at > 0 && n > t.fault.at
	if hit && errors.Is(t.fault.err, errKilled) {
		if o.kind == "close" { // the process' end closes its files
			_ = apply(0)
		}
		return errKilled
	}
	if o.kind == "sync" && t.broken[o.file] {
		t.sins = append(t.sins, fmt.Sprintf("operation %d syncs %s again, whose sync failed", n, o.name))
	}
	var err error
	switch {
	case !hit:
		err = apply(len(o.data))
		o.failed = err != nil
	case o.kind == "write" && t.fault.half:
		o.data, err = o.data[:len(o.data)/2], t.fault.err
		_ = apply(len(o.data))
	case o.kind == "close": // it is closed, whatever it says
		_ = apply(0)
		err = t.fault.err
	default:
		o.failed, err = true, t.fault.err
		t.broken[o.file] = t.broken[o.file] || o.kind == "sync"
	}
	t.ops = append(t.ops, o)
	return err
}

func (t *tape) create(path string) (f storedFile, err error) {
	name := filepath.Base(path)
	id := t.files + 1
	err = t.do(operation{kind: "create", name: name, file: id}, func(int) error {
		f, err = disk{}.create(path)
		if err == nil {
			t.inodes[name], t.files = id, id
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &tapedFile{t, name, id, 0, f}, nil
}

func (t *tape) reopen(path string, size int64) (f storedFile, err error) {
	name := filepath.Base(path)
	id := t.id(name)
	err = t.do(operation{kind: "cut", name: name, file: id, offset: size}, func(int) error {
		f, err = disk{}.reopen(path, size)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &tapedFile{t, name, id, size, f}, nil
}

func (t *tape) remove(path string) error {
	name := filepath.Base(path)
	return t.do(operation{kind: "remove", name: name}, func(int) error {
		err := disk{}.remove(path)
		if err == nil {
			delete(t.inodes, name)
		}
		return err
	})
}

func (t *tape) sync(path string) error {
	o := operation{kind: "syncDir", name: filepath.Base(path)}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		o.kind, o.file = "sync", t.id(o.name)
	}
	return t.do(o, func(int) error { return disk{}.sync(path) })
}

// id tells which file has a name.
func (t *tape) id(name string) int {
	if t.inodes[name] == 0 {
		t.files++
		t.inodes[name] = t.files // from before the recording
	}
	return t.inodes[name]
}

func (t *tape) mkdir(path string) error {
	return t.do(operation{kind: "mkdir", name: filepath.Base(path)}, func(int) error { return disk{}.mkdir(path) })
}

type tapedFile struct {
	tape *tape
	name string
	file int
	at   int64
	f    storedFile
}

func (f *tapedFile) Write(p []byte) (n int, err error) {
	n, err = f.write(p, f.at, func(p []byte) (int, error) { return f.f.Write(p) })
	f.at += int64(n)
	return n, err
}

func (f *tapedFile) WriteAt(p []byte, offset int64) (int, error) {
	return f.write(p, offset, func(p []byte) (int, error) { return f.f.WriteAt(p, offset) })
}

func (f *tapedFile) write(p []byte, offset int64, to func([]byte) (int, error)) (done int, err error) {
	o := operation{kind: "write", name: f.name, file: f.file, offset: offset, data: append([]byte(nil), p...)}
	err = f.tape.do(o, func(n int) error {
		done, err = to(p[:n])
		return err
	})
	return done, err
}

func (f *tapedFile) Sync() error {
	return f.tape.do(operation{kind: "sync", name: f.name, file: f.file}, func(int) error { return f.f.Sync() })
}

func (f *tapedFile) Close() error {
	return f.tape.do(operation{kind: "close", name: f.name, file: f.file}, func(int) error { return f.f.Close() })
}

// kinds of faults: what a system says, and whether a write does half of its work
// before.
var kinds = []fault{
	{err: syscall.EIO},
	{err: syscall.ENOSPC},
	{err: syscall.ENOSPC, half: true},
	{err: io.ErrShortWrite, half: true},
}

// contentsOf are the files of a directory.
func contentsOf(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files[e.Name()] = string(data)
	}
	return files, nil
}
