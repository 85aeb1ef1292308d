//go:build external

package main_test

import (
	"testing"
	"time"

	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// TestGivesBack: a node takes bounded memory for large packets that come at once, and has given it
// back half a minute later without being asked to, while others are served.
func TestGivesBack(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	o := bench.Options{
		Node:  bench.Node{URL: "wss://" + string(d.Name), Connect: p.Addr},
		Roots: d.CA.Pool(),
		PIDs:  []int{p.PID()},
	}
	r, err := bench.Abused(t.Context(), o, bench.Abuse{
		By: "large", Clients: 30, Quiet: time.Second, After: 30 * time.Second, Memory: 250 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	if above, _ := r.Figures.Get("node_mib_above_idle"); above < 20 {
		t.Errorf("30 packets of 2.1 MB take %.1f MiB: they were not there at once", above)
	}
	if len(r.Broken) > 0 || r.Mistakes.Any() {
		t.Errorf("broken: %q; %v %q", r.Broken, &r.Mistakes, r.Mistakes.Examples)
	}
	t.Log(r.Figures)
}
