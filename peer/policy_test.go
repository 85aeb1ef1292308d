package peer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tipt/tipt-go"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPolicy(t *testing.T) {
	dir := t.TempDir()
	block, allow := filepath.Join(dir, "block"), filepath.Join(dir, "allow")
	write(t, block, `# Nodes that send rubbish.
*.spam.example
evil.example	# and this one
  node?.example
[a-c].example

xn--bcher-kva.example
`)
	write(t, allow, "*.example\n")
	for _, test := range []struct {
		name            tipt.NodeName
		blocked, listed bool
	}{
		{"good.example", false, true},
		{"evil.example", true, true},
		{"not-evil.example", false, true},
		{"evil.example.org", false, false},
		{"spam.example", false, true}, // *. wants something before it
		{"a.spam.example", true, true},
		{"b.a.spam.example", true, true}, // * spans labels
		{"node1.example", true, true},
		{"node12.example", false, true},
		{"b.example", true, true},
		{"d.example", false, true},
		{"xn--bcher-kva.example", true, true},
	} {
		for _, lists := range []struct {
			block, allow string
			want         bool
		}{
			{"", "", true},
			{block, "", !test.blocked},
			{"", allow, test.listed},
			{block, allow, !test.blocked && test.listed},
		} {
			p, err := LoadPolicy(lists.block, lists.allow)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Allows(test.name); got != lists.want {
				t.Errorf("%s with the lists %q and %q: %t", test.name, lists.block, lists.allow, got)
			}
		}
	}
	write(t, allow, "# nobody\n")
	p, err := LoadPolicy("", allow)
	if err != nil {
		t.Fatal(err)
	}
	if p.Allows("good.example") {
		t.Error("an empty allow list allows")
	}
	if !(*Policy)(nil).Allows("good.example") {
		t.Error("no policy bars")
	}
}

func TestPolicyReload(t *testing.T) {
	dir := t.TempDir()
	block, allow := filepath.Join(dir, "block"), filepath.Join(dir, "allow")
	write(t, block, "evil.example\n")
	write(t, allow, "*\n")
	p, err := LoadPolicy(block, allow)
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, node tipt.NodeName, allowed bool) {
		t.Helper()
		if p.Allows(node) != allowed {
			t.Errorf("%s: %s allowed: %t", what, node, !allowed)
		}
	}
	want("at first", "evil.example", false)
	write(t, block, "worse.example\n")
	want("before it is read again", "evil.example", false)
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	want("after", "evil.example", true)
	want("after", "worse.example", false)

	// After an error the old lists hold, both of them.
	for text, line := range map[string]string{
		"good.example\nEvil.example\n": "line 2",
		"[a-\n":                        "line 1",
		"*.Example\n":                  "line 1",
		"bücher.*\n":                   "line 1",
		"*.bücher.example\n":           "line 1",
		"evil.example.\n":              "line 1",
		"a b.example\n":                "line 1",
		"*a b.example\n":               "line 1",
		"*..example\n":                 "line 1",
		"localhost\n":                  "line 1",
		"127.0.0.1\n":                  "line 1",
		"*@evil.example\n":             "line 1",
		"https://evil.example/*\n":     "line 1",
		`evil\.example` + "\n":         "line 1",
		strings.Repeat("a", 100_000) + ".example": "too long",
		strings.Repeat("?\n", maxPatterns+1):      "more than 100000 patterns",
	} {
		write(t, allow, "worse.example\n")
		write(t, block, text)
		if err := p.Reload(); err == nil || !strings.Contains(err.Error(), line) || !strings.Contains(err.Error(), block) {
			t.Errorf("%.40q: %v, want an error about %s and %s", text, err, block, line)
		}
		want("after an error", "worse.example", false)
		want("after an error", "other.example", true)
		write(t, block, "other.example\n")
		write(t, allow, text)
		if err := p.Reload(); err == nil || !strings.Contains(err.Error(), "allow list") {
			t.Errorf("%.40q: %v, want an error about the allow list", text, err)
		}
		want("after an error", "other.example", true)
	}
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	if err := p.Reload(); !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a list that is gone: %v", err)
	}
	want("a list that is gone", "worse.example", false)
	if _, err := LoadPolicy(block, ""); err == nil {
		t.Error("loaded a list that is not there")
	}
}

func BenchmarkPolicy(b *testing.B) {
	l := list{names: make(map[string]struct{})}
	for i := range 100 {
		name := strings.Repeat(string(rune('a'+i%26)), 1+i/26)
		for _, pattern := range []string{name + ".example", "*." + name + ".example", name + "?.example"} {
			if err := l.add(pattern); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if l.has("good.node.example") {
			b.Fatal("has it")
		}
	}
}
