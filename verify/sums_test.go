package verify_test

import (
	"bytes"
	"crypto/sha256"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"airlift/verify"

	"airlift/oci/ocitest"
)

var files = []string{"a", "b.tar.002", "c"}

// sums are those of the files' names.
func sums() []verify.Sum {
	var all []verify.Sum
	for _, name := range files {
		all = append(all, verify.Sum{Name: name, SHA256: sha256.Sum256([]byte(name))})
	}
	return all
}

func TestSumsComeBack(t *testing.T) {
	data := verify.FormatSums(sums())
	want := "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a\n"
	if !strings.HasPrefix(string(data), want) || bytes.Count(data, []byte("\n")) != 3 {
		t.Errorf("written as\n%s", data)
	}
	got, err := verify.ParseSums(data, files)
	if err != nil || !slices.Equal(got, sums()) {
		t.Errorf("%v: %v", got, err)
	}
	if got, err := verify.ParseSums(nil, nil); err != nil || len(got) != 0 {
		t.Errorf("no sums: %v: %v", got, err)
	}
}

// Exactly the expected lines are taken, though sha256sum itself be more lenient.
func TestParseSumsRefuses(t *testing.T) {
	good := string(verify.FormatSums(sums()))
	lines := strings.SplitAfter(good, "\n")
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, test := range map[string]struct{ data, want string }{
		"nothing":             {"", "line 1: expected the sum of a"},
		"a line less":         {lines[0] + lines[1], "line 3: expected the sum of c"},
		"the first missing":   {lines[1] + lines[2], "line 1: expected the sum of a"},
		"a line more":         {good + lines[2], "line 4: expected the end"},
		"an empty line more":  {good + "\n", "line 4: expected the end"},
		"a space more":        {good + " ", "line 4: expected the end"},
		"an empty line first": {"\n" + good, "line 1: expected the sum of a"},
		"another order":       {lines[1] + lines[0] + lines[2], "line 1: expected the sum of a"},
		"a line twice":        {lines[0] + lines[0] + lines[2], "line 2: expected the sum of b.tar.002"},
		"another name":        {replace("  c", "  d"), "line 3: expected the sum of c"},
		"a path":              {replace("  c", "  ./c"), "line 3: expected the sum of c"},
		"no newline at last":  {strings.TrimSuffix(good, "\n"), "line 3: expected the sum of c"},
		"CRLF":                {strings.ReplaceAll(good, "\n", "\r\n"), "line 1: expected the sum of a"},
		"CR":                  {strings.ReplaceAll(good, "\n", "\r"), "line 1: expected the sum of a"},
		"upper case":          {strings.ToUpper(lines[0][:64]) + good[64:], "line 1: expected the sum of a"},
		"a binary mark":       {replace("  a", " *a"), "line 1: expected the sum of a"},
		"one space":           {replace("  a", " a"), "line 1: expected the sum of a"},
		"three spaces":        {replace("  a", "   a"), "line 1: expected the sum of a"},
		"a tab":               {replace("  a", "\ta"), "line 1: expected the sum of a"},
		"a digit less":        {good[1:], "line 1: expected the sum of a"},
		"two digits less":     {good[2:], "line 1: expected the sum of a"},
		"two digits more":     {"00" + good, "line 1: expected the sum of a"},
		"not hex":             {"g" + good[1:], "line 1: expected the sum of a"},
		"a comment":           {"# sums\n" + good, "line 1: expected the sum of a"},
		"a mark of the order": {"\ufeff" + good, "line 1: expected the sum of a"},
		"escaped":             {`\` + good, "line 1: expected the sum of a"},
		"the BSD form":        {"SHA256 (a) = " + good[:64] + "\n" + lines[1] + lines[2], "line 1: expected the sum of a"},
	} {
		if got, err := verify.ParseSums([]byte(test.data), files); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, %v; want %s", name, got, err, test.want)
		}
	}
}

func TestSha256sumReadsSums(t *testing.T) {
	program := ocitest.Program(t, "sha256sum")
	dir := t.TempDir()
	for _, name := range files {
		write(t, dir, name, []byte(name))
	}
	write(t, dir, "SHA256SUMS", verify.FormatSums(sums()))
	run := func(args ...string) (string, error) {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("-c", "--strict", "SHA256SUMS"); err != nil || strings.Count(out, ": OK\n") != len(files) {
		t.Errorf("%v: %s", err, out)
	}
	out, err := run(files...)
	if got, parseErr := verify.ParseSums([]byte(out), files); err != nil || parseErr != nil || !slices.Equal(got, sums()) {
		t.Errorf("what it writes: %v, %v", err, parseErr)
	}
	write(t, dir, "c", []byte("changed"))
	if out, err := run("-c", "--strict", "SHA256SUMS"); err == nil {
		t.Errorf("a changed file is well: %s", out)
	}
}

// What is taken is written the same, byte for byte.
func FuzzParseSums(f *testing.F) {
	good := verify.FormatSums(sums())
	f.Add(good, strings.Join(files, "\n"))
	f.Add(bytes.ToUpper(good), strings.Join(files, "\n"))
	f.Add(bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), strings.Join(files, "\n"))
	f.Add([]byte(strings.Repeat("0", 64)+"  \n"), "")
	f.Fuzz(func(t *testing.T, data []byte, names string) {
		got, err := verify.ParseSums(data, strings.Split(names, "\n"))
		if err == nil && !bytes.Equal(verify.FormatSums(got), data) {
			t.Errorf("%q was taken and is written as %q", data, verify.FormatSums(got))
		}
	})
}
