package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/bench/internal/process"
)

// A subject is what is measured: the node, or the floor.
type subject struct {
	name  string
	start func(l *lab, ctx context.Context, one benchCase) (*group, error)
}

var theNode = subject{"node", (*lab).startNodes}

// figures are those of some runs, by the name of the subject and that of the figure.
type figures map[string]map[string][]float64

// measure measures one case and prints a table. It returns in how many runs there were mistakes.
func (l *lab) measure(ctx context.Context, one benchCase) (wrong int, err error) {
	subjects := []subject{theNode}
	if !one.noFloor && !l.OnlyNode {
		subjects = append(subjects, subject{"floor", (*lab).startFloors})
	}
	all, wrong, err := l.runs(ctx, one, subjects)
	if err != nil {
		return wrong, err
	}
	printTable(l.out, one, subjects, all)
	if !l.Perf {
		return wrong, nil
	}
	var columns []column
	for _, s := range subjects {
		file := l.path(fmt.Sprintf("%s-%s.perf", one.file(), s.name))
		report, err := l.once(ctx, one, s, file)
		if err != nil {
			return wrong, err
		}
		of, err := readProfile(ctx, file, s.name, report.Spans)
		if err != nil {
			return wrong, err
		}
		columns = append(columns, of...)
	}
	printProfile(l.out, columns)
	return wrong, nil
}

// runs runs one case with the subjects in turn, and prints what is wrong.
func (l *lab) runs(ctx context.Context, one benchCase, subjects []subject) (all figures, wrong int, err error) {
	all = make(figures)
	runs := l.Runs * max(one.times, 1)
	for run := range runs {
		for _, s := range subjects {
			fmt.Fprintf(l.progress, "%s, run %d of %d: %s\n", one.kind, run+1, runs, s.name)
			report, err := l.once(ctx, one, s, "")
			if err != nil {
				return nil, wrong, err
			}
			if report.Mistakes.Any() {
				wrong++
				fmt.Fprintf(l.out, "MISTAKES of the %s: %v\n%s\n", s.name, &report.Mistakes, strings.Join(report.Mistakes.Examples, "\n"))
			}
			if len(report.Broken) > 0 {
				wrong++
				fmt.Fprintf(l.out, "BROKEN by the %s: %s\n", s.name, strings.Join(report.Broken, "\n"))
			}
			if all[s.name] == nil {
				all[s.name] = make(map[string][]float64)
			}
			for _, f := range report.Figures {
				all[s.name][f.Name] = append(all[s.name][f.Name], f.Value)
			}
		}
	}
	return all, wrong, nil
}

// printTable prints a table of medians, with the least and the greatest behind them.
func printTable(w io.Writer, one benchCase, subjects []subject, all figures) {
	fmt.Fprintf(w, "### %s\n\n|", one.name)
	for _, s := range subjects {
		fmt.Fprintf(w, " | %s", s.name)
	}
	if len(subjects) == 2 {
		fmt.Fprint(w, " | ratio")
	}
	fmt.Fprintf(w, " |\n|%s\n", strings.Repeat("---|", 1+len(subjects)+len(subjects)/2))
	for _, name := range one.figures {
		fmt.Fprintf(w, "| %s", strings.ReplaceAll(name, "_", " "))
		var medians []float64
		for _, s := range subjects {
			values := all[s.name][name]
			if len(values) == 0 {
				fmt.Fprint(w, " |")
				continue
			}
			medians = append(medians, median(values))
			fmt.Fprintf(w, " | %s (%s–%s)", short(median(values)), short(slices.Min(values)), short(slices.Max(values)))
		}
		if len(subjects) == 2 {
			if len(medians) == 2 && medians[1] != 0 {
				fmt.Fprintf(w, " | %.2f", medians[0]/medians[1])
			} else {
				fmt.Fprint(w, " |")
			}
		}
		fmt.Fprintln(w, " |")
	}
	fmt.Fprintln(w)
}

// short is a figure with three digits, or those before the point.
func short(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// once starts a subject, puts it under the load, and stops it. With profile it is run under perf.
func (l *lab) once(ctx context.Context, one benchCase, s subject, profile string) (_ *bench.Report, err error) {
	g, err := s.start(l, ctx, one)
	defer func() { err = errors.Join(err, g.stop()) }()
	if err != nil {
		return nil, err
	}
	args := []string{
		"-c", l.GeneratorCPU, l.path("bin", "tipt"), "bench", one.load[0], "wss://" + names[0],
		"--ca", l.path("ca.pem"), "--connect", g.processes[0].address, "--accounts", l.path(names[0] + ".accounts"), "--format", "json",
	}
	args = append(args, one.load[1:]...)
	for _, p := range g.processes {
		args = append(args, fmt.Sprint("--pid=", p.cmd.Process.Pid))
	}
	if one.across {
		args = append(args, "--to", "wss://"+names[1], "--to-connect", g.processes[1].address, "--to-accounts", l.path(names[1]+".accounts"))
	}
	if one.load[0] == "idle" || one.load[0] == "abuse" {
		args = append(args, "--gc", fmt.Sprintf("'%s' gc --data '%s'", l.path("bin", "tiptd"), l.path(names[0])))
	}
	if profile != "" {
		recording, err := record(g, profile)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, recording()) }()
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "taskset", args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "GOGC=400") // there is memory enough, and the time is not the node's
	// Mistakes make it fail, too, and have a report.
	if err := cmd.Run(); err != nil && out.Len() == 0 {
		return nil, fmt.Errorf("tipt bench: %w\n%s%s", err, errs.String(), g.logs())
	}
	report := new(bench.Report)
	if err := json.Unmarshal(out.Bytes(), report); err != nil {
		return nil, fmt.Errorf("read the report: %w\n%s", err, out.String())
	}
	return report, nil
}

// record has perf watch the processes, and those that they have started, until the function it returns
// is called.
func record(g *group, file string) (stop func() error, err error) {
	var pids []string
	for _, p := range g.processes {
		started, err := process.Children(p.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		for _, pid := range append(started, p.cmd.Process.Pid) {
			pids = append(pids, fmt.Sprint(pid))
		}
	}
	cmd := exec.Command("perf", "record", "-q", "-g", "-F", "999", "-k", "CLOCK_MONOTONIC", "-o", file, "-p", strings.Join(pids, ","))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		err := cmd.Process.Signal(syscall.SIGINT)
		var exit *exec.ExitError
		if werr := cmd.Wait(); !errors.As(werr, &exit) { // of the signal
			err = errors.Join(err, werr)
		}
		return err
	}, nil
}

// fill makes the data of the nodes anew, for some cases.
func (l *lab) fill(ctx context.Context, cases ...benchCase) error {
	n, across := l.Accounts, false
	for _, one := range cases {
		n, across = max(n, one.accounts), across || one.across
	}
	n += l.Stored / 1000 // theirs are the last of the file, which no case takes
	first, second := names[0], names[1]
	for _, name := range names {
		if err := os.RemoveAll(l.path(name)); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, l.path("bin", "fill"), "--data", l.path(first), "--file", l.path(first+".accounts"),
		fmt.Sprint("--accounts=", n), fmt.Sprint("--messages=", l.Stored), fmt.Sprint("--outbox=", l.Outbox)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fill the store: %w\n%s", err, out)
	}
	if !across {
		return nil
	}
	// Nothing in it tells yet whose it is, and to copy it is faster.
	if err := os.Mkdir(l.path(second), 0o700); err != nil {
		return err
	}
	if err := os.CopyFS(l.path(second), os.DirFS(l.path(first))); err != nil {
		return fmt.Errorf("copy the store: %w", err)
	}
	accounts, err := os.ReadFile(l.path(first + ".accounts"))
	if err != nil {
		return err
	}
	return os.WriteFile(l.path(second+".accounts"), accounts, 0o600)
}

// A group is the processes that are measured together.
type group struct{ processes []*program }

// A program is a node or a floor that runs.
type program struct {
	cmd     *exec.Cmd
	address string
	log     *os.File
}

// addresses are where its nodes listen, on free ports: those of two have to be known before they start.
func (one benchCase) addresses() ([]string, error) {
	if one.across {
		return free(2)
	}
	return []string{"127.0.0.1:0"}, nil
}

// startNodes starts the node, or both.
func (l *lab) startNodes(ctx context.Context, one benchCase) (*group, error) {
	g := new(group)
	addresses, err := one.addresses()
	if err != nil {
		return g, err
	}
	for i, name := range names[:len(addresses)] {
		args := []string{"serve", "--max-connections", "20000"}
		if !one.limited {
			args = append(args, "--limits", "off")
		}
		if one.across {
			other := 1 - i
			args = append(args, "--resolve", names[other]+"="+addresses[other], "--root-ca", l.path("ca.pem"))
		}
		if err := l.start(ctx, g, "tiptd", name, append(args, "--listen", addresses[i], "--data", l.path(name))); err != nil {
			return g, err
		}
	}
	return g, nil
}

// startFloors starts the floor, or both, with empty databases.
func (l *lab) startFloors(ctx context.Context, one benchCase) (*group, error) {
	g := new(group)
	addresses, err := one.addresses()
	if err != nil {
		return g, err
	}
	for i, name := range names[:len(addresses)] {
		data := l.path("floor-" + name)
		if err := os.RemoveAll(data); err != nil {
			return g, err
		}
		args := slices.Concat([]string{"--listen", "127.0.0.1:0", "--data", data}, one.floorFlags)
		if one.across {
			other := 1 - i
			args = append(args, "--peer-listen", addresses[i], "--peer", names[other]+"="+addresses[other], "--ca", l.path("ca.pem"))
		}
		if err := l.start(ctx, g, "floor", name, args); err != nil {
			return g, err
		}
	}
	return g, nil
}

// start starts a program for a node's name and waits until it listens.
func (l *lab) start(ctx context.Context, g *group, executable, name string, args []string) error {
	log, err := os.Create(l.path(executable + "-" + name + ".log"))
	if err != nil {
		return err
	}
	p := &program{log: log}
	p.cmd = exec.Command("taskset", slices.Concat([]string{"-c", l.NodeCPU, l.path("bin", executable)}, args,
		[]string{"--node", name, "--cert", l.path(name + ".pem"), "--key", l.path(name + ".key")})...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	g.processes = append(g.processes, p)
	const says = "listening on "
	for deadline := time.Now().Add(30 * time.Second); ; {
		b, err := os.ReadFile(log.Name())
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if address, ok := strings.CutPrefix(line, says); ok && strings.HasSuffix(line, "\n") {
				p.address = strings.TrimSpace(address)
				return nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s does not say where it listens\n%s", executable, b)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends the processes and waits for that.
func (g *group) stop() error {
	var errs []error
	for _, p := range g.processes {
		errs = append(errs, p.cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, p := range g.processes {
		errs = append(errs, p.cmd.Wait(), p.log.Close())
	}
	return errors.Join(errs...)
}

// logs is what the processes have said.
func (g *group) logs() string {
	var all strings.Builder
	for _, p := range g.processes {
		if b, err := os.ReadFile(p.log.Name()); err == nil {
			all.Write(b)
		}
	}
	return all.String()
}

// free returns n addresses at which nothing listens.
func free(n int) (addresses []string, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, listener.Close()) }()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}
