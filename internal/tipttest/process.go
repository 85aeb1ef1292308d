package tipttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
)

// Build builds a program of this module into dir, with build tags or without, and returns its
// path. It is without the race detector even when the test has it, which makes SQLite
// 16 times slower.
func Build(dir, program string, tags ...string) (path string, err error) {
	build := exec.Command("go", "build", "-race=false", "-tags", strings.Join(tags, ","), "-o", dir,
		"github.com/tipt/tipt-go/cmd/"+program)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", program, err, out)
	}
	return filepath.Join(dir, program), nil
}

// A Daemon is what `tiptd serve` is started with, again and again on the same data.
type Daemon struct {
	Binary string // of tiptd
	Name   tipt.NodeName
	CA     *devca.CA
	Dir    string // holds what the following fields name
	Data   string
	Cert   string
	Key    string
	Root   string // certificate of CA

	// Listen is where it listens.
	Listen string
	// Flags are further ones.
	Flags []string
	// Args, where not nil, are the arguments in place of all that the fields above make.
	Args []string
	// Env is added to the test's environment, of which variables TIPT_… are not passed on.
	Env []string
	// Wrap is a command that runs it and becomes it, such as strace -D.
	Wrap []string
}

// NewDaemon makes a certificate for Name in a folder of the test. Nothing runs yet.
func NewDaemon(t testing.TB, binary string, flags ...string) *Daemon {
	t.Helper()
	d := NewDaemons(t, binary, Name)[0]
	d.Flags = flags
	return d
}

// NewDaemons makes certificates of one authority for nodes, each in a folder of the test.
func NewDaemons(t testing.TB, binary string, names ...tipt.NodeName) (daemons []*Daemon) {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		dir := t.TempDir()
		d := &Daemon{
			Binary: binary,
			Name:   name,
			CA:     ca,
			Dir:    dir,
			Data:   filepath.Join(dir, "data"),
			Cert:   filepath.Join(dir, "cert.pem"),
			Key:    filepath.Join(dir, "key.pem"),
			Root:   filepath.Join(dir, "ca.pem"),
			Listen: "127.0.0.1:0",
		}
		d.Renew(t)
		if err := os.WriteFile(d.Root, ca.CertPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		daemons = append(daemons, d)
	}
	return daemons
}

// Renew writes a new certificate and key in place of those that are there.
func (d *Daemon) Renew(t testing.TB) {
	t.Helper()
	cert, key, err := d.CA.Issue(string(d.Name))
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{d.Cert: cert, d.Key: key} {
		if err := os.WriteFile(file+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
}

// Env returns this process's environment without the variables TIPT_…, and
// with what is added.
func Env(added ...string) []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "TIPT_") {
			env = append(env, variable)
		}
	}
	return append(env, added...)
}

// Exec starts a process and does not wait for anything. The caller kills it.
func (d *Daemon) Exec() (*Process, error) {
	args := d.Args
	if args == nil {
		args = append([]string{
			"serve", "--node", string(d.Name), "--listen", d.Listen, "--data", d.Data, "--cert", d.Cert, "--key", d.Key,
			"--limits", "off", // those of load tests; Flags may switch them on again
		}, d.Flags...)
	}
	command := slices.Concat(d.Wrap, []string{d.Binary}, args)
	p := &Process{cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})}
	p.log.listening = make(chan string, 1)
	p.cmd.Env = Env(d.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tiptd: %w", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Launch is Exec with a process that the end of the test kills, and whose failures
// fail the test.
func (d *Daemon) Launch(t testing.TB) *Process {
	t.Helper()
	p, err := d.Exec()
	if err != nil {
		t.Fatal(err)
	}
	p.t = t
	t.Cleanup(p.Kill)
	return p
}

// Start starts a process and waits until it serves.
func (d *Daemon) Start(t testing.TB) *Process {
	t.Helper()
	p := d.Launch(t)
	p.Serving()
	return p
}

// A Process is a `tiptd serve` that runs or has run.
type Process struct {
	// Addr is where it listens, once Serving or Listening has returned.
	Addr string

	t    testing.TB // nil after Exec
	cmd  *exec.Cmd
	out  transcript
	log  transcript
	done chan struct{} // closed when it has ended
	err  error         // of Wait; to be read after done
}

// Listening waits for the line that says where it listens.
func (p *Process) Listening(ctx context.Context) error {
	select {
	case p.Addr = <-p.log.listening:
		return nil
	case <-p.done:
		return fmt.Errorf("tiptd ended at its start: %w\n%s", p.err, p.Log())
	case <-ctx.Done():
		return fmt.Errorf("tiptd does not say where it listens: %w\n%s", ctx.Err(), p.Log())
	}
}

// Serving is Listening for a test that does not go on without it.
func (p *Process) Serving() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Listening(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process with SIGKILL, if it has not ended, and returns once it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Signal sends it a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Terminate sends it SIGTERM.
func (p *Process) Terminate() {
	p.t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("terminate tiptd: %v", err)
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status is the exit status of a process that has ended.
func (p *Process) Status() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Wait waits until the process has ended, for what a drain may take at most, and returns
// its exit status.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(tipt.GoingAwayTimeout):
		p.t.Fatalf("tiptd has not ended after %v:\n%s", tipt.GoingAwayTimeout, p.Log())
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatalf("wait for tiptd: %v", p.err)
	}
	return p.Status()
}

// Stop ends the process in good order.
func (p *Process) Stop() {
	p.t.Helper()
	p.Terminate()
	if status := p.Wait(); status != 0 {
		p.t.Fatalf("tiptd ended with status %d after SIGTERM:\n%s", status, p.Log())
	}
}

// Output returns what it has printed to standard output.
func (p *Process) Output() string { return p.out.String() }

// Log returns what it has printed to standard error.
func (p *Process) Log() string { return p.log.String() }

// A transcript keeps what a process prints.
type transcript struct {
	listening chan string // gets the address it listens on; nil where it does not say

	mu   sync.Mutex // guards the following fields
	text bytes.Buffer
	line []byte // begun, not ended
}

func (w *transcript) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	w.line = append(w.line, b...)
	for {
		line, rest, ended := bytes.Cut(w.line, []byte("\n"))
		if !ended {
			return len(b), nil
		}
		if addr, ok := strings.CutPrefix(string(line), "listening on "); ok {
			w.listening <- addr // it says so once, on standard error
		}
		w.line = rest
	}
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
