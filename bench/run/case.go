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
	floorFlags []string
	figures    []string // that are shown
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
	return cases
}

// caseNames are the names of the cases.
func caseNames() []string {
	var kinds []string
	for _, one := range (&cli{Connections: []int{1}}).allCases() {
		kinds = append(kinds, one.kind)
	}
	return kinds
}
