package conform

import (
	"flag"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/conformance.md anew")

const (
	pagePath     = "../docs/conformance.md"
	protocolPath = "../docs/protocol.md"
)

// TestPage holds the page against the clauses.
func TestPage(t *testing.T) {
	if *update {
		if err := os.WriteFile(pagePath, []byte(Page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != Page() {
		t.Errorf("%s is not what package conform says; run the test with -update", pagePath)
	}
}

// TestClauses wants each clause to have a scenario or a reason, and each scenario clauses.
func TestClauses(t *testing.T) {
	form := regexp.MustCompile(`^T-[1-9]\.[1-9]\d*$`)
	known := make(map[string]Clause)
	for _, c := range Clauses() {
		if !form.MatchString(c.ID) || c.Text == "" || !strings.HasSuffix(c.Text, ".") {
			t.Errorf("clause %q is not as clauses are: %q", c.ID, c.Text)
		}
		if _, twice := known[c.ID]; twice {
			t.Errorf("clause %s is there twice", c.ID)
		}
		known[c.ID] = c
	}
	names := make(map[string]bool)
	for _, side := range []Side{NodeSide, ClientSide} {
		checked := make(map[string]bool)
		check := func(id, by string) {
			c, ok := known[id]
			switch {
			case !ok:
				t.Errorf("scenario %s checks %s, which is no clause", by, id)
			case !c.of(side):
				t.Errorf("scenario %s checks %s, which does not oblige a %s", by, id, side)
			case c.Untested != "":
				t.Errorf("clause %s is checked by scenario %s, and yet %s", id, by, c.Untested)
			}
			checked[id] = true
		}
		for _, s := range declared(side) {
			if names[s.name] || len(s.clauses) == 0 {
				t.Errorf("scenario %s is there twice, or checks nothing", s.name)
			}
			names[s.name] = true
			for i, id := range s.clauses {
				check(id, s.name)
				if slices.Contains(s.clauses[:i], id) {
					t.Errorf("scenario %s names %s twice", s.name, id)
				}
			}
		}
		for id, c := range known {
			if c.Untested == "" && c.of(side) && !checked[id] {
				t.Errorf("clause %s has no scenario with a %s", id, side)
			}
		}
	}
}

// declared are the scenarios with a side, and the one for every packet.
func declared(side Side) []scenario {
	if side == NodeSide {
		return append(scenarios(), scenario{name: everyPacket, clauses: always})
	}
	all := []scenario{{name: everyPacket + " of a client", clauses: clientAlways}}
	for _, s := range clientScenarios() {
		all = append(all, scenario{name: s.name, clauses: s.clauses})
	}
	return all
}

// TestImports keeps the suite a second reading: it shares no package with what it tests.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			if path, err := strconv.Unquote(spec.Path.Value); err != nil || strings.HasPrefix(path, "github.com/tipt/") {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

func TestAnnotate(t *testing.T) {
	b := fields{"ver", "1.0.0", "id", 7, "body", fields{"tok", randomBytes(100), "on", true, "list", []any{1, "x"}}}.pack()
	text := annotate(b, Crossing{}.names)
	for _, want := range []string{"map of 3", `"ver": "1.0.0"`, `"id": 7`, `"body": map of 3`, `"tok": 100 bytes`, `"on": true`, `"list": array of 2`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	for cut := range b {
		if text := annotate(b[:cut], Crossing{}.names); !strings.Contains(text, "the bytes end") {
			t.Errorf("cut off after %d bytes, it is printed as\n%s", cut, text)
		}
	}
}
