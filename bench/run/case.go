package main

import (
	"fmt"
	"slices"
)

// A benchCase is a load that is measured.
type benchCase struct {
	kind, name string
	load       []string // arguments of tipt bench; the node's address stands behind the first
	accounts   int      // that it needs on a node
	across     bool     // two nodes
	noFloor    bool     // there is nothing to compare it with
	limited    bool     // the node has its default limits
	floorFlags []string
	figures    []string // that are shown
	times      int      // so many times as many runs, where one is short; 0 is once
}

// file is what to call what is kept of it, unlike that of any other case.
func (one benchCase) file() string {
	if one.kind == "idle" {
		return fmt.Sprint("idle-", one.accounts)
	}
	return one.kind
}

var messageFigures = []string{
	"messages_per_second", "node_cpu_us_per_message", "node_busy_percent", "generator_busy_percent", "latency_p50_ms", "latency_p99_ms", "latency_p99.9_ms",
}

// allCases are all, in the order in which they are measured by default.
func (c *cli) allCases() []benchCase {
	messages := fmt.Sprint(c.Messages)
	pairs := func(args ...string) []string {
		return slices.Concat([]string{"pairs", "--pairs", "100", "--size", "200"}, args)
	}
	cases := []benchCase{
		{
			kind: "pairs", name: "pairs: 100, 8 outstanding each, 200 bytes, each message with a key of its own",
			load: pairs("--outstanding", "8", "--messages", messages), accounts: 200, figures: messageFigures,
		},
		{
			kind: "reused", name: "pairs: the same with one session key for a connection",
			load:     pairs("--outstanding", "8", "--messages", messages, "--reuse-keys"),
			accounts: 200, floorFlags: []string{"--keep-keys"}, figures: messageFigures,
		},
		{
			kind: "latency", name: "pairs: 100, 1 outstanding each, 200 messages a second",
			load: pairs("--outstanding", "1", "--messages", "1200", "--rate", "200"), accounts: 200, figures: messageFigures,
		},
		{
			kind: "storm", name: "storm: by token, 64 at once",
			load:     []string{"storm", "--clients", fmt.Sprint(c.Clients), "--parallel", "64"},
			accounts: c.Clients,
			figures:  []string{"sign_ins_per_second", "node_cpu_us_per_sign_in", "node_busy_percent", "generator_busy_percent", "latency_p50_ms", "latency_p99_ms"},
		},
		{
			kind: "quiet", name: "storm: by token, 100 a second",
			load: []string{"storm", "--clients", "600", "--rate", "100"}, accounts: 600, noFloor: true,
			figures: []string{"sign_ins_per_second", "latency_p50_ms", "latency_p99_ms"},
		},
		{
			kind: "hashing", name: "storm: by token, 100 a second, while others sign in by password all the time",
			load: []string{"storm", "--clients", "600", "--rate", "100", "--hashing", "2"}, accounts: 602, noFloor: true,
			figures: []string{"sign_ins_per_second", "others_by_password_per_second", "latency_p50_ms", "latency_p99_ms"},
		},
		{
			kind: "mailbox", name: "mailbox: 100 senders, 8 outstanding each, 200 bytes; then the 100 receivers come",
			load:     []string{"mailbox", "--pairs", "100", "--outstanding", "8", "--size", "200", "--messages", messages},
			accounts: 200,
			figures:  []string{"in_per_second", "node_cpu_us_per_message", "out_per_second", "node_cpu_us_per_message_out", "generator_busy_percent"},
		},
		{
			kind: "forward", name: "forward: 64 senders, 8 outstanding each, 200 bytes, both nodes on the one processor",
			load:     []string{"forward", "--pairs", "64", "--outstanding", "8", "--size", "200", "--messages", fmt.Sprint(max(c.Messages/10, 64))},
			accounts: 64, across: true, figures: messageFigures,
		},
	}
	for _, n := range c.Connections {
		cases = append(cases, benchCase{
			kind: "idle", name: fmt.Sprintf("idle: %d connections, then each with a message of 20,000 bytes to itself", n),
			load:     []string{"idle", "--connections", fmt.Sprint(n), "--size", "20000"},
			accounts: n, noFloor: true,
			figures: []string{
				"bytes_per_connection", "bytes_per_connection_collected",
				"bytes_per_connection_after_a_message", "bytes_per_connection_after_a_message_collected",
			},
		})
	}
	return append(cases, c.abuses()...)
}

// abuses are the cases of docs/performance.md, "Under abuse".
func (c *cli) abuses() []benchCase {
	figures := []string{
		"node_mib_cold", "node_mib_before", "node_mib_before_collected", "node_mib_above_idle", "node_mib_after", "node_mib_after_collected",
		"good_quiet_p50_ms", "good_quiet_p99_ms", "good_abused_p50_ms", "good_abused_p99_ms",
	}
	var cases []benchCase
	for _, a := range []struct {
		by, does string
		clients  int
		outcomes []string
	}{
		{"deaf", "%d clients write 100,000 bytes to themselves and never read", 10_000, []string{"cut", "still_connected"}},
		{"drip", "%d clients write a byte a second", 10_000, []string{"closed_with_1008", "cut", "still_connected"}},
		{"large", "%d clients send a packet of the greatest size at once", 1_000, []string{"answered", "answered_BUSY"}},
		{"unknown", "a million requests of an unknown type by %d clients", 100, []string{"answered_UNSUPPORTED", "abuse_seconds"}},
		{"guess", "%d clients sign in with wrong passwords again and again", 200, []string{"answered_CREDENTIALS", "answered_BUSY"}},
	} {
		n := c.Abusers
		if n == 0 {
			n = a.clients
		}
		cases = append(cases, benchCase{
			kind: a.by, name: "abuse: " + fmt.Sprintf(a.does, n),
			load:     []string{"abuse", "--by", a.by, "--clients", fmt.Sprint(n)},
			accounts: n + 40, noFloor: true, limited: true, figures: slices.Concat(a.outcomes, figures),
		})
	}
	return cases
}

// caseNames are the names of the cases that are measured by default, and of the abuses, which take
// minutes each.
func caseNames() (cases, abuses []string) {
	for _, one := range (&cli{Connections: []int{1}}).allCases() {
		if one.load[0] == "abuse" {
			abuses = append(abuses, one.kind)
		} else {
			cases = append(cases, one.kind)
		}
	}
	return cases, abuses
}
