package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"airlift/oci/ocitest"
	"airlift/verify"
)

// TestResumeSpoilt: whatever has become of the files of an unfinished export
// meanwhile, as long as bundle.json and its signature are what they were, the
// same command again gives what an undisturbed run would have given.
func TestResumeSpoilt(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 5120)
	half := s.interrupted(t, ExportOptions{})
	one, two, three := VolumeFile+".001", VolumeFile+".002", VolumeFile+".003"
	line := half[CheckpointFile][:strings.Index(half[CheckpointFile], "\n")+1]
	other := newSmallExport(t, 4608)
	theirs := other.interrupted(t, ExportOptions{})[CheckpointFile]
	cases := map[string]map[string]string{
		"as it was":                    {},
		"checkpoint empty":             {CheckpointFile: ""},
		"checkpoint garbage":           {CheckpointFile: strings.Repeat("garbage", 1000)},
		"checkpoint without line ends": {CheckpointFile: strings.Repeat("garbage", 1<<18)},
		"checkpoint of zeros":          {CheckpointFile: strings.Repeat("\x00", len(half[CheckpointFile]))},
		"checkpoint with zeros behind": {CheckpointFile: half[CheckpointFile] + strings.Repeat("\x00", 1000)},
		"checkpoint of another bundle": {CheckpointFile: theirs},
		"another's line behind":        {CheckpointFile: half[CheckpointFile] + theirs},
		"first line alone":             {CheckpointFile: line},
		"first line lost":              {CheckpointFile: half[CheckpointFile][len(line):]},
		"lines twice":                  {CheckpointFile: half[CheckpointFile] + half[CheckpointFile]},
		"forged by nobody":             s.forged(t, half, nil),
		"forged with another key":      s.forged(t, half, keyOfAnother(t)),
		"volume under way shorter":     {three: half[three][:1000]},
		"volume under way empty":       {three: ""},
		"volume under way longer":      {three: half[three] + strings.Repeat("x", 3000)},
		"volume under way too long":    {three: half[three] + strings.Repeat("x", 30000)},
		"volume shorter":               {two: half[two][:600]},
		"volume longer":                {two: half[two] + "x"},
		"first volume longer":          {one: half[one] + "x"},
		"first volume shorter":         {one: half[one][:100]},
		"a later volume":               {VolumeFile + ".005": "x", VolumeFile + ".006": strings.Repeat("x", 9000)},
		"text damaged":                 {ReadmeFile: "x"},
		"sums begun":                   {SumsFile: s.whole[SumsFile][:100]},
		"sums complete, no signature":  {SumsFile: s.whole[SumsFile]},
		"sums complete and signed":     {SumsFile: s.whole[SumsFile], signatureFile(SumsFile, keyID(s.key)): s.whole[signatureFile(SumsFile, keyID(s.key))]},
		"signature of sums garbage":    {signatureFile(SumsFile, keyID(s.key)): "x"},
	}
	for _, name := range []string{CheckpointFile, ReadmeFile, one, two, three} {
		cases[name+" lost"] = map[string]string{name: "-"}
	}
	for cut := 1; cut < len(half[CheckpointFile]); cut += rounds(97, 1) {
		cases[fmt.Sprintf("%d bytes of the checkpoint", cut)] = map[string]string{CheckpointFile: half[CheckpointFile][:cut]}
	}
	names := slices.Sorted(maps.Keys(cases))
	spread(t, len(names), func(dir string, i int) error {
		files := maps.Clone(half)
		for name, data := range cases[names[i]] {
			if files[name] = data; data == "-" {
				delete(files, name)
			}
		}
		for _, o := range []ExportOptions{{}, {Recheck: true}} {
			if err := fill(dir, files); err != nil {
				return err
			}
			if err := s.run(t.Context(), dir, disk{}, o); err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			if err := sameFiles(dir, s.whole); err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
		}
		return nil
	})
	t.Logf("%d cases", len(names))
}

// forged is what somebody could leave who had the medium between two runs: volumes
// of his own, and a checkpoint that vouches for them, made with a key that is not
// the one that signs.
func (s *smallExport) forged(t *testing.T, files map[string]string, key *[]byte) map[string]string {
	t.Helper()
	l, err := s.inv.layout()
	must(t, err)
	ck, err := newCheckpoint(s.bytes, nil, 0)
	must(t, err)
	if key != nil {
		ck.key = *key
	}
	forged := map[string]string{}
	at := newPosition()
	for v := range 2 {
		name := volumeName(v, l.Volumes())
		forged[name] = strings.Repeat("evil", len(files[name])/4)
		at.sums = append(at.sums, verify.Sum{Name: name, SHA256: sha256.Sum256([]byte(forged[name]))})
	}
	_, at.offset = l.volume(1)
	f := &kept{}
	ck.file = f
	must(t, ck.append(state{1, at, at, nil}))
	forged[CheckpointFile] = f.String()
	return forged
}

// keyOfAnother is the checkpoint key of somebody else.
func keyOfAnother(t *testing.T) *[]byte {
	t.Helper()
	ck, err := newCheckpoint([]byte("another"), testKey(t), 0)
	must(t, err)
	return &ck.key
}

// kept is a file in memory.
type kept struct{ bytes.Buffer }

func (*kept) WriteAt([]byte, int64) (int, error) { return 0, errors.New("only appended to") }
func (*kept) Sync() error                        { return nil }
func (*kept) Close() error                       { return nil }

// TestResumeRefused: what says that a directory holds something else leaves it as
// it is.
func TestResumeRefused(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 5120)
	half := s.interrupted(t, ExportOptions{})
	signature := signatureFile(InventoryFile, keyID(s.key))
	later := ExportOptions{After: &NextMediumError{Volume: 4}}
	written, sealed := s.before(t, later, "create", SumsFile), s.before(t, later, "remove", CheckpointFile)
	for name, c := range map[string]struct {
		holds  map[string]string // instead of half
		change map[string]string
		key    bool // another one
		o      ExportOptions
	}{
		"volumes before":                 {o: ExportOptions{Volumes: VolumeRange{3, 0}}},
		"a later part":                   {holds: written},
		"a later part, and its sums":     {holds: sealed},
		"a later part, checkpoint lost":  {holds: without(written, CheckpointFile)},
		"a later part, checkpoint empty": {holds: written, change: map[string]string{CheckpointFile: ""}},
		"a later part, complete":         {holds: s.part(t, later)},
		"a part before, complete":        {holds: s.part(t, ExportOptions{Volumes: VolumeRange{1, 3}}), o: later},
		"bundle.json damaged":            {change: map[string]string{InventoryFile: strings.Replace(half[InventoryFile], "a", "b", 1)}},
		"bundle.json cut":                {change: map[string]string{InventoryFile: half[InventoryFile][:100]}},
		"bundle.json empty":              {change: map[string]string{InventoryFile: ""}},
		"its signature damaged":          {change: map[string]string{signature: "x"}},
		"its signature empty":            {change: map[string]string{signature: ""}},
		"another key":                    {key: true},
		"complete, another key":          {change: s.whole, key: true},
		"bundle.json of another":         {change: map[string]string{InventoryFile: strings.Replace(half[InventoryFile], "airlift test", "airlift tost", 1)}},
	} {
		files, o := maps.Clone(half), c.o
		if c.holds != nil {
			files = maps.Clone(c.holds)
		}
		maps.Copy(files, c.change)
		if c.key {
			o.Key = testKey(t)
		}
		dir := fastDir(t)
		must(t, fill(dir, files))
		if err := s.run(t.Context(), dir, disk{}, o); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
		if err := sameFiles(dir, files); err != nil {
			t.Errorf("%s: it was changed: %v", name, err)
		}
	}
}

// before is what a run leaves that was killed before an operation.
func (s *smallExport) before(t *testing.T, o ExportOptions, kind, name string) map[string]string {
	t.Helper()
	count := newTape(fault{})
	must(t, s.run(t.Context(), fastDir(t), count, o))
	at := slices.IndexFunc(count.ops, func(o operation) bool { return o.kind == kind && o.name == name })
	dir := fastDir(t)
	if err := s.run(t.Context(), dir, newTape(fault{at: at + 1, err: errKilled, onall: true}), o); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	files, err := contentsOf(dir)
	must(t, err)
	return files
}

// TestCompleteAndGone: a complete medium that has lost a volume, or a piece of one, is
// damaged, and is not written to by an export; nothing says that it is complete.
func TestCompleteAndGone(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 5120)
	second := ExportOptions{Volumes: VolumeRange{3, 4}}
	for name, c := range map[string]struct {
		whole map[string]string
		o     ExportOptions
	}{"all volumes": {s.whole, ExportOptions{}}, "some": {s.part(t, second), second}} {
		for _, v := range s.inv.Storage.Volumes {
			whole, there := c.whole[v.Name]
			for how, now := range map[string]string{"gone": "-", "empty": "", "short": whole[:len(whole)/2], "long": whole + "x"} {
				files := maps.Clone(c.whole)
				if files[v.Name] = now; !there || now == "-" {
					delete(files, v.Name)
				}
				dir := fastDir(t)
				must(t, fill(dir, files))
				err := s.run(t.Context(), dir, disk{}, c.o)
				if there != errors.Is(err, ErrDamaged) || there && !strings.Contains(err.Error(), v.Name) || errors.As(err, new(*NextMediumError)) {
					t.Errorf("%s, %s %s: %v", name, v.Name, how, err)
				}
				if err := sameFiles(dir, files); err != nil {
					t.Errorf("%s, %s %s: it was changed: %v", name, v.Name, how, err)
				}
			}
		}
	}
}

// TestRepairAll: whatever is wrong with volumes and sums at once, the medium becomes
// what it was, bit for bit, or, for who has another key, stays as it is.
func TestRepairAll(t *testing.T) {
	t.Parallel()
	signature := func(s *smallExport) string { return signatureFile(SumsFile, keyID(s.key)) }
	change := map[string]func(string) (string, bool){
		"flipped": func(s string) (string, bool) { return s[:40] + string(s[40]^1) + s[41:], true },
		"cut":     func(s string) (string, bool) { return s[:len(s)/2], true },
		"longer":  func(s string) (string, bool) { return s + "x", true },
		"empty":   func(string) (string, bool) { return "", true },
		"gone":    func(string) (string, bool) { return "", false },
		"another": func(s string) (string, bool) { return strings.Repeat("z", len(s)), true },
	}
	for _, volumeSize := range []int64{0, 5120} {
		s := newSmallExport(t, volumeSize)
		last := s.inv.Storage.Volumes[len(s.inv.Storage.Volumes)-1].Name
		for how, volume := range change {
			for what, sums := range change {
				for _, name := range []string{SumsFile, signature(s)} {
					files := maps.Clone(s.whole)
					spoil(files, last, volume)
					spoil(files, name, sums)
					if volumeSize > 0 && how == "gone" {
						continue // it could as well lie on another medium
					}
					dir := fastDir(t)
					must(t, fill(dir, files))
					if _, err := s.mended(t, dir, ExportOptions{Key: testKey(t)}); !errors.Is(err, ErrUntrusted) {
						t.Errorf("with another key: %v", err)
					}
					must(t, sameFiles(dir, files))
					found, err := s.mended(t, dir, ExportOptions{Key: s.key})
					if err != nil || len(found) < 2 {
						t.Errorf("%s %s, %s %s: %v, %v", last, how, name, what, found, err)
					}
					if err := sameFiles(dir, s.whole); err != nil {
						t.Errorf("%s %s, %s %s: %v", last, how, name, what, err)
					}
				}
			}
		}
	}
}

func spoil(files map[string]string, name string, change func(string) (string, bool)) {
	var there bool
	if files[name], there = change(files[name]); !there {
		delete(files, name)
	}
}

// mended is what a repair finds and mends.
func (s *smallExport) mended(t *testing.T, dir string, o ExportOptions) ([]Finding, error) {
	t.Helper()
	out, err := OpenOutput(dir)
	must(t, err)
	defer func() { must(t, out.Close()) }()
	return out.Repair(t.Context(), s.client, o)
}

// TestInterruptedAtEach: an export that is interrupted while it waits for the first bytes
// of a blob has written its header, and says so; the next run does not write it again.
func TestInterruptedAtEach(t *testing.T) {
	t.Parallel()
	for _, volumeSize := range []int64{0, 5120} {
		s := newSmallExport(t, volumeSize)
		l, err := newLayout(&s.inv.Content, Storage{VolumeSize: volumeSize})
		must(t, err)
		for _, e := range l.Entries {
			if e.inline != nil {
				continue
			}
			proxy := ocitest.Misbehave(t, s.host, func(r *http.Request) *ocitest.Fault {
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, string(e.Digest)) {
					return &ocitest.Fault{Delay: time.Hour}
				}
				return nil
			})
			ctx, interrupt := context.WithCancel(t.Context())
			dir := fastDir(t)
			err := s.runWith(ctx, smallClient(t, s.host, proxy.Host), dir, disk{}, ExportOptions{Progress: func(p Event) {
				if p.Phase == "fetch" && p.Done == e.data() {
					interrupt()
				}
			}})
			interrupt()
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: %v", e.Name(), err)
			}
			must(t, s.run(t.Context(), dir, disk{}, ExportOptions{}))
			if err := sameFiles(dir, s.whole); err != nil {
				t.Errorf("interrupted at %s: %v", e.Name(), err)
			}
		}
	}
}

// TestResumeFetches at most what lies between two checkpoints, and the segments
// that were on their way, a second time.
func TestResumeFetches(t *testing.T) {
	t.Parallel()
	s := newSmallExport(t, 0)
	s.push(t, 50_000, 300_000, 300_000)
	total := int64(0)
	for _, blob := range s.inv.Content.Blobs {
		total += blob.Size
	}
	for _, percent := range []int64{30, 50, 95} {
		proxy := ocitest.Misbehave(t, s.host, nil)
		c, dir := smallClient(t, s.host, proxy.Host), fastDir(t)
		on := newTape(fault{})
		err := s.runWith(t.Context(), c, dir, on, ExportOptions{Progress: func(e Event) {
			if e.Phase == "fetch" && e.Done >= s.inv.Storage.Size*percent/100 {
				on.kill()
			}
		}})
		if !errors.Is(err, errKilled) {
			t.Errorf("it was to be killed: %v", err)
		}
		must(t, s.runWith(t.Context(), c, dir, disk{}, ExportOptions{}))
		must(t, sameFiles(dir, s.whole))
		allowed := s.checkpoint + (1+2*shortRun+segmentsAhead)*s.segment
		if again := proxy.Sent() - total; again > allowed {
			t.Errorf("killed at %d %%: %d bytes of %d were fetched again, %d are allowed", percent, again, total, allowed)
		}
	}
}

// TestWrongBytesThenKilled: a source gives a wrong byte, the process is killed
// anywhere behind it, and the next run has a healthy source: nothing of the wrong
// bytes is left.
func TestWrongBytesThenKilled(t *testing.T) {
	t.Parallel()
	for _, volumeSize := range []int64{0, 5120} {
		s := newSmallExport(t, volumeSize)
		wrong := fastDir(t)
		must(t, fill(wrong, s.damaged(s.large.Digest, 900)))
		on := newTape(fault{})
		must(t, s.run(t.Context(), fastDir(t), on, ExportOptions{Reuse: []string{wrong}}))
		spread(t, len(on.ops), func(dir string, i int) error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			if err := s.run(t.Context(), dir, newTape(fault{at: i + 1, err: errKilled, onall: true}), ExportOptions{Reuse: []string{wrong}}); !errors.Is(err, errKilled) {
				return fmt.Errorf("it was to be killed at operation %d: %w", i+1, err)
			}
			if err := s.run(t.Context(), dir, disk{}, ExportOptions{}); err != nil {
				return err
			}
			return sameFiles(dir, s.whole)
		})
		t.Logf("%d operations", len(on.ops))
	}
}

// TestWrongTwice ends at the start of the blob, in whichever volume that is, and
// leaves nothing of it; so does a run that goes on in the middle of it.
func TestWrongTwice(t *testing.T) {
	t.Parallel()
	for _, volumeSize := range []int64{0, 5120} {
		s := newSmallExport(t, volumeSize)
		proxy := ocitest.Misbehave(t, s.host, func(r *http.Request) *ocitest.Fault {
			if strings.HasSuffix(r.URL.Path, string(s.large.Digest)) && r.Method == http.MethodGet {
				return &ocitest.Fault{Corrupt: true, At: 5}
			}
			return nil
		})
		bad := smallClient(t, s.host, proxy.Host)
		half := map[string]string{}
		if volumeSize > 0 {
			half = s.interrupted(t, ExportOptions{})
		}
		for _, files := range []map[string]string{{}, half} {
			dir := fastDir(t)
			must(t, fill(dir, files))
			for range 2 { // the second has nothing to do but to fail again
				err := s.runWith(t.Context(), bad, dir, disk{}, ExportOptions{})
				if err == nil || !errors.Is(err, errWrongBytes) || !strings.Contains(err.Error(), string(s.large.Digest)) {
					t.Errorf("the error is %v", err)
				}
				s.endsBefore(t, dir, s.large)
			}
			must(t, s.run(t.Context(), dir, disk{}, ExportOptions{}))
			must(t, sameFiles(dir, s.whole))
		}
	}
}

// endsBefore: the volumes are right up to a blob, and end there.
func (s *smallExport) endsBefore(t *testing.T, dir string, d ocispec.Descriptor) {
	t.Helper()
	l, err := s.inv.layout()
	must(t, err)
	e, _ := l.Find(d.Digest)
	files, err := contentsOf(dir)
	must(t, err)
	got, want := "", ""
	for v := range l.Volumes() {
		got, want = got+files[volumeName(v, l.Volumes())], want+s.whole[volumeName(v, l.Volumes())]
	}
	if got != want[:e.Offset] {
		t.Errorf("%d bytes are there, the blob begins at %d", len(got), e.Offset)
	}
	if _, there := files[CheckpointFile]; !there || files[SumsFile] != "" {
		t.Errorf("the medium does not say that it is unfinished")
	}
}
