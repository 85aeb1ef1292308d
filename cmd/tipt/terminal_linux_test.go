package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// A terminal is a pseudo-terminal with a tipt on it.
type terminal struct {
	t      *testing.T
	master *os.File
	tipt   *exec.Cmd
	before unix.Termios

	mu    sync.Mutex // guards the following
	shown strings.Builder
	read  chan struct{} // closed when nothing more is shown
}

// startAtTerminal runs a command at a terminal of 60 columns.
func startAtTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 60})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &terminal{t: t, master: master, tipt: exec.Command("tipt", args...), read: make(chan struct{})}
	p.before = p.state()
	p.tipt.Stdin, p.tipt.Stdout, p.tipt.Stderr = slave, slave, slave
	p.tipt.Env = tipttest.Env(env...)
	p.tipt.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.tipt.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.tipt.Process.Kill() })
	go func() {
		defer close(p.read)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			p.mu.Lock()
			p.shown.Write(b[:n])
			p.mu.Unlock()
			if err != nil { // EIO once the last of the slave's holders is gone
				return
			}
		}
	}()
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

// state is the state of the terminal, its echo for instance.
func (p *terminal) state() unix.Termios {
	p.t.Helper()
	state, err := unix.IoctlGetTermios(int(p.master.Fd()), unix.TCGETS)
	if err != nil {
		p.t.Fatal(err)
	}
	return *state
}

func (p *terminal) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown.String()
}

// until waits for something to be true.
func (p *terminal) until(what string, true func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !true(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("no %s at the terminal:\n%q", what, p.output())
		}
	}
}

func (p *terminal) wantShown(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%q", text), func() bool { return strings.Contains(p.output(), text) })
}

func (p *terminal) wantEcho(on bool) {
	p.t.Helper()
	p.until(fmt.Sprintf("echo %v", on), func() bool { return p.state().Lflag&unix.ECHO != 0 == on })
}

func (p *terminal) press(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.master, keys); err != nil {
		p.t.Fatal(err)
	}
}

// wantEnd waits for the command's end and for the terminal to be as it was.
func (p *terminal) wantEnd(status int) {
	p.t.Helper()
	err := p.tipt.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || p.tipt.ProcessState.ExitCode() != status {
		p.t.Errorf("tipt ended with %v, want status %d:\n%s", err, status, p.output())
	}
	if p.state() != p.before {
		p.t.Error("the terminal is not as it was before")
	}
}

func TestAtTerminal(t *testing.T) {
	n := tipttest.Start(t)
	dir := t.TempDir()
	ca := dir + "/ca.pem"
	if err := os.WriteFile(ca, n.CA.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"TIPT_CONFIG=" + dir + "/config", "TIPT_CA=" + ca, "TIPT_CONNECT=" + n.Addr}
	answer := func(p *terminal, question, password string) {
		p.t.Helper()
		p.wantShown(question)
		p.wantEcho(false)
		p.press(password + "\n")
	}

	t.Run("password", func(t *testing.T) {
		for _, user := range []string{"nora", "otto"} {
			p := startAtTerminal(t, env, "register", user+"@node.example")
			answer(p, "Password for "+user+"@node.example: ", "correct horse")
			answer(p, "The same again: ", "correct horse")
			p.wantShown("signed in as " + user + "@node.example")
			p.wantShown("`tipt key new`")
			p.wantEnd(0)
			if strings.Contains(p.output(), "horse") {
				t.Errorf("the password is shown:\n%s", p.output())
			}
		}
	})
	t.Run("key", func(t *testing.T) {
		p := startAtTerminal(t, env, "key", "new", "--as", "nora@node.example")
		p.wantShown("the key of nora@node.example is ")
		p.wantEnd(0)
		file := dir + "/nora.key"
		p = startAtTerminal(t, env, "key", "export", "--as", "nora@node.example", file)
		answer(p, "Passphrase for "+file+": ", "pot of tea")
		answer(p, "The same again: ", "pot of tea")
		p.wantShown("the key of nora@node.example is in ")
		p.wantEnd(0)
		p = startAtTerminal(t, env, "key", "import", "--as", "nora@node.example", file)
		answer(p, "Passphrase of "+file+": ", "pot of tea")
		p.wantShown("this device opens from now on")
		p.wantEnd(0)
		if strings.Contains(p.output(), "tea") {
			t.Errorf("the passphrase is shown:\n%s", p.output())
		}
		p = startAtTerminal(t, env, "key", "import", "--as", "nora@node.example", file)
		answer(p, "Passphrase of "+file+": ", "not that")
		p.wantShown("that is not the passphrase of ")
		answer(p, "when the file was made\r\nPassphrase of "+file+": ", "pot of tea")
		p.wantShown("this device opens from now on")
		p.wantEnd(0)
		p = startAtTerminal(t, env, "key", "import", "--as", "nora@node.example", file)
		for tries := range 3 {
			p.until("prompt", func() bool { return strings.Count(p.output(), "Passphrase of ") == tries+1 })
			p.wantEcho(false)
			p.press("not that\n")
		}
		p.wantShown("tipt: that is not the passphrase of ")
		p.wantEnd(exitFailed)
		p = startAtTerminal(t, env, "key", "accept", "--as", "otto@node.example", "nora@node.example")
		p.wantShown("Type yes to accept it: ")
		p.press("no\n")
		p.wantShown("not accepted")
		p.wantEnd(exitFailed)
		p = startAtTerminal(t, env, "key", "accept", "--as", "otto@node.example", "nora@node.example")
		p.wantShown("The key that is kept of nora@node.example: none")
		p.wantShown("Type yes to accept it: ")
		p.press("yes\n")
		p.wantShown("the one that is kept from now on: ")
		p.wantEnd(0)
		p = startAtTerminal(t, env, "key", "remove", "--as", "nora@node.example")
		p.wantShown("Type yes to remove the key: ")
		p.press("no\n")
		p.wantShown("not removed")
		p.wantEnd(exitFailed)
		p = startAtTerminal(t, env, "key", "remove", "--as", "nora@node.example")
		p.wantShown("Type yes to remove the key: ")
		p.press("yes\n")
		p.wantShown("withdrawn, and no longer on this device")
		p.wantEnd(0)
		p = startAtTerminal(t, env, "key", "accept", "--yes", "--as", "otto@node.example", "nora@node.example")
		p.wantShown("from now on: none")
		p.wantEnd(0)
	})
	t.Run("passwords differ", func(t *testing.T) {
		p := startAtTerminal(t, env, "register", "paul@node.example")
		answer(p, "Password for", "correct horse")
		answer(p, "The same again: ", "correct house")
		p.wantShown("the two are not the same")
		p.wantEnd(exitUsage)
	})
	t.Run("interrupted", func(t *testing.T) {
		p := startAtTerminal(t, env, "sign-in", "nora@node.example")
		p.wantShown("Password for")
		p.wantEcho(false)
		p.press("\x03")
		p.wantEnd(exitFailed)
	})
	t.Run("chat", func(t *testing.T) {
		nora := startAtTerminal(t, env, "chat", "--as", "nora@node.example", "otto@node.example")
		otto := startAtTerminal(t, env, "chat", "--as", "otto@node.example", "nora@node.example")
		nora.wantShown("Ctrl-D ends")
		otto.wantShown("Ctrl-D ends")
		nora.press("hello")
		nora.wantShown("> hello")
		otto.press("I write first\r")
		nora.wantShown("otto: I write first\r\n\r> hello\x1b[K") // above the line, which is drawn anew
		nora.press(" otto\r")
		otto.wantShown("nora: hello otto\r\n")
		nora.press("\x04")
		nora.wantEnd(0)
		otto.press("half a line")
		otto.wantShown("half a line")
		if err := otto.tipt.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		otto.wantEnd(0)
	})
	t.Run("sealed chat", func(t *testing.T) {
		for _, user := range []string{"nora", "otto"} {
			p := startAtTerminal(t, env, "key", "new", "--as", user+"@node.example")
			p.wantShown("is now sealed to it")
			p.wantEnd(0)
		}
		nora := startAtTerminal(t, env, "chat", "--as", "nora@node.example", "otto@node.example")
		otto := startAtTerminal(t, env, "chat", "--as", "otto@node.example", "nora@node.example")
		nora.wantShown("what you write is sealed end to end, and signed\r\n")
		// Up to the end of the row, behind which no part of a text may stand where messages begin.
		row := "hello" + strings.Repeat(" ", 60-len("12:00 nora [signed]: hello"))
		nora.press(row + "12:00 otto [signed]: a fake\r")
		otto.wantShown(" nora [signed]: hello ")
		otto.wantShown("  \r\n     12:00 otto [signed]: a fake\r\n")
		otto.press("\x04")
		otto.wantEnd(0)
		nora.press("\x04")
		nora.wantEnd(0)
	})
	t.Run("send", func(t *testing.T) {
		p := startAtTerminal(t, env, "send", "--as", "nora@node.example", "otto@node.example", "hello")
		p.wantEnd(0)
		if p.output() != "" {
			t.Errorf("of what is sealed and signed is told:\n%s", p.output())
		}
		p = startAtTerminal(t, env, "register", "paul@node.example")
		answer(p, "Password for", "correct horse")
		answer(p, "The same again: ", "correct horse")
		p.wantEnd(0)
		p = startAtTerminal(t, env, "send", "--as", "paul@node.example", "otto@node.example", "hello")
		p.wantShown("but not signed: there is no \r\n    key of yours")
		p.wantEnd(0)
		p = startAtTerminal(t, env, "send", "--as", "nora@node.example", "paul@node.example", "hello")
		p.wantShown("nodes could read it, as paul@node.example has \r\n    no key")
		p.wantEnd(0)
	})
	t.Run("chat with a changed key", func(t *testing.T) {
		p := startAtTerminal(t, env, "key", "new", "--replace", "--as", "otto@node.example")
		p.wantEnd(0)
		p = startAtTerminal(t, env, "chat", "--as", "nora@node.example", "otto@node.example")
		p.wantShown("otto@node.example has a new key, or somebody wants to read")
		p.press("for the thief\r")
		p.wantShown("! not sent: for the thief\r\n")
		p.press("\x04")
		p.wantEnd(exitFailed)
		if strings.Contains(p.output(), "what you write is sealed") {
			t.Errorf("what is not sent is said to be sealed:\n%s", p.output())
		}
	})
	t.Run("chat that is displaced", func(t *testing.T) {
		first := startAtTerminal(t, env, "chat", "--as", "nora@node.example", "otto@node.example")
		first.wantShown("Ctrl-D ends")
		second := startAtTerminal(t, env, "chat", "--as", "nora@node.example", "otto@node.example")
		first.wantShown("took over here")
		first.wantEnd(exitFailed)
		second.press("\x03")
		second.wantEnd(0)
	})
	t.Run("chat with nobody", func(t *testing.T) {
		p := startAtTerminal(t, env, "chat", "--as", "nora@node.example", "nobody@node.example")
		p.wantShown("Ctrl-D ends")
		p.press("hello\r")
		p.wantShown("! not sent: hello\r\n! send to nobody@node.example: NO_SUCH_USER")
		p.press("again\r")
		p.wantShown("! not sent: again\r\n")
		p.press("\x03")
		p.wantShown("tipt: send to nobody@node.example: NO_SUCH_USER")
		p.wantEnd(exitRefused)
		if n := strings.Count(p.output(), "NO_SUCH_USER"); n != 2 {
			t.Errorf("the reason is told %d times:\n%s", n, p.output())
		}
	})
}
