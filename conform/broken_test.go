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
	t.Parallel() // it waits, mostly
	n := tipttest.Start(t)
	address, stop := proxy(t, n, defect{say: func(_ *bent, f fields, _ int) any { return f }})
	o := options(n)
	o.Connect = address
	report := run(t, o)
	stop()
	clean(t, report, unhelped...)
}

// Each broken node is caught, and by the clause that it breaks.
func TestBrokenNodes(t *testing.T) {
	t.Parallel() // it waits, mostly
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
			report, err := runBroken(t, n, d)
			if catches(t, d, report, err) {
				mu.Lock()
				caught[d.clause] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for _, c := range Clauses() {
		if known[c.ID] && !caught[c.ID] {
			t.Errorf("no broken node for %s", c.ID)
		}
	}
}

// runBroken runs the suite against n broken by a defect, or against a node of the defect's own.
func runBroken(t *testing.T, n *tipttest.Node, d defect) (*Report, error) {
	t.Helper()
	o := options(n)
	switch {
	case d.second:
		n, o = withSecond(t, d)
		o.PeerRate, o.Slow = peerRate, true
	case d.own != nil:
		n = tipttest.Start(t, d.own)
		o = options(n)
		o.operate = operate(t, n, d.own)
		o.Slow, o.Quota, o.silence = true, quota, time.Second
		o.Connections, o.unsigned = connections, time.Second
	}
	address, stop := proxy(t, n, d)
	defer stop()
	o.Connect, o.Patience = address, 5*time.Second
	o.Only = regexp.QuoteMeta(d.clause)
	if d.only != "" {
		o.Only = d.only
	}
	return Run(t.Context(), o)
}

// catches says an error unless a report, or why there is none, has findings at the clause of a defect.
func catches(t *testing.T, d defect, report *Report, err error) bool {
	if err != nil {
		t.Errorf("%s, %s: %v", d.clause, d.name, err)
		return false
	}
	for _, result := range report.Results {
		if result.Clause.ID == d.clause && len(result.Findings) > 0 {
			return true
		}
	}
	var text bytes.Buffer
	if err := report.WriteText(&text); err != nil {
		t.Error(err)
	}
	t.Errorf("%s, %s: not caught\n%s", d.clause, d.name, text.String())
	return false
}
