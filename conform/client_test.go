package conform

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if name, is := os.LookupEnv(wrapped); is {
		if err := wrap(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// The client of this project passes, and the proxy by itself breaks nothing.
func TestClient(t *testing.T) {
	passes(t, noDefect, "", "T-9.7")
}

// untested is what the library's client is not tested for without --slow: it is no script in a browser, and makes no
// key by itself.
var untested = []string{"T-1.25", "T-1.26", "T-1.36", "T-7.3", "T-8.8", "T-8.11"}

// passes has our client behind a proxy pass the suite, and leave no more untested than is known: alone are the clauses
// that have a place in another form alone.
func passes(t *testing.T, clause, name string, alone ...string) *Report {
	t.Helper()
	cmd, err := command(clause, name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patienceForAll)
	defer cancel()
	report, err := RunClient(ctx, ClientOptions{Command: cmd})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, report, "") // whose reasons are looked at below
	want := append(slices.Clone(untested), alone...)
	for _, result := range report.Results {
		if result.Clause.Untested != "" {
			continue
		}
		if id := result.Clause.ID; (result.Status == NotTested) != slices.Contains(want, id) {
			t.Errorf("%s: %s (%s), and that is not how it is known", id, result.Status, result.Why)
		}
	}
	return report
}

// Each broken client is caught, and by the clause that it breaks.
func TestBrokenClients(t *testing.T) {
	known := make(map[string]bool)
	for _, c := range Clauses() {
		known[c.ID] = c.Untested == "" && c.of(ClientSide)
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, 8)
	caught := make(map[string]bool)
	var mu sync.Mutex // guards caught
	for _, d := range clientDefects {
		if !known[d.clause] {
			t.Errorf("defect %q breaks %s, which is not tested", d.name, d.clause)
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			cmd, err := command(d.clause, d.name)
			if err != nil {
				t.Error(err)
				return
			}
			o := ClientOptions{Command: cmd, Only: regexp.QuoteMeta(d.clause), Patience: 5 * time.Second, Revision: d.form}
			if d.only != "" {
				o.Only = d.only
			}
			report, err := RunClient(t.Context(), o)
			if catches(t, d.defect, report, err) {
				mu.Lock()
				caught[d.clause] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for id, is := range known {
		// Those are in TestSlowClients, TestScriptsThatPing and TestClientsThatSeeANewKey.
		slow := id == "T-1.25" || id == "T-7.3" || id == "T-1.26" || id == "T-8.8"
		if is && !caught[id] && !slow {
			t.Errorf("no broken client for %s", id)
		}
	}
}

// What takes minutes, with shorter ones: a client that is quick enough passes, others are caught.
func TestSlowClients(t *testing.T) {
	for _, tt := range []struct{ name, broken string }{
		{"pings", ""},
		{"never pings", "T-1.25"},
		{"pings and does not mind", "T-7.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd, err := command(slowClient, tt.name)
			if err != nil {
				t.Fatal(err)
			}
			report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: `T-1\.25|T-7\.3`, Slow: true, minute: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			for _, result := range report.Results {
				id := result.Clause.ID
				if broken := len(result.Findings) > 0; broken != (id == tt.broken) && (id == "T-1.25" || id == "T-7.3") {
					t.Errorf("%s: %s, %+v", id, result.Status, result.Findings)
				}
			}
		})
	}
}

// A command that is no client is told from one that breaks a clause.
func TestUnusableClients(t *testing.T) {
	for _, tt := range []struct{ name, command, want string }{
		{"no command", " ", "no command"},
		{"not there", "no-such-program-anywhere", "exit status 127"},
		{"ends at once", "echo hello >&2", `standard error ends with "hello"`},
		{"says nothing", "cat", "did not open a WebSocket"},
		{"does not end", "trap '' TERM; sleep 1000 & sleep 1000", "did not open a WebSocket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := RunClient(t.Context(), ClientOptions{Command: tt.command, Patience: time.Second})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// What is kept of a client's output is bounded.
func TestOutput(t *testing.T) {
	st := &stage{changed: make(chan struct{})}
	o := output{st: st}
	long := strings.Repeat("x", 2*keptLine)
	for i := range 2 * keptLines {
		for _, part := range []string{fmt.Sprint(i, " "), long, long, "\n"} {
			if n, err := o.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatalf("write: %d, %v", n, err)
			}
		}
	}
	if o.count() != 2*keptLines || len(o.from(0)) != keptLines || len(o.from(2*keptLines-1)) != 1 {
		t.Errorf("%d lines, %d kept, %d last", o.count(), len(o.from(0)), len(o.from(2*keptLines-1)))
	}
	for _, line := range o.from(0) {
		if len(line) != keptLine {
			t.Fatalf("a line of %d bytes is kept, want %d", len(line), keptLine)
		}
	}
}
