package bundle

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// powerLoss is what a system that loses its power makes of the operations before
// it. All that was synced is there. Of the rest each operation may have reached
// the medium or not, a write also torn at a sector, or as a longer file without
// its data: zeros.
type powerLoss struct {
	ops    int                           // operations that were done
	strict bool                          // a name is durable only once its directory was synced, not with its file
	lose   func(i int, o operation) loss // asked of each operation that was not synced
	how    string
}

// loss is what becomes of an operation.
type loss struct {
	lost  bool
	torn  int  // of a write, bytes that are there; 0 = all
	zeros bool // of a write, the length is there, the data is not
}

// unsynced are the operations before a crash that no sync made durable.
func unsynced(ops []operation, strict bool) map[int]bool {
	open := map[int]bool{}
	for i, o := range ops {
		switch {
		case o.failed:
		case o.kind == "create", o.kind == "remove", o.kind == "write", o.kind == "cut":
			open[i] = true
		case o.kind == "sync":
			maps.DeleteFunc(open, func(i int, _ bool) bool {
				return ops[i].file == o.file && (ops[i].kind == "write" || ops[i].kind == "cut" || ops[i].kind == "create" && !strict)
			})
		case o.kind == "syncDir":
			maps.DeleteFunc(open, func(i int, _ bool) bool { return ops[i].kind == "create" || ops[i].kind == "remove" })
		}
	}
	return open
}

// state gives the files that are there after a crash, on a medium that held before.
func (c powerLoss) state(before map[string]string, ops []operation) map[string]string {
	ops = ops[:c.ops]
	open := unsynced(ops, c.strict)
	names, data := map[string]int{}, map[int][]byte{}
	for i, name := range slices.Sorted(maps.Keys(before)) {
		names[name], data[-1-i] = -1-i, []byte(before[name])
	}
	for i, o := range ops {
		var l loss
		if o.failed {
			continue
		}
		if open[i] {
			l = c.lose(i, o)
		}
		file := o.file
		if o.kind != "create" && names[o.name] < 0 { // from before
			file = names[o.name]
		}
		switch {
		case l.lost:
		case o.kind == "create":
			names[o.name] = o.file
		case o.kind == "remove":
			delete(names, o.name)
		case o.kind == "cut":
			data[file] = resized(data[file], int(o.offset))
		case o.kind == "write":
			data[file] = written(data[file], o, l)
		}
	}
	files := map[string]string{}
	for name, file := range names {
		files[name] = string(data[file])
	}
	return files
}

func resized(data []byte, n int) []byte {
	if n <= len(data) {
		return data[:n:n]
	}
	return append(data[:len(data):len(data)], make([]byte, n-len(data))...)
}

func written(data []byte, o operation, l loss) []byte {
	add := o.data
	if l.torn > 0 {
		add = add[:min(l.torn, len(add))]
	}
	if l.zeros {
		add = make([]byte, len(add))
	}
	end := int(o.offset) + len(add)
	data = resized(data, max(end, len(data)))
	copy(data[o.offset:], add)
	return data
}

// crashes are the states that a recorded run can leave, those of ext4 and of vfat
// among them, and n that are left to chance.
func crashes(ops []operation, n int) []powerLoss {
	var all []powerLoss
	for _, strict := range []bool{false, true} {
		for end := 0; end <= len(ops); end++ {
			open := slices.Sorted(maps.Keys(unsynced(ops[:end], strict)))
			add := func(how string, lose func(int, operation) loss) {
				all = append(all, powerLoss{end, strict, lose, how})
			}
			add("all is kept", func(int, operation) loss { return loss{} })
			add("nothing is kept", func(int, operation) loss { return loss{lost: true} })
			add("lengths without data", func(int, operation) loss { return loss{zeros: true} })
			add("new names of empty files, removed names are back", func(_ int, o operation) loss { return loss{lost: o.kind != "create"} })
			add("names without data", func(_ int, o operation) loss { return loss{lost: o.kind == "write" || o.kind == "cut"} })
			add("data without names", func(_ int, o operation) loss { return loss{lost: o.kind == "create" || o.kind == "remove"} })
			for _, one := range open {
				add(fmt.Sprintf("without %s", ops[one]), func(i int, _ operation) loss { return loss{lost: i == one} })
				add(fmt.Sprintf("only with %s", ops[one]), func(i int, _ operation) loss { return loss{lost: i != one} })
				if o := ops[one]; o.kind == "write" {
					add(fmt.Sprintf("zeros for %s", o), func(i int, _ operation) loss { return loss{zeros: i == one} })
					for torn := block; torn < len(o.data) && one == end-1; torn += block {
						add(fmt.Sprintf("%d bytes of %s", torn, o), func(i int, _ operation) loss {
							if i == one {
								return loss{torn: torn}
							}
							return loss{}
						})
					}
				}
			}
		}
	}
	for i := range n {
		all = append(all, chance(ops, uint64(i)))
	}
	return all
}

// chance is a crash that loses at random.
func chance(ops []operation, seed uint64) powerLoss {
	random := rand.New(rand.NewPCG(2, seed))
	c := powerLoss{ops: random.IntN(len(ops) + 1), strict: random.IntN(2) == 0, how: fmt.Sprintf("by chance %d", seed)}
	c.lose = func(i int, o operation) loss {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		l := loss{lost: random.IntN(3) == 0, zeros: random.IntN(4) == 0}
		if random.IntN(4) == 0 {
			l.torn = random.IntN(len(o.data)/block+1) * block
		}
		return l
	}
	return c
}

// recorded is a journey that was written down from its start to its end.
type recorded struct {
	journey
	files map[string]string // before
	ops   []operation
	runs  int // that it is; all but the last were killed
}

// TestCrashes: whatever a loss of power leaves, at whatever instant, nothing
// claims to be complete that is not, and the same command again gives what an
// undisturbed run would have given, to the byte.
func TestCrashes(t *testing.T) {
	t.Parallel()
	var all []powerLoss
	var of []recorded
	for _, r := range recordings(t) {
		if err := r.lasts(); err != nil {
			t.Errorf("%s: is said to be complete: %v", r.name, err)
		}
		for _, c := range crashes(r.ops, rounds(100, 3000)) {
			all, of = append(all, c), append(of, r)
		}
	}
	n := min(rounds(2000, 50_000), len(all))
	order := rand.New(rand.NewPCG(3, 3)).Perm(len(all))[:n]
	spread(t, n, func(dir string, i int) error {
		c, r := all[order[i]], of[order[i]]
		if err := r.crashed(t.Context(), dir, c); err != nil {
			return fmt.Errorf("%s, crashed after %d of %d operations, strict %v, %s: %w", r.name, c.ops, len(r.ops), c.strict, c.how, err)
		}
		return nil
	})
	t.Logf("%d states of %d", n, len(all))
}

// lasts: what is said to be complete needs nothing that is not durable.
func (r recorded) lasts() error {
	c := powerLoss{ops: len(r.ops), strict: true, lose: func(int, operation) loss { return loss{lost: true} }}
	kept := c.state(r.files, r.ops)
	for _, name := range slices.Sorted(maps.Keys(r.want)) {
		if data, there := kept[name]; !there || data != r.want[name] {
			return fmt.Errorf("%s is not durable", name)
		}
	}
	if len(kept) != len(r.want) {
		return fmt.Errorf("something is back: %q", slices.Sorted(maps.Keys(kept)))
	}
	return nil
}

// crashed puts the state into a directory and goes on there.
func (r recorded) crashed(ctx context.Context, dir string, c powerLoss) error {
	if err := fill(dir, c.state(r.files, r.ops)); err != nil {
		return err
	}
	if err := r.claim(dir); err != nil {
		return err
	}
	if err := r.run(ctx, dir, disk{}); err != nil {
		return err
	}
	return sameFiles(dir, r.want)
}

// recordings are the journeys, and some that are two runs: the first was killed,
// so that what it wrote may or may not be durable.
func recordings(t *testing.T) []recorded {
	t.Helper()
	var all []recorded
	for _, j := range journeys(t) {
		r := recorded{journey: j, files: map[string]string{}, runs: 1}
		dir := filepath.Join(fastDir(t), "medium")
		must(t, j.begin(dir))
		if _, err := os.Stat(dir); err == nil {
			r.files, err = contentsOf(dir)
			must(t, err)
		}
		on := newTape(fault{})
		must(t, j.run(t.Context(), dir, on))
		r.ops = on.ops
		all = append(all, r)
		for _, at := range some(everyOp(len(on.ops)), rounds(8, 40)) {
			must(t, j.begin(dir))
			on := newTape(fault{at: at, err: errKilled, onall: true})
			_ = j.run(t.Context(), dir, on)
			must(t, j.run(t.Context(), dir, on.run(fault{})))
			all = append(all, recorded{j.called(fmt.Sprintf("%s, killed at %d", j.name, at)), r.files, on.ops, 2})
		}
	}
	return all
}

func (j journey) called(name string) journey {
	j.name = name
	return j
}

func everyOp(n int) (list []int) {
	for i := range n {
		list = append(list, i+1)
	}
	return list
}

// TestCrashLosesLittle: of what was written before a crash, no more is lost than
// what lies between two checkpoints, and the segment that is being written.
func TestCrashLosesLittle(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 5120)
	on := newTape(fault{})
	must(t, s.run(t.Context(), fastDir(t), on, ExportOptions{}))
	allowed := s.checkpoint + s.segment + 4*block // with the headers and padding of small files
	dir, far := filepath.Join(fastDir(t), "medium"), int64(0)
	sealing := slices.IndexFunc(on.ops, func(o operation) bool { return o.name == SumsFile })
	for end := range sealing { // nothing is gone on with after that
		written := int64(0)
		for _, o := range on.ops[:end] {
			if o.kind == "write" && isVolumeName(o.name) {
				written += int64(len(o.data))
			}
		}
		for _, strict := range []bool{false, true} {
			c := powerLoss{ops: end, strict: strict, lose: func(int, operation) loss { return loss{lost: true} }}
			must(t, fill(dir, c.state(nil, on.ops)))
			kept := s.keeps(t, dir)
			if lost := written - kept; lost > allowed {
				t.Fatalf("after %d operations %d of %d bytes are lost, strict %v", end, lost, written, strict)
			}
			far = max(far, kept)
		}
	}
	if far < s.inv.Storage.Size/2 {
		t.Errorf("only %d bytes were ever kept", far)
	}
}

// keeps is how far a run would go on from a directory without reading what is there.
func (s *smallExport) keeps(t *testing.T, dir string) int64 {
	t.Helper()
	x, err := newExport(s.client, s.inv, ExportOptions{Key: s.key})
	must(t, err)
	ck, err := newCheckpoint(s.bytes, s.key, 0)
	must(t, err)
	files := &volumeFiles{medium: medium{dir, disk{}}, layout: x.layout, part: x.wanted, checkpoint: ck}
	known, _, err := ck.read(files.path(CheckpointFile))
	must(t, err)
	if known == nil || !files.holds(known) {
		return 0
	}
	return known.at.offset
}
