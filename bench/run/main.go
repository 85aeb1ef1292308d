// Command run makes the measurements of docs/performance.md: it starts a node, or the floor that
// it is compared with, on one processor and `tipt bench` on another, in turn and several times,
// and prints the medians beside each other. It needs Linux, Go, taskset and two processors on which
// nothing else happens.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tipt/tipt-go/internal/devca"
)

// cli is the command line.
type cli struct {
	Cases       []string `default:"${cases}" placeholder:"CASE,…" help:"What to measure: ${cases}; and, if named, ${abuses}."`
	Runs        int      `default:"5" placeholder:"N" help:"How often, for the median (${default})."`
	Connections []int    `default:"5000,15000" placeholder:"N,…" help:"Idle connections (${default})."`
	Messages    int      `default:"40000" placeholder:"N" help:"Messages of a case (${default}); a tenth of them where nodes forward."`
	Clients     int      `default:"2000" placeholder:"N" help:"Clients of a storm (${default})."`
	Accounts    int      `default:"1000" placeholder:"N" help:"Registered users, at least (${default}); a case has as many as it needs."`
	Stored      int      `placeholder:"N" help:"Messages that lie in mailboxes of others, 1,000 in each."`
	Outbox      int      `placeholder:"N" help:"Messages that wait for as many other nodes."`
	Abusers     int      `placeholder:"N" help:"Clients of each abuse, rather than 10,000, 1,000 or what else it needs."`
	OnlyNode    bool     `help:"Leave out the floor."`
	Growth      bool     `help:"Rather than the cases measure how the cost of a message and of a connection grows with what the node holds, in steps of ten."`

	NodeCPU      string `name:"node-cpu" default:"0" placeholder:"LIST" help:"Processors of the node and of the floor, as taskset has them (${default})."`
	GeneratorCPU string `name:"generator-cpu" default:"1" placeholder:"LIST" help:"Processors of the generator (${default})."`

	Dir  string `type:"path" placeholder:"DIR" help:"Where to put programs, data and results; by default a temporary folder, removed at the end. On the disk to be measured."`
	Perf bool   `help:"Afterwards run each case once more under perf, print where the time goes, and leave the profiles in --dir."`
}

func main() {
	var c cli
	cases, abuses := caseNames()
	kong.Parse(&c, kong.Vars{"cases": strings.Join(cases, ","), "abuses": strings.Join(abuses, ", ")},
		kong.Description("Measure a node and the floor that it is compared with, as docs/performance.md says."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "run: %v\n", err)
		os.Exit(1)
	}
}

// run prints tables to out, and what it is at to progress.
func (c *cli) run(ctx context.Context, out, progress io.Writer) (err error) {
	chosen, err := c.chosen()
	if err != nil {
		return err
	}
	if c.Dir == "" {
		if c.Perf {
			return errors.New("--perf leaves its profiles in --dir, which is not given")
		}
		if c.Dir, err = os.MkdirTemp("", "tipt-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
	}
	if err := warnOfMemory(progress, c.Dir); err != nil {
		return err
	}
	l := &lab{cli: c, out: out, progress: progress}
	if err := l.build(ctx); err != nil {
		return err
	}
	if err := l.certify(); err != nil {
		return err
	}
	fmt.Fprintln(out, conditions())
	if c.Growth {
		return l.grow(ctx)
	}
	// So much that it takes long serves for all cases.
	much := l.Stored > 1_000_000 || l.Accounts > 100_000
	if much {
		if err := l.fill(ctx, chosen...); err != nil {
			return err
		}
	}
	wrong := 0
	for _, measured := range chosen {
		if !much {
			if err := l.fill(ctx, measured); err != nil {
				return err
			}
		}
		n, err := l.measure(ctx, measured)
		if err != nil {
			return fmt.Errorf("%s: %w", measured.name, err)
		}
		wrong += n
	}
	return wrongTimes(wrong)
}

// wrongTimes is the error of so many runs in which something was wrong.
func wrongTimes(n int) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("messages were lost, doubled, out of order or refused, or bounds broken, %d times", n)
}

// chosen returns the cases to be measured, one for each number of idle connections.
func (c *cli) chosen() ([]benchCase, error) {
	if c.Runs < 1 {
		return nil, fmt.Errorf("%d runs, at least 1 is needed", c.Runs)
	}
	all := c.allCases()
	var chosen []benchCase
	for _, name := range c.Cases {
		found := false
		for _, one := range all {
			if one.kind == name {
				chosen, found = append(chosen, one), true
			}
		}
		if !found {
			cases, abuses := caseNames()
			return nil, fmt.Errorf("there is no case %q; there are %s", name, strings.Join(slices.Concat(cases, abuses), ", "))
		}
	}
	return chosen, nil
}

// A lab is where it is measured.
type lab struct {
	*cli
	out, progress io.Writer
}

// path is a file of the lab.
func (l *lab) path(elem ...string) string { return filepath.Join(append([]string{l.Dir}, elem...)...) }

// build builds the programs.
func (l *lab) build(ctx context.Context) error {
	const module = "github.com/tipt/tipt-go/"
	if err := os.MkdirAll(l.path("bin"), 0o700); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "build", "-o", l.path("bin")+string(filepath.Separator),
		module+"cmd/tipt", module+"cmd/tiptd", module+"bench/floor", module+"bench/fill").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// names are those of the two nodes; but for forwarding there is only the first.
var names = []string{"a.example", "b.example"}

// certify makes certificates for the nodes.
func (l *lab) certify() error {
	ca, err := devca.New()
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca.pem": ca.CertPEM()}
	for _, name := range names {
		if files[name+".pem"], files[name+".key"], err = ca.Issue(name); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(l.path(name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// tmpfs is the f_type of a file system in memory.
const tmpfs = 0x01021994

// warnOfMemory says when what is stored in a folder goes to no disk.
func warnOfMemory(progress io.Writer, dir string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	if st.Type == tmpfs {
		fmt.Fprintf(progress, "warning: %s is in memory (tmpfs): what is durable costs nothing there; name a folder on a disk with --dir\n", dir)
	}
	return nil
}

// conditions says where and with what it is measured, as far as this machine tells.
func conditions() string {
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			return "?"
		}
		return strings.TrimSpace(string(b))
	}
	model := "?"
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			model = strings.TrimSpace(value)
		}
	}
	version, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		version = []byte("?")
	}
	return fmt.Sprintf("%s, %s, Linux %s, load average before %s\n", model, strings.TrimSpace(string(version)),
		read("/proc/sys/kernel/osrelease"), strings.Join(strings.Fields(read("/proc/loadavg"))[:1], ""))
}

// median returns the middle one of some values, the mean of the two where there are two.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
