package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // reads how large the tables have become
)

// A growth is something that a node has more and more of, while what is measured stays.
type growth struct {
	of       string
	sizes    []int
	set      func(c *cli, n int)     // what is in the store
	cases    func(n int) []benchCase // with the figures whose growth is of interest
	bytesFor string                  // table whose size is told, too
}

// steps are three sizes, the last one the greatest.
func steps(greatest int) []int { return []int{greatest / 100, greatest / 10, greatest} }

const (
	// inMailbox is how many messages lie in each mailbox where there are more and more of them, and few
	// below how many connections so little is measured that it takes more runs.
	inMailbox = 50
	few       = 1000

	cpuMessage = "node_cpu_us_per_message"
	cpuSignIn  = "node_cpu_us_per_sign_in"
)

// growths are all. c says how much is measured at each size.
func (c *cli) growths() []growth {
	messages := max(c.Messages/2, 100)
	load := func(kind string, pairs, outstanding, messages int, args ...string) benchCase {
		return benchCase{
			kind: kind, name: kind,
			load: slices.Concat([]string{
				kind, "--pairs", fmt.Sprint(pairs), "--outstanding", fmt.Sprint(outstanding), "--size", "200",
				"--messages", fmt.Sprint(max(messages, pairs)),
			}, args),
			accounts: 2 * pairs, across: kind == "forward", figures: []string{cpuMessage},
		}
	}
	mailbox := func(pairs, outstanding, messages int, args ...string) benchCase {
		one := load("mailbox", pairs, outstanding, messages, args...)
		one.figures = append(one.figures, cpuMessage+"_out")
		return one
	}
	storm := func(n int) benchCase {
		return benchCase{
			kind: "storm", name: "storm", load: []string{"storm", "--clients", fmt.Sprint(n), "--parallel", "64"},
			accounts: n, figures: []string{cpuSignIn},
		}
	}
	idle := func(n int) benchCase {
		return benchCase{
			kind: "idle", name: "idle", load: []string{"idle", "--connections", fmt.Sprint(n), "--size", "20000"}, accounts: n,
			figures: []string{"node_cpu_us_per_connection", "bytes_per_connection_collected", "bytes_per_connection_after_a_message_collected"},
		}
	}
	latency := load("pairs", 100, 1, max(messages/25, 100), "--rate", "200")
	latency.name, latency.figures = "pairs, 200 a second", []string{cpuMessage, "latency_p50_ms"}
	fixed := []benchCase{
		load("pairs", 100, 8, messages), latency, mailbox(100, 8, messages), storm(max(c.Clients/2, 1)),
		load("forward", 64, 8, messages/5), idle(max(c.Clients/2, 1)),
	}
	same := func(int) []benchCase { return fixed }
	return []growth{
		{
			of: "connections", sizes: steps(15_000), set: func(*cli, int) {},
			// A pair for each two connections, and as many messages in each mailbox, whose keys are used again
			// so that it takes no minutes to seal them.
			cases: func(n int) []benchCase {
				mailbox := mailbox(n/2, 1, inMailbox*n/2, "--reuse-keys")
				if n < few {
					mailbox.times = 5
				}
				return []benchCase{
					load("pairs", n/2, 1, max(messages, 4*n/2)), mailbox, storm(n),
					load("forward", n/2, 1, max(messages/5, 2*n/2)), idle(n),
				}
			},
		},
		{of: "registered users", sizes: steps(1_000_000), set: func(c *cli, n int) { c.Accounts = n }, cases: same},
		{of: "stored messages", sizes: steps(10_000_000), set: func(c *cli, n int) { c.Stored = n }, cases: same, bytesFor: "ids"},
		{of: "other nodes in the outbox", sizes: steps(10_000), set: func(c *cli, n int) { c.Outbox = n }, cases: same},
	}
}

// grow measures all growths, of the node alone, and prints a table of each.
func (l *lab) grow(ctx context.Context) error {
	wrong := 0
	for _, g := range l.growths() {
		n, err := l.growthOf(ctx, g)
		if err != nil {
			return fmt.Errorf("%s: %w", g.of, err)
		}
		wrong += n
	}
	return wrongTimes(wrong)
}

// growthOf measures one growth: a row for each figure, a column for each size, and how many times
// the figure before each one is.
func (l *lab) growthOf(ctx context.Context, g growth) (wrong int, err error) {
	var rows []string
	values := make(map[string][]float64)
	add := func(row string, value float64) {
		if values[row] == nil {
			rows = append(rows, row)
		}
		values[row] = append(values[row], value)
	}
	for _, size := range g.sizes {
		fmt.Fprintf(l.progress, "%d %s\n", size, g.of)
		sized := *l.cli
		g.set(&sized, size)
		of := &lab{cli: &sized, out: l.out, progress: l.progress}
		cases := g.cases(size)
		if err := of.fill(ctx, cases...); err != nil {
			return wrong, err
		}
		if g.bytesFor != "" {
			bytes, err := tableSize(ctx, of.path(names[0], "tipt.db"), g.bytesFor)
			if err != nil {
				return wrong, err
			}
			add(fmt.Sprintf("table %s, MiB", g.bytesFor), bytes/(1<<20))
		}
		for _, one := range cases {
			all, n, err := of.runs(ctx, one, []subject{theNode})
			if err != nil {
				return wrong, fmt.Errorf("%s with %d: %w", one.name, size, err)
			}
			wrong += n
			for _, figure := range one.figures {
				measured := all[theNode.name][figure]
				if len(measured) == 0 {
					return wrong, fmt.Errorf("%s with %d: there is no figure %s", one.name, size, figure)
				}
				add(one.name+": "+strings.ReplaceAll(figure, "_", " "), median(measured))
			}
		}
	}
	fmt.Fprintf(l.out, "### %s\n\n|", g.of)
	for i, size := range g.sizes {
		fmt.Fprintf(l.out, " | %d", size)
		if i > 0 {
			fmt.Fprint(l.out, " | times")
		}
	}
	fmt.Fprintf(l.out, " |\n|%s\n", strings.Repeat("---|", 2*len(g.sizes)))
	for _, row := range rows {
		fmt.Fprintf(l.out, "| %s", row)
		for i, value := range values[row] {
			fmt.Fprintf(l.out, " | %s", short(value))
			if i > 0 {
				fmt.Fprintf(l.out, " | %.2f", value/values[row][i-1])
			}
		}
		fmt.Fprintln(l.out, " |")
	}
	fmt.Fprintln(l.out)
	return wrong, nil
}

// tableSize returns the bytes of a table in a database that no node has open.
func tableSize(ctx context.Context, file, table string) (bytes float64, err error) {
	where := url.URL{Scheme: "file", Path: filepath.ToSlash(file), RawQuery: "mode=ro"}
	db, err := sql.Open("sqlite", where.String())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, "SELECT sum(pgsize) FROM dbstat WHERE name = ? AND aggregate = TRUE", table).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("size of table %s: %w", table, err)
	}
	return bytes, nil
}
