//go:build external

// Package python_test runs the example client against a real node.
package python_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/seal"
)

// python is the one that Debian's python3-websockets and the like belong to.
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

// signIn signs in another client, until the end of the test.
func (s *script) signIn(t *testing.T, address string) *client.Client {
	t.Helper()
	block, _ := pem.Decode(s.node.CA.CertPEM())
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), s.node.Name, &client.Options{RootCAs: []*x509.Certificate{root}, Connect: s.node.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	user, _, _ := strings.Cut(address, "@")
	if _, err := c.SignIn(t.Context(), client.Credentials{User: user, Password: password}); err != nil {
		t.Fatal(err)
	}
	return c
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
	c := s.signIn(t, ada)
	nobody := tipt.Address{User: "nobody", Node: "node.example"}
	if err := c.Send(t.Context(), client.Outgoing{To: nobody, Body: []byte("hello?"), Queue: true}); err != nil {
		t.Fatal(err)
	}
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
			if out, err := s.chat(ctx, tt.stdin, tt.env); err != nil || out != "" {
				t.Fatalf("%v, printed\n%s", err, out)
			}
			s.want(t, ada+": hello\n"+ada+": and again\n", "listen", bob, "--count", "2")
		})
	}
}

// A chat takes its lines from a file too, and from /dev/null, which cannot be waited for.
func TestChatFile(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.want(t, "registered "+bob+"\n", "register", bob)
	lines := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(lines, []byte(password+"\nhello\n\nand again"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, env, stdin string }{
		{"file", "", lines},
		{"nothing", "TIPT_PASS=" + password, os.DevNull},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stdin, err := os.Open(tt.stdin)
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		cmd := s.chatCommand(ctx, tt.env)
		cmd.Stdin = stdin
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%s: %v, printed\n%s", tt.name, err, out)
		}
	}
	s.want(t, ada+": hello\n"+ada+": and again\n", "listen", bob, "--count", "2")
}

// chatCommand is a chat of ada with bob.
func (s *script) chatCommand(ctx context.Context, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, python, "tipt_chat.py", ada, bob, "--ca", s.ca, "--connect", s.node.Addr)
	cmd.Env = tipttest.Env(env...)
	return cmd
}

// chat runs a chat of ada with bob and returns all that it prints.
func (s *script) chat(ctx context.Context, stdin string, env ...string) (string, error) {
	cmd := s.chatCommand(ctx, env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// What is sent to somebody who has a certificate is sealed to it, and shown as what it is where there is no key.
func TestSealed(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.want(t, "registered "+bob+"\n", "register", bob)
	key, err := seal.NewUserKey(bob, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := s.signIn(t, bob)
	if err := c.SetKey(t.Context(), key.Certificate()); err != nil {
		t.Fatal(err)
	}
	s.send(t, ada, bob, "by the one, 🐙")
	if out, err := s.chat(t.Context(), "by the other\n", "TIPT_PASS="+password); err != nil || out != "" {
		t.Fatalf("chat: %v, printed\n%s", err, out)
	}

	out, errs, status := s.run(t, password, "listen", bob, "--count", "2")
	want := regexp.MustCompile(`^(ada@node\.example: \(sealed: \d+ bytes, and there is no key here to open them\)\n){2}$`)
	if status != 0 || !want.MatchString(out) {
		t.Errorf("listen: exit status %d, printed\n%s\nwant %v\non standard error:\n%s", status, out, want, errs)
	}

	letters := received(t, c)
	for _, want := range []string{"by the one, 🐙", "by the other"} {
		if got := opened(t, letters, key); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Once the recipient has another key nothing more is sent, which is said, and a chat that starts anew seals to that.
func TestChatKeyReplaced(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.want(t, "registered "+bob+"\n", "register", bob)
	c := s.signIn(t, bob)
	letters := received(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := s.chatCommand(ctx, "TIPT_PASS="+password)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	replace := func() *seal.UserKey {
		t.Helper()
		key, err := seal.NewUserKey(bob, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetKey(t.Context(), key.Certificate()); err != nil {
			t.Fatal(err)
		}
		return key
	}
	write := func(text string) {
		t.Helper()
		if _, err := io.WriteString(stdin, text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	first := replace()
	write("to the first")
	if got := opened(t, letters, first); got != "to the first" {
		t.Errorf("got %q", got)
	}
	second := replace()
	write("to nobody")
	write("nor this")
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	why := `the key of bob@node\.example has changed from [0-9A-F]{40} to [0-9A-F]{40}; ask bob@node\.example by another way, and start anew to accept that\n`
	if want := regexp.MustCompile("^not sent: 'to nobody': " + why + "not sent: 'nor this': " + why + "$"); err != nil || !want.Match(out.Bytes()) {
		t.Errorf("%v, printed\n%s\nwant %v", err, out.Bytes(), want)
	}
	if out, err := s.chat(ctx, "to the second\n", "TIPT_PASS="+password); err != nil || out != "" {
		t.Errorf("%v, printed\n%s", err, out)
	}
	if got := opened(t, letters, second); got != "to the second" {
		t.Errorf("got %q", got)
	}
}

// Of a line that is too long nothing is sent, from a pipe or a file, and those behind it are.
func TestChatLongLine(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.want(t, "registered "+bob+"\n", "register", bob)
	stdin := strings.Repeat("x", 4_500_000) + "\nhello\n" + strings.Repeat("y", 2_000_001) + "\nand again\n"
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(stdin), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"pipe", "file"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := s.chatCommand(ctx, "TIPT_PASS="+password)
		cmd.Stdin = strings.NewReader(stdin)
		if from == "file" {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd.Stdin = f
		}
		out, err := cmd.CombinedOutput()
		if want := strings.Repeat("not sent: a line of more than 2000000 bytes\n", 2); err != nil || string(out) != want {
			t.Errorf("%s: %v, printed\n%.1000s\nwant\n%s", from, err, out, want)
		}
		s.want(t, ada+": hello\n"+ada+": and again\n", "listen", bob, "--count", "2")
	}
}

// received are the bodies of what comes until the end of the test.
func received(t *testing.T, c *client.Client) <-chan []byte {
	bodies, done := make(chan []byte), make(chan struct{})
	go func() {
		defer close(done)
		err := c.Receive(t.Context(), func(ctx context.Context, m client.Message) error {
			select {
			case bodies <- m.Body:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("receive: %v", err)
		}
	}()
	t.Cleanup(func() { <-done })
	return bodies
}

// opened takes the next body and returns the text that is sealed to the key.
func opened(t *testing.T, bodies <-chan []byte, key *seal.UserKey) string {
	t.Helper()
	var outside, inside tipt.Content
	select {
	case body := <-bodies:
		if err := outside.Parse(body); err != nil || outside.Type != tipt.ContentSealed {
			t.Fatalf("came as %v, %v", outside.Type, err)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
	}
	opened, err := key.Open(outside.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	if err := inside.Parse(opened.Plaintext); err != nil || inside.Type != tipt.ContentText {
		t.Fatalf("holds %v, %v", inside.Type, err)
	}
	return inside.Text.Text
}

// What gpg cannot seal is not sent, and said in a line.
func TestGpgFails(t *testing.T) {
	s := newScript(t)
	s.want(t, "registered "+ada+"\n", "register", ada)
	s.want(t, "registered "+bob+"\n", "register", bob)
	dir := t.TempDir()
	gpg := func(args ...string) []byte {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "gpg", append([]string{"--homedir", dir, "--batch", "--quiet", "--passphrase", ""}, args...)...).Output()
		if err != nil {
			t.Fatalf("gpg %v: %v", args, err)
		}
		return out
	}
	gpg("--quick-generate-key", bob, "ed25519", "cert")                                        // which nobody can encrypt to
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", dir, "--kill", "all").Run() }) // its agent
	if err := s.signIn(t, bob).SetKey(t.Context(), gpg("--export", bob)); err != nil {
		t.Fatal(err)
	}

	_, errs, status := s.run(t, password, "send", ada, bob, "hello")
	if status != 1 || !regexp.MustCompile(`^tipt_client: gpg: .*[uU]nusable public key.*\n$`).MatchString(errs) {
		t.Errorf("send: exit status %d, standard error\n%s", status, errs)
	}
	out, err := s.chat(t.Context(), "hello\nand again\n", "TIPT_PASS="+password)
	if err != nil || !regexp.MustCompile(`^not sent: 'hello': gpg: .*\nnot sent: 'and again': gpg: .*\n$`).MatchString(out) {
		t.Errorf("chat: %v, printed\n%s", err, out)
	}
	without := t.TempDir() + "/python3"
	if err := os.Symlink(python, without); err != nil {
		t.Fatal(err)
	}
	out, err = s.chat(t.Context(), "hello\n", "TIPT_PASS="+password, "PATH="+filepath.Dir(without))
	if err != nil || out != "not sent: 'hello': gpg cannot be run: No such file or directory\n" {
		t.Errorf("chat without gpg: %v, printed\n%s", err, out)
	}
	s.want(t, "", "listen", bob, "--count", "0")
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
		{"no module", []string{python, "-S", "tipt_chat.py", ada, bob}, "No module named 'msgpack'; Debian has it in python3-msgpack, -websockets or -cryptography\n"},
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
