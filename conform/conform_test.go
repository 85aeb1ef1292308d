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

// notLimits are numbers of docs/protocol.md that bound nothing, and why.
var notLimits = map[string]string{
	"9":    "in a map's row of markers, 90 to 9f, and in section numbers",
	"1000": "a close code that obliges nobody",

	"1975000": "the length of a text that fits when it is sealed, which keeps nobody from a longer one",
}

// TestLimits wants each number that sections 1 to 8 of the protocol name to be in a clause, with its
// unit where it has one.
func TestLimits(t *testing.T) {
	b, err := os.ReadFile(protocolPath)
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(b), "\n## 1. Transport")
	page, _, _ = strings.Cut(page, "\n## 9. ")
	for _, strip := range []string{
		"```[^`]*```", `(?m)^#.*$`, "`[0-9a-f]{2}`", `0x[0-9a-f]{2}`, `[–-]0x[0-9a-f]{2}`, `RFC \d+`, `sections? \d(\.\d+)*`, `\(\d\.\d\)`, `\b\d\.\d\b`,
		`SHA-256|sha-256|AES-256|Ed25519|ed25519|Curve25519|X25519|ML-KEM-768|UTF-8`, `algorithm \d+`, `(?m)^ *\d\. `, `version \d|versions? \d and \d`, `GnuPG 2\.2`,
	} {
		page = regexp.MustCompile(strip).ReplaceAllString(page, " ")
	}
	var clauses strings.Builder
	for _, c := range Clauses() {
		clauses.WriteString(c.Text + "\n")
	}
	said := make(map[string]bool)
	for _, l := range limits(clauses.String()) {
		said[l.number], said[l.number+" "+l.unit] = true, true
	}
	for _, l := range limits(page) {
		if notLimits[l.number] == "" && !said[strings.TrimSpace(l.number+" "+l.unit)] {
			t.Errorf("no clause has the %s %s of the protocol", l.number, l.unit)
		}
	}
}

type limit struct{ number, unit string }

// limits finds numbers, in words too, and the units behind them.
func limits(text string) []limit {
	words := strings.NewReplacer("four", "4", "five", "5", "a minute", "1 min", "last minute", "1 min", "an hour", "1 h", "minutes", "min")
	text = words.Replace(strings.Join(strings.Fields(text), " "))
	var found []limit
	for _, m := range regexp.MustCompile(`(\d[\d,]*\d|\d)(?: (s|ms|min|h|days|bytes|bits|KiB|GiB|labels|messages|levels)\b)?`).FindAllStringSubmatch(text, -1) {
		found = append(found, limit{strings.ReplaceAll(m[1], ",", ""), m[2]})
	}
	return found
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
