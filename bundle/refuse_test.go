package bundle_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"airlift/bundle"
	"airlift/verify"
)

// TestOtherSigners: a signature of a key that is not trusted is listed, not
// believed; one of a trusted key that does not fit is an error beside one that does.
func TestOtherSigners(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	other := newKey(t)
	id := verify.PublicKeyOf(other).ID()
	signature, err := verify.Sign(other, []byte("something else"))
	check(t, err)
	writeFile(t, m.path(bundle.InventoryFile+"."+id+".sig"), signature)
	b := m.open(t)
	if !slices.Equal(b.Signers, []string{m.id()}) || !slices.Equal(b.Unchecked, []string{id}) {
		t.Errorf("signers %s, unchecked %s", b.Signers, b.Unchecked)
	}
	trust := m.trust()
	trust.Keys = append(trust.Keys, verify.PublicKeyOf(other))
	_, err = bundle.Open([]string{m.dir}, trust)
	wantError(t, err, bundle.ErrUntrusted, id)
}

// refusals are what is found out before anything is pushed.
var refusals = map[string]struct {
	spoil func(t *testing.T, m, other medium)
	class error
	names string // what the error names
}{
	"truncated volume": {func(t *testing.T, m, _ medium) { check(t, os.Truncate(m.path("bundle.tar.002"), 5000)) }, bundle.ErrDamaged, "bundle.tar.002"},
	"longer volume": {func(t *testing.T, m, _ medium) {
		writeFile(t, m.path("bundle.tar.003"), append(readFile(t, m.path("bundle.tar.003")), 0))
	}, bundle.ErrDamaged, "bundle.tar.003"},
	"missing first volume":     {func(t *testing.T, m, _ medium) { check(t, os.Remove(m.path("bundle.tar.001"))) }, bundle.ErrAbsent, "bundle.tar.001"},
	"another's second volume":  {func(t *testing.T, m, other medium) { replace(t, m, other, "bundle.tar.002") }, bundle.ErrDamaged, "bundle.tar.002"},
	"another's first volume":   {func(t *testing.T, m, other medium) { replace(t, m, other, "bundle.tar.001") }, bundle.ErrDamaged, "bundle.tar.001"},
	"one volume too many":      {func(t *testing.T, m, _ medium) { writeFile(t, m.path("bundle.tar.004"), []byte("x")) }, bundle.ErrDamaged, "bundle.tar.004"},
	"whole archive beside":     {func(t *testing.T, m, _ medium) { writeFile(t, m.path("bundle.tar"), []byte("x")) }, bundle.ErrDamaged, "bundle.tar"},
	"volume is a directory":    {func(t *testing.T, m, _ medium) { turnIntoDirectory(t, m.path("bundle.tar.002")) }, bundle.ErrDamaged, "bundle.tar.002"},
	"changed inventory":        {func(t *testing.T, m, _ medium) { flip(t, m.path("bundle.json"), 700) }, bundle.ErrUntrusted, "bundle.json"},
	"another's inventory":      {func(t *testing.T, m, other medium) { replace(t, m, other, "bundle.json") }, bundle.ErrUntrusted, "bundle.json"},
	"wrong signature":          {func(t *testing.T, m, other medium) { forge(t, m, other, "bundle.json") }, bundle.ErrUntrusted, "bundle.json"},
	"missing signature":        {func(t *testing.T, m, _ medium) { unsign(t, m, "bundle.json") }, bundle.ErrUntrusted, "bundle.json"},
	"wrong signature of sums":  {func(t *testing.T, m, other medium) { forge(t, m, other, "SHA256SUMS") }, bundle.ErrUntrusted, "SHA256SUMS"},
	"no signature of sums":     {func(t *testing.T, m, _ medium) { unsign(t, m, "SHA256SUMS") }, bundle.ErrUntrusted, "SHA256SUMS"},
	"changed sums":             {func(t *testing.T, m, _ medium) { flip(t, m.path("SHA256SUMS"), 3) }, bundle.ErrUntrusted, "SHA256SUMS"},
	"missing sums":             {func(t *testing.T, m, _ medium) { check(t, os.Remove(m.path("SHA256SUMS"))) }, bundle.ErrAbsent, "SHA256SUMS"},
	"changed README":           {func(t *testing.T, m, _ medium) { flip(t, m.path("README.txt"), 9) }, bundle.ErrDamaged, "README.txt"},
	"missing README":           {func(t *testing.T, m, _ medium) { check(t, os.Remove(m.path("README.txt"))) }, bundle.ErrDamaged, "README.txt"},
	"damaged manifest":         {func(t *testing.T, m, _ medium) { flip(t, m.path("bundle.tar.001"), nodeOffset(t, m)) }, bundle.ErrDamaged, "bundle.tar.001"},
	"sums in another order":    {resum(func(lines []string) []string { slices.Reverse(lines); return lines }), bundle.ErrDamaged, "SHA256SUMS"},
	"sums with a line too few": {resum(func(lines []string) []string { return lines[1:] }), bundle.ErrDamaged, "SHA256SUMS"},
	"sums with a comment":      {resum(func(lines []string) []string { return append(lines, "# checked\n") }), bundle.ErrDamaged, "SHA256SUMS"},
	"sums with a binary mark": {resum(func(lines []string) []string {
		lines[0] = strings.Replace(lines[0], "  ", " *", 1)
		return lines
	}), bundle.ErrDamaged, "SHA256SUMS"},
}

// TestRefusedBeforeAnyConnection: not even a connection is made for a bundle of
// which a quick look shows that it is not whole or not trusted.
func TestRefusedBeforeAnyConnection(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 5120)
	other, _ := small(t, "y", 5120)
	far, connections := nobody(t)
	attempt := func(m medium, trust bundle.Trust, o bundle.ImportOptions) error {
		b, err := bundle.Open([]string{m.dir}, trust)
		if err != nil {
			return err
		}
		o.Placement = to(t, far)
		_, err = b.Import(t.Context(), client(t, far), o)
		return err
	}
	for name, r := range refusals {
		spoilt := m.copied(t)
		r.spoil(t, spoilt, other)
		if err := attempt(spoilt, m.trust(), bundle.ImportOptions{}); err == nil || !errors.Is(err, r.class) || !strings.Contains(err.Error(), r.names) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantError(t, attempt(m, bundle.Trust{}, bundle.ImportOptions{}), bundle.ErrUntrusted, m.id())
	wantError(t, attempt(m, other.trust(), bundle.ImportOptions{}), bundle.ErrUntrusted, m.id())
	wantError(t, attempt(m, bundle.Trust{AllowUnsigned: true}, bundle.ImportOptions{}), bundle.ErrUntrusted, m.id())
	wantError(t, attempt(m, bundle.Trust{Unverified: true}, bundle.ImportOptions{}), bundle.ErrUntrusted)
	for _, name := range []string{"missing sums", "missing README", "truncated volume", "another's second volume", "missing first volume"} {
		spoilt := m.copied(t)
		refusals[name].spoil(t, spoilt, other)
		if err := attempt(spoilt, m.trust(), bundle.ImportOptions{SkipMissing: true}); !errors.Is(err, refusals[name].class) {
			t.Errorf("%s, although what is missing may be skipped: %v", name, err)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	if err := attempt(m, m.trust(), bundle.ImportOptions{}); err == nil || connections.Load() == 0 {
		t.Errorf("a good bundle makes %d connections: %v", connections.Load(), err)
	}
}

// TestDifferentBundles on two media are no one bundle.
func TestDifferentBundles(t *testing.T) {
	t.Parallel()
	m, _ := small(t, "x", 0)
	other, _ := small(t, "y", 0)
	trust := bundle.Trust{Keys: append(m.trust().Keys, other.trust().Keys...)}
	_, err := bundle.Open([]string{m.dir, other.dir}, trust)
	wantError(t, err, bundle.ErrDamaged, m.dir, other.dir)
}

// replace puts another bundle's file, of the same size, in the place of one.
func replace(t *testing.T, m, other medium, file string) {
	t.Helper()
	theirs := readFile(t, other.path(file))
	if len(theirs) != len(readFile(t, m.path(file))) {
		t.Fatalf("%s has another size", file)
	}
	writeFile(t, m.path(file), theirs)
}

// forge puts another key's signature under the name of the trusted one's.
func forge(t *testing.T, m, other medium, file string) {
	t.Helper()
	signature, err := verify.Sign(other.key, readFile(t, m.path(file)))
	check(t, err)
	writeFile(t, m.path(file+"."+m.id()+".sig"), signature)
}

func unsign(t *testing.T, m medium, file string) {
	t.Helper()
	check(t, os.Remove(m.path(file+"."+m.id()+".sig")))
}

// resum changes the lines of SHA256SUMS and signs them.
func resum(change func([]string) []string) func(*testing.T, medium, medium) {
	return func(t *testing.T, m, _ medium) {
		lines := slices.Collect(strings.Lines(string(readFile(t, m.path(bundle.SumsFile)))))
		sign(t, m, bundle.SumsFile, strings.Join(change(lines), ""))
	}
}

func turnIntoDirectory(t *testing.T, path string) {
	t.Helper()
	check(t, os.Remove(path))
	check(t, os.Mkdir(path, 0o777))
}

// nodeOffset is where, in the first volume, the manifest has what nothing but
// its digest covers.
func nodeOffset(t *testing.T, m medium) int64 {
	t.Helper()
	at := bytes.Index(readFile(t, m.path(m.inv.Storage.Volumes[0].Name)), []byte("nothing"))
	if at < 0 {
		t.Fatal("no manifest in the first volume")
	}
	return int64(at)
}
