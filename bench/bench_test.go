package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// patience is how long nothing may happen where everything is in order.
const patience = 30 * time.Second

// at are the options for a node.
func at(n *tipttest.Node) bench.Options {
	return bench.Options{Node: endpoint(n), Roots: n.Pool(), PIDs: []int{os.Getpid()}, Collect: "true", Patience: patience}
}

func endpoint(n *tipttest.Node) bench.Node {
	return bench.Node{URL: "wss://" + string(n.Name) + "/ws", Connect: n.Addr}
}

// want checks a report of a node that makes no mistakes, and that it has these figures.
func want(t *testing.T, r *bench.Report, err error, messages float64, figures ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if r.Mistakes.Any() {
		t.Errorf("%v %q", &r.Mistakes, r.Mistakes.Examples)
	}
	if n, _ := r.Figures.Get("messages"); n != messages {
		t.Errorf("%v messages, want %v", n, messages)
	}
	for _, name := range figures {
		if value, ok := r.Figures.Get(name); !ok || value <= 0 {
			t.Errorf("%s is %v", name, value)
		}
	}
}

var load = bench.Load{Pairs: 3, Outstanding: 4, Size: 200, Messages: 100}

func TestPairs(t *testing.T) {
	n := tipttest.Start(t)
	r, err := bench.Pairs(t.Context(), at(n), load)
	want(t, r, err, 100, "messages_per_second", "generator_busy_percent", "latency_p50_ms", "latency_p99.9_ms")
	waiting := load
	waiting.Wait, waiting.Rate, waiting.Outstanding = true, 1000, 1
	r, err = bench.Pairs(t.Context(), at(n), waiting)
	want(t, r, err, 100, "messages_per_second", "latency_max_ms")
}

func TestMailbox(t *testing.T) {
	r, err := bench.Mailbox(t.Context(), at(tipttest.Start(t)), load)
	want(t, r, err, 100, "in_per_second", "out_per_second", "node_cpu_us_per_receiver")
	if _, ok := r.Figures.Get("node_cpu_us_per_message_out"); !ok { // so few may cost less than their receivers' second sign-ins
		t.Error("there is no node_cpu_us_per_message_out")
	}
	if len(r.Spans) != 2 || r.Spans[0].Name != "in" || r.Spans[1].Name != "out" ||
		r.Spans[0].From >= r.Spans[0].Upto || r.Spans[0].Upto >= r.Spans[1].From || r.Spans[1].From >= r.Spans[1].Upto {
		t.Errorf("spans %v", r.Spans)
	}
}

func TestForward(t *testing.T) {
	nodes := tipttest.StartNetwork(t, []tipt.NodeName{"a.example", "b.example"})
	r, err := bench.Forward(t.Context(), at(nodes["a.example"]), endpoint(nodes["b.example"]), load)
	want(t, r, err, 100, "messages_per_second", "latency_p50_ms")
}

func TestIdle(t *testing.T) {
	r, err := bench.Idle(t.Context(), at(tipttest.Start(t)), bench.Rest{Connections: 10, Size: 20_000})
	want(t, r, err, 0, "connections", "node_bytes_before")
	for _, name := range []string{
		"bytes_per_connection", "bytes_per_connection_collected",
		"bytes_per_connection_after_a_message", "bytes_per_connection_after_a_message_collected",
	} {
		if _, ok := r.Figures.Get(name); !ok { // 10 connections may be too few for a positive one
			t.Errorf("there is no %s", name)
		}
	}
}

func TestStorm(t *testing.T) {
	n := tipttest.Start(t)
	o := at(n)
	o.Node.Accounts = filepath.Join(t.TempDir(), "accounts")
	for _, crush := range []bench.Crush{
		{Clients: 20, Parallel: 5},
		{Clients: 5, Parallel: 5, Password: true},
		{Clients: 20, Parallel: 1, Rate: 500, Hashing: 2},
	} {
		r, err := bench.Storm(t.Context(), o, crush)
		want(t, r, err, 0, "sign_ins", "sign_ins_per_second", "latency_p99_ms")
		if got, _ := r.Figures.Get("sign_ins"); got != float64(crush.Clients) {
			t.Errorf("%v of %d signed in", got, crush.Clients)
		}
	}
}

// Accounts are registered once, and their tokens serve from then on.
func TestAccounts(t *testing.T) {
	n := tipttest.Start(t)
	o := at(n)
	o.Node.Accounts = filepath.Join(t.TempDir(), "accounts")
	r, err := bench.Pairs(t.Context(), o, load)
	want(t, r, err, 100)
	before, err := os.ReadFile(o.Node.Accounts)
	if err != nil {
		t.Fatal(err)
	}
	n.Restart(t, func(c *node.Config) { c.Registration = tipt.RegistrationClosed })
	r, err = bench.Pairs(t.Context(), o, load)
	want(t, r, err, 100)
	after, err := os.ReadFile(o.Node.Accounts)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the accounts have changed: %v", err)
	}
	more := load
	more.Pairs++
	if _, err := bench.Pairs(t.Context(), o, more); err == nil || !strings.Contains(err.Error(), "REGISTRATION_CLOSED") {
		t.Errorf("with closed registration: %v", err)
	}
}

// What lies in the mailboxes from another load is no mistake of this one's node.
func TestLeftBehind(t *testing.T) {
	n := tipttest.Start(t)
	o := at(n)
	o.Node.Accounts = filepath.Join(t.TempDir(), "accounts")
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(stage string, _, _ int) {
		if stage == "draining" {
			cancel()
		}
	}
	if _, err := bench.Mailbox(ctx, o, load); err == nil {
		t.Fatal("a load that was interrupted has a report")
	}
	o.Progress = nil
	r, err := bench.Pairs(t.Context(), o, load)
	want(t, r, err, 100)
}

func TestMistaken(t *testing.T) {
	o := bench.Options{Node: bench.Node{URL: "wss://node.example", Connect: "127.0.0.1:1"}}
	for name, run := range map[string]func(context.Context) (*bench.Report, error){
		"no pair": func(ctx context.Context) (*bench.Report, error) {
			return bench.Pairs(ctx, o, bench.Load{Outstanding: 1, Size: 8})
		},
		"nothing outstanding": func(ctx context.Context) (*bench.Report, error) {
			return bench.Pairs(ctx, o, bench.Load{Pairs: 1, Size: 8})
		},
		"too much outstanding": func(ctx context.Context) (*bench.Report, error) {
			return bench.Pairs(ctx, o, bench.Load{Pairs: 1, Size: 8, Outstanding: 257, Messages: 1})
		},
		"too short": func(ctx context.Context) (*bench.Report, error) {
			return bench.Mailbox(ctx, o, bench.Load{Pairs: 1, Size: 7, Outstanding: 1, Messages: 1})
		},
		"fewer messages": func(ctx context.Context) (*bench.Report, error) {
			return bench.Pairs(ctx, o, bench.Load{Pairs: 2, Size: 8, Outstanding: 1, Messages: 1})
		},
		"no connection": func(ctx context.Context) (*bench.Report, error) { return bench.Idle(ctx, o, bench.Rest{}) },
		"no client":     func(ctx context.Context) (*bench.Report, error) { return bench.Storm(ctx, o, bench.Crush{}) },
		"nobody there": func(ctx context.Context) (*bench.Report, error) {
			return bench.Storm(ctx, o, bench.Crush{Clients: 1, Parallel: 1})
		},
		"an address without wss:": func(ctx context.Context) (*bench.Report, error) {
			return bench.Storm(ctx, bench.Options{Node: bench.Node{URL: "https://node.example"}}, bench.Crush{Clients: 1, Parallel: 1})
		},
	} {
		if _, err := run(t.Context()); err == nil {
			t.Errorf("%s: there is a report", name)
		}
	}
}

func TestReport(t *testing.T) {
	r := bench.Report{
		Bench:   "pairs",
		Figures: bench.Figures{{Name: "b_per_second", Value: 1234.5}, {Name: "a_ms", Value: 0.25}},
	}
	var text, encoded strings.Builder
	if err := r.WriteJSON(&encoded); err != nil {
		t.Fatal(err)
	}
	var back bench.Report
	if err := json.Unmarshal([]byte(encoded.String()), &back); err != nil {
		t.Fatal(err)
	}
	r.Figures[0].Value = 1234 // what is shown of it
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if got, want := text.String(), "pairs\n  b per second  1234\n  a ms          0.250\n  no message was lost, doubled or out of order\n"; got != want {
		t.Errorf("text:\n%s\nwant:\n%s", got, want)
	}
	text.Reset()
	r.Mistakes.Doubled = 2
	r.Mistakes.Examples = []string{"pair 1, message 7"}
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MISTAKES", "2 doubled", "pair 1, message 7"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text.String())
		}
	}
}
