//go:build external

// Package python_test runs the example client against a real node.
package python_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// python is the one that Debian's python3-websockets and python3-msgpack belong to.
const python = "/usr/bin/python3"

// A script runs tipt_client.py for users of one node.
type script struct {
	node *tipttest.Node
	ca   string // file
}

func newScript(t *testing.T) *script {
	s := &script{node: tipttest.Start(t), ca: filepath.Join(t.TempDir(), "ca.pem")}
	if err := os.WriteFile(s.ca, s.node.CA.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

const password = "correct horse"

// run runs one command to its end, at most a minute, and returns what it printed.
func (s *script) run(t *testing.T, password string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python,
		append([]string{"tipt_client.py", "--ca", s.ca, "--connect", s.node.Addr}, args...)...)
	cmd.Stdin = strings.NewReader(password + "\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// want runs a command that is to succeed and print just that.
func (s *script) want(t *testing.T, stdout string, args ...string) {
	t.Helper()
	got, errs, status := s.run(t, password, args...)
	if status != 0 || got != stdout {
		t.Fatalf("%v: exit status %d, printed\n%s\nwant 0 and\n%s\non standard error:\n%s", args, status, got, stdout, errs)
	}
}

func (s *script) send(t *testing.T, from, to, text string) {
	t.Helper()
	out, errs, status := s.run(t, password, "send", from, to, text)
	if status != 0 || !strings.HasPrefix(out, "sent ") {
		t.Fatalf("send to %s: exit status %d, printed\n%s\non standard error:\n%s", to, status, out, errs)
	}
}

const ada, bob = "ada@node.example", "bob@node.example"

// A client written from the description alone registers, signs in, forwards
// and receives: what came while it was away, and each message once.
func TestClient(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.want(t, "registered "+bob+"\n", "register", bob)

	s.send(t, ada, bob, "hello")
	s.send(t, ada, bob, "grüß dich, 🐙")
	s.want(t, ada+": hello\n"+ada+": grüß dich, 🐙\n", "listen", bob, "--count", "2")

	s.send(t, ada, bob, "are you there?")
	s.want(t, ada+": are you there?\n", "listen", bob, "--count", "1")
}

// A message that nobody can get comes back.
func TestReturn(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.send(t, ada, "nobody@node.example", "hello?")
	out, errs, status := s.run(t, password, "listen", ada, "--count", "1")
	// NO_SUCH_USER, section 6
	if want := "returned by node.example: {'err': {'code': 48"; status != 0 || !strings.HasPrefix(out, want) {
		t.Fatalf("exit status %d, printed\n%s\nwant 0 and\n%s…\non standard error:\n%s", status, out, want, errs)
	}
}

// A chat sends what it reads to the end, with the password in a variable or before it. The suite
// of package conform tests what else it does.
func TestChat(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.want(t, "registered "+bob+"\n", "register", bob)
	for _, tt := range []struct{ name, env, stdin string }{
		{"variable", "TIPT_PASS=" + password, "hello\nand again\n"},
		{"first line", "", password + "\nhello\nand again\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, python, "tipt_chat.py", ada, bob, "--ca", s.ca, "--connect", s.node.Addr)
			cmd.Env = tipttest.Env(tt.env)
			cmd.Stdin = strings.NewReader(tt.stdin)
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v, printed\n%s", err, out)
			}
			s.want(t, ada+": hello\n"+ada+": and again\n", "listen", bob, "--count", "2")
		})
	}
}

func TestRefused(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	for _, tt := range []struct {
		name     string
		password string
		args     []string
		stderr   string
	}{
		{"wrong password", "wrong horse", []string{"listen", ada}, "tipt_client: error 0x18 "},
		{"name taken", password, []string{"register", ada}, "tipt_client: error 0x10 "},
		{"another name than the certificate's", password, []string{"listen", "ada@other.example"}, "tipt_client: other.example: [SSL: CERTIFICATE_VERIFY_FAILED]"},
		{"no such file", password, []string{"--ca", "absent.pem", "listen", ada}, "the root certificate absent.pem: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, status := s.run(t, tt.password, tt.args...)
			if status != 1 || !strings.HasPrefix(stderr, tt.stderr) {
				t.Errorf("exit status %d, standard error\n%s\nwant 1 and\n%s…", status, stderr, tt.stderr)
			}
		})
	}
}

// What is no address, and a module that is not there, is said in words.
func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"no address", []string{python, "tipt_client.py", "listen", "ada"}, "'ada' is no address such as ada@node.example\n"},
		{"no recipient", []string{python, "tipt_chat.py", ada, "@node.example"}, "'@node.example' is no address such as ada@node.example\n"},
		{"no port", []string{python, "tipt_client.py", "--connect", "localhost", "listen", ada}, "'localhost' is no HOST:PORT\n"},
		// Without the folders of packages.
		{"no module", []string{python, "-S", "tipt_chat.py", ada, bob}, "No module named 'msgpack'; Debian has it in python3-msgpack or python3-websockets\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), tt.args[0], tt.args[1:]...)
			cmd.Env = tipttest.Env()
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.Success() || !strings.HasSuffix(string(out), tt.stderr) || strings.Contains(string(out), "Traceback") {
				t.Errorf("%v, printed\n%s\nwant its end to be\n%s", err, out, tt.stderr)
			}
		})
	}
}
