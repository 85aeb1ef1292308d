//go:build external

// Package shell_test runs the example script against two real nodes.
package shell_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/seal"
)

const (
	nodeA    tipt.NodeName = "a.example"
	nodeB    tipt.NodeName = "b.example"
	password               = "correct horse"
)

// A desk is where alice, a user of a, works, and bob is connected to b.
type desk struct {
	a, b *tipttest.Node
	bob  *tipttest.Conn
	tipt string // the program
	home string
	env  []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	nodes := tipttest.StartNetwork(t, []tipt.NodeName{nodeA, nodeB}, quiet)
	bin := t.TempDir()
	program, err := tipttest.Build(bin, "tipt")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{a: nodes[nodeA], b: nodes[nodeB], tipt: program, home: t.TempDir()}
	ca := filepath.Join(bin, "ca.pem")
	if err := os.WriteFile(ca, d.a.CA.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env = tipttest.Env("PATH="+bin+":"+os.Getenv("PATH"), "HOME="+d.home,
		"TIPT_CONFIG="+filepath.Join(bin, "config"), "TIPT_CA="+ca, "TIPT_CONNECT="+d.a.Addr)
	if stderr, status := d.run(t, program, "register", "alice@"+string(nodeA)); status != 0 {
		t.Fatalf("tipt register: exit status %d\n%s", status, stderr)
	}
	d.b.Register(t, "bob", password)
	d.signIn(t)
	return d
}

func quiet(c *node.Config) { c.Logger = slog.New(slog.DiscardHandler) }

func (d *desk) signIn(t *testing.T) {
	t.Helper()
	d.bob = d.b.Dial(t)
	d.bob.SignIn("bob", password)
}

// run runs a command as alice, at most a minute.
func (d *desk) run(t *testing.T, command string, args ...string) (stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Env = d.env
	cmd.Stdin = strings.NewReader(password + "\n")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", command, err)
	}
	return errs.String(), cmd.ProcessState.ExitCode()
}

// want waits for a message from alice and looks at all of it.
func (d *desk) want(t *testing.T, text string) {
	t.Helper()
	id, m := d.bob.WantDeliver()
	d.bob.Answer(id, nil)
	var content tipt.Content
	if err := content.Parse(m.Message); err != nil {
		t.Fatalf("content: %v", err)
	}
	if !bytes.Equal(m.Message, content.Append(nil)) {
		t.Error("the content is not in its smallest form")
	}
	if content.Type != tipt.ContentText || content.Text.Text != text {
		t.Errorf("received %d bytes beginning %.40q, want %d beginning %.40q", len(content.Text.Text), content.Text.Text, len(text), text)
	}
	if m.From != "alice@a.example" {
		t.Errorf("from %q", m.From)
	}
	if age := time.Since(content.Text.Time); age < -time.Second || age > time.Minute {
		t.Errorf("written %v ago", age)
	}
	if m.ID[6]>>4 != 7 || m.ID[8]>>6 != 2 {
		t.Errorf("id %v is no UUID of version 7", m.ID)
	}
}

// A user of a reaches a user of b with texts of all lengths that msgpack tells apart.
func TestSend(t *testing.T) {
	d := newDesk(t)
	for _, text := range []string{
		"Hello, Bob!",
		"",
		`-n 100% \n "$HOME" 'quoted' \0`,
		"grüß dich, 🐙\nauf zwei Zeilen\n",
		strings.Repeat("x", 31),
		strings.Repeat("x", 32),
		strings.Repeat("x", 200),
		strings.Repeat("x", 256),
		strings.Repeat("Zeile\n", 12_000),
	} {
		if stderr, status := d.run(t, "./send.sh", "bob@b.example", text); status != 0 || stderr != "" {
			t.Fatalf("send.sh with %d bytes: exit status %d\n%s", len(text), status, stderr)
		}
		d.want(t, text)
	}
	if left, err := os.ReadDir(d.home); err != nil || len(left) != 0 {
		t.Errorf("left in the person's home: %v, %v", left, err)
	}
}

// wrap puts a script before tipt, which it finds as $TIPT.
func (d *desk) wrap(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tipt"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	d.env = append(d.env, "TIPT="+d.tipt, "PATH="+dir+":"+os.Getenv("PATH"))
}

// The key that alice's node has of the other is not the one which that has now.
func TestSendToANewKey(t *testing.T) {
	d := newDesk(t)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(old, d.b.Certificate(), 0o600); err != nil {
		t.Fatal(err)
	}
	if stderr, status := d.run(t, "./send.sh", "bob@b.example", "one"); status != 0 {
		t.Fatalf("exit status %d\n%s", status, stderr)
	}
	d.bob.Hang() // without an answer to "one"
	d.b.Stop()
	key, err := seal.NewNodeKey(string(nodeB), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := node.SaveKey(d.b.Dir, key); err != nil {
		t.Fatal(err)
	}
	d.b.Again(t, quiet)
	d.a.Restart(t, quiet) // which fetches the key once a minute at most
	d.wrap(t, `[ "$1 $2" = "key b.example" ] && exec cat `+old+`
exec "$TIPT" "$@"
`)
	stderr, status := d.run(t, "./send.sh", "bob@b.example", "two")
	if status != 0 || !strings.Contains(stderr, "warning: the key of b.example has changed") {
		t.Fatalf("exit status %d, want 0 and a warning\n%s", status, stderr)
	}
	d.signIn(t)
	d.want(t, "one")
	d.want(t, "two")
}

// The answer is lost; what is sent again arrives once.
func TestSendWithUnknownOutcome(t *testing.T) {
	d := newDesk(t)
	lost := filepath.Join(t.TempDir(), "lost")
	d.wrap(t, `if [ "$1" = forward ] && [ ! -e `+lost+` ]; then
	"$TIPT" "$@" >`+lost+`
	exit 6
fi
exec "$TIPT" "$@"
`)
	if stderr, status := d.run(t, "./send.sh", "bob@b.example", "once"); status != 0 {
		t.Fatalf("exit status %d\n%s", status, stderr)
	}
	if answer, err := os.ReadFile(lost); err != nil || len(answer) == 0 {
		t.Errorf("nothing was lost: % x, %v", answer, err)
	}
	d.want(t, "once")
	d.bob.WantQuiet(1)
}

// What the other node says is shown as far as it is text, and no further than it goes.
func TestRefusedInWords(t *testing.T) {
	d := newDesk(t)
	for _, message := range []string{
		"", "no", strings.Repeat("x", 31), strings.Repeat("x", 32), strings.Repeat("x", 255), "a\x1b[2Jb\n",
	} {
		answer := tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrMailboxFull, Message: message, Wait: time.Minute}}
		file := filepath.Join(t.TempDir(), "answer")
		if err := os.WriteFile(file, answer.Append(nil), 0o600); err != nil {
			t.Fatal(err)
		}
		d.wrap(t, `[ "$1" = forward ] && exec cat `+file+`
exec "$TIPT" "$@"
`)
		want := "send.sh: b.example refuses: "
		if message != "" {
			want += strings.Map(func(r rune) rune {
				if r < ' ' {
					return '?'
				}
				return r
			}, message) + ": "
		}
		want += hex.EncodeToString(answer.Append(nil)) + "\n"
		if stderr, status := d.run(t, "./send.sh", "bob@b.example", "hello"); status != 5 || stderr != want {
			t.Errorf("exit status %d, standard error\n%q\nwant 5 and\n%q", status, stderr, want)
		}
	}
}

func TestRefused(t *testing.T) {
	d := newDesk(t)
	for _, tt := range []struct {
		name, to string
		status   int
		stderr   string
	}{
		{"no such user", "nobody@b.example", 5, "send.sh: b.example refuses: no user nobody here: 81a365727282a4636f646530"}, // NO_SUCH_USER
		{"no such node", "bob@c.example", 4, "tipt: get the key of c.example: NODE_UNREACHABLE"},
		{"no address", "bob", 2, "usage: send.sh"},
	} {
		stderr, status := d.run(t, "./send.sh", tt.to, "hello")
		if status != tt.status || !strings.HasPrefix(stderr, tt.stderr) {
			t.Errorf("%s: exit status %d, standard error\n%s\nwant %d and\n%s…", tt.name, status, stderr, tt.status, tt.stderr)
		}
	}
}
