package main_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// A demo needs nothing, shows a conversation and leaves nothing behind.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	cmd := command(t, "demo")
	cmd.Env = tipttest.Env("TMPDIR="+dir, "HOME="+dir, "XDG_CACHE_HOME=", "XDG_CONFIG_HOME=")
	out, errs, status := runCommand(t, cmd)
	if status != 0 || errs != "" {
		t.Fatalf("exit status %d, printed\n%s\non standard error:\n%s", status, out, errs)
	}
	// The packets of a conversation in their order, then what it is all about.
	rest := out
	for _, want := range []string{
		"HANDSHAKE", "REGISTER", "SIGN_IN", // bob comes and goes
		"HANDSHAKE", "REGISTER", "SIGN_IN", "GET_NODE_KEY", // alice writes; each hop is shown
		"→ one.localhost", "GET /api/public_key → 200",
		"FORWARD",
		"→ two.localhost", "GET /api/public_key → 200",
		"→ one.localhost", "POST /api/forward → 200", "vouched for: alice@two.localhost\n",
		"HANDSHAKE", "SIGN_IN", "DELIVER", // bob comes back
		"Hello, Bob!",
	} {
		at := strings.Index(rest, want)
		if at < 0 {
			t.Fatalf("%q is not where it belongs in\n%s", want, out)
		}
		rest = rest[at+len(want):]
	}
	for _, secret := range []string{"bob-likes-tea", "alice-likes-jam"} {
		if strings.Contains(out, secret) {
			t.Errorf("the password %s is shown", secret)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s is left behind", entry.Name())
	}
}

// A terminal is where somebody pastes commands.
type terminal struct {
	cmd *exec.Cmd
	end func() // ends the commands, with all that they have started

	mu   sync.Mutex // guards the following field
	text bytes.Buffer
}

func (w *terminal) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *terminal) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// paste has a shell run commands, in which the program tipt is found in bin.
func paste(t *testing.T, commands, bin, home string) *terminal {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	w := &terminal{cmd: exec.CommandContext(ctx, "sh", "-e"), end: cancel}
	t.Cleanup(cancel)
	w.cmd.Stdin = strings.NewReader(commands)
	w.cmd.Stdout, w.cmd.Stderr = w, w
	w.cmd.Env = tipttest.Env("PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home, "XDG_CONFIG_HOME=")
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w.cmd.Cancel = func() error { return syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL) }
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

// `tiptd dev` needs nothing either, and what it prints does what it says.
func TestDev(t *testing.T) {
	t.Run("one node", func(t *testing.T) { testDev(t, "bob@tipt.localhost", "alice@tipt.localhost") })
	t.Run("two nodes", func(t *testing.T) { testDev(t, "bob@one.localhost", "alice@two.localhost", "--nodes", "2") })
	if _, errs, status := run(t, "dev", "--nodes", "3"); status != 1 || !strings.Contains(errs, "--nodes: 3; write 1 or 2") {
		t.Errorf("three nodes: exit status %d\n%s", status, errs)
	}
}

func testDev(t *testing.T, bobIs, aliceIs string, flags ...string) {
	bin := t.TempDir()
	if _, err := tipttest.Build(bin, "tipt"); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	d := &tipttest.Daemon{
		Binary: tiptd,
		Args:   append([]string{"dev", "--listen", "127.0.0.1:0"}, flags...),
		Env:    []string{"HOME=" + home, "XDG_CACHE_HOME="},
	}
	for _, verb := range []string{"register", "sign-in"} { // the second time they are known
		p := d.Start(t)
		until(t, "the commands are printed", func() bool { return strings.Contains(p.Output(), "'Hello, Bob!'\n") })
		blocks := indented(p.Output())
		if len(blocks) != 2 {
			t.Fatalf("want commands for two terminals, got %d:\n%s", len(blocks), p.Output())
		}
		for i, name := range []string{bobIs, aliceIs} {
			if !strings.Contains(blocks[i], " tipt "+verb+" "+name+"\n") {
				t.Errorf("no %s as %s in\n%s", verb, name, blocks[i])
			}
			if here := strings.Contains(blocks[i], "="+p.Addr+"\n"); here != (i == 0 || flags == nil) {
				t.Errorf("at %s: %t\n%s", p.Addr, here, blocks[i])
			}
		}
		bob := paste(t, blocks[0], bin, home)
		until(t, "bob is known", func() bool { return strings.Contains(bob.String(), "bob@") })
		alice := paste(t, blocks[1], bin, home)
		if err := alice.cmd.Wait(); err != nil {
			t.Errorf("alice's commands: %v\n%s", err, alice)
		}
		until(t, "the message arrives", func() bool { return strings.Contains(bob.String(), aliceIs+": Hello, Bob!") })
		bob.end()
		if err := bob.cmd.Wait(); err == nil {
			t.Errorf("bob stopped listening by himself:\n%s", bob)
		}
		p.Stop()
	}
	if _, err := os.Stat(filepath.Join(home, ".cache", "tipt")); err != nil {
		t.Errorf("the data is not in the cache folder: %v", err)
	}
}

// A port that was asked for is taken or nothing; another one than the usual is kept.
func TestDevPort(t *testing.T) {
	usual, err := net.Listen("tcp", "127.0.0.1:7443")
	if err == nil {
		defer usual.Close()
	} else if !errors.Is(err, syscall.EADDRINUSE) { // else somebody else has it, which does as well
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	data := filepath.Join(t.TempDir(), "data")
	_, errs, status := run(t, "dev", "--data", data, "--listen", taken.Addr().String())
	if want := "tiptd: listen on " + taken.Addr().String() + ": another program listens there already"; status != 1 || !strings.HasPrefix(errs, want) {
		t.Errorf("a port that is taken: exit status %d, want 1 and %s\n%s", status, want, errs)
	}

	for _, nodes := range []string{"1", "2"} {
		d := &tipttest.Daemon{Binary: tiptd, Args: []string{"dev", "--nodes", nodes, "--data", data + nodes}}
		first := d.Start(t)
		until(t, "the commands are printed", func() bool { return strings.Contains(first.Output(), "'Hello, Bob!'\n") })
		_, port, err := net.SplitHostPort(first.Addr)
		if err != nil {
			t.Fatal(err)
		}
		want := "127.0.0.1:7443 is taken by another program; this data folder has port " + port + " from now on\n"
		if port == "7443" {
			t.Errorf("on %s, want another than the usual port", first.Addr)
		}
		until(t, "it is said that the port is taken", func() bool { return strings.Contains(first.Log(), want) })
		// Somebody who starts it once more does not move what runs.
		if _, errs, status := run(t, append(d.Args, "--listen", "127.0.0.1:0")...); status != 1 || !strings.Contains(errs, "in use by process") {
			t.Errorf("a second one on the folder: exit status %d\n%s", status, errs)
		}
		if _, errs, status := run(t, d.Args...); status != 1 || !strings.Contains(errs, "in use by process") {
			t.Errorf("a second one on the folder: exit status %d\n%s", status, errs)
		}
		first.Stop()
		second := d.Start(t)
		until(t, "the commands are printed", func() bool { return strings.Contains(second.Output(), "'Hello, Bob!'\n") })
		if second.Addr != first.Addr || strings.Contains(second.Log(), "is taken") {
			t.Errorf("on %s at first, then on %s:\n%s", first.Addr, second.Addr, second.Log())
		}
		second.Stop()
	}
}

// A node to play with that other machines can reach says so, and is used from this one all
// the same.
func TestDevExposed(t *testing.T) {
	for listen, exposed := range map[string]bool{":0": true, "0.0.0.0:0": true, "127.0.0.1:0": false} {
		d := &tipttest.Daemon{Binary: tiptd, Args: []string{"dev", "--data", filepath.Join(t.TempDir(), "data"), "--listen", listen}}
		p := d.Start(t)
		until(t, "the commands are printed", func() bool { return strings.Contains(p.Output(), "'Hello, Bob!'\n") })
		if told := strings.Contains(p.Log(), "level=WARN msg=\"other machines reach this node"); told != exposed {
			t.Errorf("--listen %s: told of it: %t, want %t\n%s", listen, told, exposed, p.Log())
		}
		_, port, err := net.SplitHostPort(p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if want := " TIPT_CONNECT=127.0.0.1:" + port + "\n"; strings.Count(p.Output(), want) != 2 {
			t.Errorf("--listen %s: want%s twice in\n%s", listen, want, p.Output())
		}
		p.Stop()
	}
}

// What is printed to somebody who has started it with `go run` is in the README, and works
// in a new terminal, which is not in the module's folder.
func TestDevFromSource(t *testing.T) {
	home := t.TempDir()
	module, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(home, "go-build") // as go run has it
	if err := os.Mkdir(built, 0o700); err != nil {
		t.Fatal(err)
	}
	binary, err := tipttest.Build(built, "tiptd")
	if err != nil {
		t.Fatal(err)
	}
	d := &tipttest.Daemon{
		Binary: binary,
		Args:   []string{"dev", "--listen", "127.0.0.1:0"},
		Env:    []string{"HOME=" + home, "XDG_CACHE_HOME="},
	}
	p := d.Start(t)
	until(t, "the commands are printed", func() bool { return strings.Contains(p.Output(), "'Hello, Bob!'\n") })
	p.Stop()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sample := strings.NewReplacer(home, "~", module, "~/tipt-go", p.Addr, "127.0.0.1:7443").Replace(p.Output())
	if !strings.Contains(string(readme), "```\n"+strings.Trim(sample, "\n")+"\n```\n") {
		t.Errorf("README.md does not have\n%s", sample)
	}
}

// indented returns what is indented in a text, a block for each stretch of lines.
func indented(text string) (blocks []string) {
	in := false
	for line := range strings.Lines(text) {
		command, is := strings.CutPrefix(line, "  ")
		switch {
		case is && in:
			blocks[len(blocks)-1] += command
		case is:
			blocks = append(blocks, command)
		}
		in = is
	}
	return blocks
}
