package conform

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// patienceForAll bounds a whole run, and decides nothing in one that passes.
const patienceForAll = 5 * time.Minute

// options are how the suite reaches a node of this process.
func options(n *tipttest.Node) Options {
	return Options{URL: "wss://" + string(n.Name) + "/ws", Connect: n.Addr, Roots: n.Pool()}
}

// run runs the suite.
func run(t *testing.T, o Options) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patienceForAll)
	defer cancel()
	report, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// clean fails the test when something failed, was left, or was left out without a reason.
func clean(t *testing.T, report *Report, reasons ...string) {
	t.Helper()
	good := report.Count(Failed)+report.Count(Warning) == 0 && len(report.Blocked) == 0 && report.Left == 0
	for _, result := range report.Results {
		if result.Status != NotTested || result.Clause.Untested != "" {
			continue
		}
		known := false
		for _, reason := range reasons {
			known = known || strings.Contains(result.Why, reason)
		}
		if !known {
			t.Errorf("%s was not tested: %s", result.Clause.ID, result.Why)
		}
	}
	if !good {
		var text bytes.Buffer
		if err := report.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		t.Errorf("the suite found:\n%s", text.String())
	}
}

// unhelped are reasons that leave clauses untested where the suite knows no more than where the node is.
var unhelped = []string{
	"--admin", "--slow", "--peer", "--connections", "--peer-rate", "by invitation", "not closed", "no anonymous", "no BUSY", "no ML-KEM",
}

// It opens what is sealed to an ML-KEM subkey, where it has one.
func TestNodeWithMLKEM(t *testing.T) {
	n := tipttest.Start(t, withMLKEM)
	o := options(n)
	o.Only = "seal-mlkem"
	clean(t, run(t, o))
}

// The node of this project passes everything that can be tested without its operator's help.
func TestNode(t *testing.T) {
	t.Parallel() // it waits, mostly
	n := tipttest.Start(t)
	report := run(t, options(n))
	clean(t, report, unhelped...)
	if passed := report.Count(Passed); passed < 190 {
		t.Errorf("only %d clauses were tested", passed)
	}
}
