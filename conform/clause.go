package conform

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Level is how much a clause obliges.
type Level string

// The levels.
const (
	Must   Level = "must"
	Should Level = "should"
)

// A Side is whom a clause obliges.
type Side string

// The sides. Both is a node as well as a client.
const (
	NodeSide   Side = "node"
	ClientSide Side = "client"
	Both       Side = "both"
)

// A Source is where a clause comes from.
type Source string

// The sources.
const (
	Seed  Source = "seed"  // version 1.0.0 as first published
	Draft Source = "draft" // the protocol's later public drafts
	Ours  Source = "ours"  // this project's completion
)

// A Clause is one sentence of the specification that obliges somebody.
type Clause struct {
	ID     string // T-SECTION.NUMBER, stable for ever
	Level  Level
	Side   Side
	Source Source
	Text   string
	// Untested says why no scenario checks it; empty where one does.
	Untested string
}

// Why a clause has no scenario.
const (
	inside     = "happens inside the node: nothing that a guest can see tells it"
	takesDays  = "shows only after days"
	takesHours = "shows only after an hour"
	needsNames = "needs names that resolve as the suite wishes"
	faulty     = "needs something in the node to be broken, which no guest can bring about from outside"
)

// Clauses returns all clauses, in the order of the specification.
func Clauses() []Clause {
	all := slices.Concat(
		transportClauses, packetClauses, exchangeClauses, accountClauses, messageClauses, nodeClauses, errorClauses, otherClauses, clientClauses,
	)
	slices.SortStableFunc(all, func(a, b Clause) int { return cmp.Compare(a.section(), b.section()) })
	return all
}

// of reports whether the clause obliges that side.
func (c Clause) of(side Side) bool { return c.Side == side || c.Side == Both }

var sections = map[string]string{
	"1": "Transport", "2": "Packets", "3": "Requests and responses", "4": "Bodies", "5": "Node to node",
	"6": "Errors", "7": "What a client does besides", "8": "End to end", "9": "The later drafts",
}

const pageHead = `# Conformance

Every sentence of [protocol.md](protocol.md) that obliges a node or a client is a clause here, in
other words and with an id that stays. The section of a clause is the number before the dot.
` + "`tipt conform`" + ` checks a running node against them from outside; below each clause stand
the scenarios that do, or why none can.

What breaks a clause that says *must* has failed. A *should* that is not followed is told as a warning, which
is neither a failure nor a pass.

The source of a clause is the protocol as first published (*seed*), its later public drafts
(*draft*), or what this project decided where both are silent (*ours*).

This page is generated from package conform: after a change there, run

    go test ./conform -run TestPage -update

`

const pageClients = `
What a client does not do is reported as not tested with it, such as:

- T-1.26 and ` + "`client-script-closes`" + `, where its upgrade has no ` + "`Origin`" + `, by which a browser's script is told
- ` + "`client-signed` and `client-sender-silent`" + `, where it opens neither what is sealed to the key in
  ` + "`TIPT_KEY`" + ` nor to one that it has SET
- ` + "`client-id-in-flight`" + `, where it answers a message before it has printed it, or reads nothing meanwhile
`

// How long runs take was measured by hand.
const pageTimes = `
## How long it takes

A run mostly waits, for what has to happen within seconds or must not happen, and its waits run side by side. The
report ends with how long it took; without ` + "`--slow`" + ` that is less than a minute. Measured on 2026-11-24, node or
client and suite on one virtual machine with two processors (AMD EPYC, Go 1.26), on which other programs ran, with a
load average between 1 and 4:

| | run | clauses passed | seconds |
|---|---|---|---|
| node of ` + "`tiptd dev`" + ` | ` + "`tipt conform wss://tipt.localhost/ws --ca … --connect …`" + ` | 235 | 31.0 |
| node of ` + "`tiptd serve`" + `, with all that is tested without ` + "`--slow`" + ` | ` + "`go test -tags external -v ./cmd/tipt -run TestConformance/limits`" + ` | 298 | 45.2 |
| ` + "`tipt chat`" + ` | ` + "`tipt conform --client --run 'tipt chat'`" + ` | 96 | 21.8 |
| the chat in Python | ` + "`tipt conform --client --run examples/python/tipt_chat.py`" + ` | 80 | 27.5 |

Under the race detector and beside other tests the second took 71.3 s. With ` + "`--slow`" + `, which waits for the PING of each five minutes and for
what its absence leads to, what that adds takes a client 332 s and a node 287, and passes beside two programs that take
all processor time they can get, too: ` + "`go test -tags external,slow -v ./cmd/tipt -run TestSlow`" + `.
`

// Page returns docs/conformance.md.
func Page() string {
	checkedBy := make(map[string][]string)
	for _, s := range scenarios() {
		for _, id := range s.clauses {
			checkedBy[id] = append(checkedBy[id], s.name)
		}
	}
	for _, s := range clientScenarios() {
		for _, id := range s.clauses {
			checkedBy[id] = append(checkedBy[id], s.name)
		}
	}
	for _, id := range slices.Concat(always, clientAlways) {
		checkedBy[id] = append(checkedBy[id], everyPacket)
	}
	clauses := Clauses()
	tested := 0
	for _, c := range clauses {
		if c.Untested == "" {
			tested++
		}
	}
	var page strings.Builder
	page.WriteString(pageHead)
	fmt.Fprintf(&page, "%d clauses, %d of them checked by %d scenarios with a node and %d with a client.\n",
		len(clauses), tested, len(scenarios()), len(clientScenarios()))
	page.WriteString("What needs help is reported as not tested without it:\n\n")
	for _, help := range []struct {
		flag  string
		needs func(scenario) bool
	}{
		{"`--peer`, by which the suite plays a second node", func(s scenario) bool { return s.peer }},
		{"`--admin`, the operator's command", func(s scenario) bool { return s.admin }},
		{"`--connections`, which says how few the node takes", func(s scenario) bool { return s.connections }},
		{"`--peer-rate`, which says how few messages of another node it takes a minute", func(s scenario) bool { return s.rate }},
		{"`--quota`, which says how little the node holds, or `--slow`", func(s scenario) bool { return s.quota }},
		{"`--slow`, some minutes", func(s scenario) bool { return s.slow && !s.quota }},
	} {
		var names []string
		for _, s := range scenarios() {
			if help.needs(s) {
				names = append(names, s.name)
			}
		}
		fmt.Fprintf(&page, "- %s: `%s`\n", help.flag, strings.Join(names, "` `"))
	}
	page.WriteString(pageClients)
	page.WriteString("\n`--revision draft` runs all of it in the form of the later drafts (section 9).\n" +
		"Without it a client is tested in the form that it chooses.\n")
	page.WriteString(pageTimes)
	section := ""
	for _, c := range clauses {
		if s := c.section(); s != section {
			section = s
			fmt.Fprintf(&page, "\n## %s. %s\n\n", s, sections[s])
		}
		fmt.Fprintf(&page, "- **%s** (%s, %s, %s) %s", c.ID, c.Level, c.Side, c.Source, c.Text)
		if c.Untested != "" {
			fmt.Fprintf(&page, " *Not tested: %s.*\n", c.Untested)
		} else {
			fmt.Fprintf(&page, " `%s`\n", strings.Join(checkedBy[c.ID], "` `"))
		}
	}
	return page.String()
}

func (c Clause) section() string {
	section, _, _ := strings.Cut(strings.TrimPrefix(c.ID, "T-"), ".")
	return section
}
