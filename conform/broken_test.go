package conform

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// The proxy by itself breaks nothing.
func TestProxy(t *testing.T) {
	n := tipttest.Start(t)
	address, stop := proxy(t, n, defect{say: func(_ *bent, f fields, _ int) any { return f }})
	o := options(n)
	o.Connect = address
	report := run(t, o)
	stop()
	clean(t, report, "--admin", "--slow", "--peer", "by invitation", "not closed", "no anonymous")
}

// Each broken node is caught, and by the clause that it breaks.
func TestBrokenNodes(t *testing.T) {
	n := tipttest.Start(t)
	known := make(map[string]bool)
	for _, c := range Clauses() {
		known[c.ID] = c.Untested == "" && c.of(NodeSide)
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	caught := make(map[string]bool)
	var mu sync.Mutex // guards caught
	for _, d := range defects {
		if !known[d.clause] {
			t.Errorf("defect %q breaks %s, which is not tested", d.name, d.clause)
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			address, stop := proxy(t, n, d)
			defer stop()
			o := options(n)
			o.Connect, o.Patience = address, 5*time.Second
			o.Only = regexp.QuoteMeta(d.clause)
			if d.only != "" {
				o.Only = d.only
			}
			report, err := Run(t.Context(), o)
			if err != nil {
				t.Errorf("%s, %s: %v", d.clause, d.name, err)
				return
			}
			for _, result := range report.Results {
				if result.Clause.ID == d.clause && result.Status == Failed {
					mu.Lock()
					caught[d.clause] = true
					mu.Unlock()
					return
				}
			}
			var text bytes.Buffer
			if err := report.WriteText(&text); err != nil {
				t.Error(err)
			}
			t.Errorf("%s, %s: not caught\n%s", d.clause, d.name, text.String())
		})
	}
	group.Wait()
	for _, c := range Clauses() {
		if known[c.ID] && !caught[c.ID] && unbroken[c.ID] == "" {
			t.Errorf("no broken node for %s", c.ID)
		}
	}
}

// unbroken says why a clause has no broken node.
var unbroken = map[string]string{
	"T-1.8":  "needs an operator",
	"T-1.14": "needs an operator",
	"T-1.32": "needs an operator",
	"T-4.33": "needs an operator",
	"T-4.34": "needs an operator",
	"T-1.27": "takes minutes",
	"T-1.28": "takes minutes",
	"T-1.34": "whether a reset overtakes the close frame is chance",
	"T-4.32": "what a displaced connection has sent before is the node's to drop",
	"T-4.16": "needs a node that registers by invitation",
	"T-4.17": "needs a node that registers by invitation",
	"T-4.18": "needs a node whose registration is closed",
	"T-5.41": "needs a node that takes anonymous requests",
}
