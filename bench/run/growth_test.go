//go:build external

package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestGrowth measures each growth once, at sizes that take no time to fill.
func TestGrowth(t *testing.T) {
	c := cli{Runs: 1, Messages: 1000, Clients: 20, Accounts: 10, NodeCPU: "0", GeneratorCPU: "0", Dir: t.TempDir()}
	var out, progress bytes.Buffer
	l := &lab{cli: &c, out: &out, progress: &progress}
	if err := l.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.certify(); err != nil {
		t.Fatal(err)
	}
	for _, g := range c.growths() {
		for i := range len(g.sizes) - 1 {
			if g.sizes[i+1] != 10*g.sizes[i] {
				t.Errorf("%s: sizes %d", g.of, g.sizes)
			}
		}
		g.sizes = []int{20, 200}
		out.Reset()
		if wrong, err := l.growthOf(t.Context(), g); err != nil || wrong != 0 {
			t.Fatalf("%s: %d wrong, %v\n%s", g.of, wrong, err, out.String())
		}
		t.Log(out.String())
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if want := []string{"### " + g.of, "", "| | 20 | 200 | times |", "|---|---|---|---|"}; !slices.Equal(lines[:4], want) {
			t.Errorf("the table begins with %q, want %q", lines[:4], want)
		}
		figures := 0
		for _, one := range g.cases(20) {
			figures += len(one.figures)
		}
		if g.bytesFor != "" {
			figures++
		}
		if rows := lines[4:]; len(rows) != figures {
			t.Errorf("%s: %d rows, want %d", g.of, len(rows), figures)
		}
		for _, row := range lines[4:] {
			if !regexp.MustCompile(`^\| [^|]+ \| -?[0-9.]+ \| -?[0-9.]+ \| (-?[0-9.]+|NaN|[-+]Inf) \|$`).MatchString(row) {
				t.Errorf("row %q", row)
			}
		}
	}
}
