package bench_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// abuse is a small one, of which the memory of this process is told but not judged: it is the
// generator's, too.
func abuse(by string, clients int) bench.Abuse {
	return bench.Abuse{By: by, Clients: clients, Hold: time.Second, Quiet: time.Second, Memory: 1 << 40}
}

// Clients do what they are to do, and the report says what came of it.
func TestAbused(t *testing.T) {
	for _, test := range []struct {
		by       string
		clients  int
		requests int
		outcomes map[string]float64
	}{
		{"deaf", 10, 0, map[string]float64{"still_connected": 10}},
		{"drip", 10, 0, map[string]float64{"still_connected": 10}},
		{"large", 3, 0, map[string]float64{"answered": 3}},
		{"unknown", 2, 100_000, map[string]float64{"answered_UNSUPPORTED": 100_096}},
		{"guess", 3, 0, map[string]float64{"answered_CREDENTIALS": 0}},
	} {
		t.Run(test.by, func(t *testing.T) {
			n := tipttest.Start(t, func(c *node.Config) { c.NoLimits = test.by != "guess" })
			o := at(n)
			a := abuse(test.by, test.clients)
			a.Requests = test.requests
			r, err := bench.Abused(t.Context(), o, a)
			want(t, r, err, 0, "clients", "good_quiet_p50_ms", "good_abused_p50_ms", "node_mib_before", "node_mib_at_most", "node_mib_after_collected")
			for what, n := range test.outcomes {
				got, ok := r.Figures.Get(what)
				if n != 0 && got != n || !ok {
					t.Errorf("%s: %v, want %v", what, got, n)
				}
			}
			if t.Failed() {
				t.Log(r.Figures)
			}
		})
	}
}

// A node that takes too much, and one that serves nobody, are found out.
func TestAbusedBroken(t *testing.T) {
	n := tipttest.Start(t, func(c *node.Config) { c.MaxBuffered = 1 << 20 })
	a := abuse("large", 10)
	a.Memory = 1 << 10
	r, err := bench.Abused(t.Context(), at(n), a)
	if err != nil {
		t.Fatal(err)
	}
	if busy, _ := r.Figures.Get("answered_BUSY"); busy != 10 {
		t.Errorf("%v large packets were refused by a node that has no room for one", busy)
	}
	if len(r.Broken) == 0 || !strings.Contains(r.Broken[0], "MiB above its") {
		t.Errorf("broken: %q", r.Broken)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "BROKEN: the node took ") {
		t.Errorf("%v, text:\n%s", err, text.String())
	}
}

func TestAbuseMistaken(t *testing.T) {
	o := bench.Options{Node: bench.Node{URL: "wss://node.example", Connect: "127.0.0.1:1"}}
	for name, change := range map[string]func(*bench.Abuse){
		"by what is not known": func(a *bench.Abuse) { a.By = "shout" },
		"by nobody":            func(a *bench.Abuse) { a.Clients = 0 },
		"no time":              func(a *bench.Abuse) { a.Quiet = 0 },
		"nobody there":         func(*bench.Abuse) {},
	} {
		a := abuse("deaf", 1)
		change(&a)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := bench.Abused(ctx, o, a); err == nil {
			t.Errorf("%s: there is a report", name)
		}
		cancel()
	}
	if diff := cmp.Diff([]string{"deaf", "drip", "guess", "large", "unknown"}, bench.Abuses()); diff != "" {
		t.Error(diff)
	}
}
