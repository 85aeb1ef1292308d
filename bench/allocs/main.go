// Command allocs counts what a node allocates for a message, place by place: messages between users of
// the one node who are all connected, each with a session key of its own, stored before they are
// answered, delivered and acknowledged. The node has a process of its own, this program again, in
// which every allocation is noted.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/internal/devca"
)

// cli is the command line.
type cli struct {
	Pairs       int     `default:"100" help:"Users who write, each to one who reads."`
	Outstanding int     `default:"8" help:"Messages of a pair that are on their way at once."`
	Messages    int     `default:"20000" help:"Messages that are counted."`
	Least       float64 `default:"0.02" help:"Leave out places with fewer allocations a message."`
}

const (
	name = "node.example"
	size = 200 // bytes of a message
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == serveArg {
		if err := serve(os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "allocs: node: %v\n", err)
			os.Exit(1)
		}
		return
	}
	var c cli
	kong.Parse(&c, kong.Description("Count what a node allocates for a message, place by place."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := c.run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "allocs: %v\n", err)
		os.Exit(1)
	}
}

func (c *cli) run(ctx context.Context, w io.Writer) error {
	message, err := c.count(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, place := range slices.SortedFunc(maps.Keys(message.Places), func(a, b string) int {
		return cmp.Or(cmp.Compare(message.Places[b], message.Places[a]), cmp.Compare(a, b))
	}) {
		if n := message.Places[place]; n >= c.Least {
			fmt.Fprintf(table, "%6.2f\t%s\n", n, place)
		}
	}
	fmt.Fprintf(table, "%6.2f\twhat shares the memory of another object\n", message.shared())
	fmt.Fprintf(table, "%6.2f\tall together\n", message.All)
	fmt.Fprintf(table, "%6.2f\tof these without the opening\n", message.beside())
	return table.Flush()
}

// count measures the allocations of one message.
func (c *cli) count(ctx context.Context) (_ *tally, err error) {
	dir, err := os.MkdirTemp("", "allocs")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ca, err := devca.Open(filepath.Join(dir, caFile))
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()

	o := bench.Options{
		Node:  bench.Node{URL: "wss://" + name, Connect: p.address, Accounts: filepath.Join(dir, "accounts")},
		Roots: ca.Pool(),
	}
	load := bench.Load{Pairs: c.Pairs, Outstanding: c.Outstanding, Size: size, Wait: true}
	after := func(messages int) (*tally, error) {
		load.Messages = messages
		report, err := bench.Pairs(ctx, o, load)
		if err != nil {
			return nil, err
		}
		if report.Mistakes.Any() {
			return nil, fmt.Errorf("the node makes mistakes: %v", &report.Mistakes)
		}
		return p.tally()
	}
	// The second load and the third differ by the messages that are counted: what their connections
	// cost is the same, and what a node does once has been done.
	few := max(c.Messages/4, c.Pairs)
	var tallies [3]*tally
	for i, messages := range []int{few, few, few + c.Messages} {
		if tallies[i], err = after(messages); err != nil {
			return nil, err
		}
	}
	message := tallies[2].less(tallies[1]).less(tallies[1].less(tallies[0]))
	message.divide(float64(c.Messages))
	message.Places[opening], err = openingOne()
	return message, err
}

// A process is the node's.
type process struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	address string
}

func start(ctx context.Context, dir string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, serveArg, dir)}
	p.cmd.Env = append(os.Environ(), "GODEBUG=memprofilerate=1")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	if err := p.out.Decode(&p.address); err != nil {
		return nil, errors.Join(fmt.Errorf("start the node: %w", err), p.end())
	}
	return p, nil
}

// tally asks what the node has allocated so far.
func (p *process) tally() (*tally, error) {
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		return nil, err
	}
	t := new(tally)
	return t, p.out.Decode(t)
}

func (p *process) end() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }
