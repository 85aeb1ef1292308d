package main_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// A pair is two nodes: ada is at home on one, bob on the other, which is not always there.
type pair struct {
	t         *testing.T
	here, far *tipttest.Daemon
	p, q      *tipttest.Process // of here and far
	key       *seal.Certificate // of far
	ada       *user
	returned  chan tipt.ReturnRequest // to ada
	delivered chan string             // to bob
}

func newNodes(t *testing.T, flags ...string) *pair {
	t.Helper()
	d := tipttest.NewDaemons(t, tiptd, "here.example", "far.example")
	n := &pair{
		t: t, here: d[0], far: d[1],
		returned: make(chan tipt.ReturnRequest, 10), delivered: make(chan string, 10),
	}
	open := []string{"--registration", "open", "--root-ca", n.far.Root}
	n.far.Flags = open
	n.q = n.far.Start(t)
	n.far.Listen = n.q.Addr // from now on
	n.here.Flags = append(append(open, "--resolve", "far.example="+n.q.Addr), flags...)
	n.p = n.here.Start(t)
	n.far.Flags = append(open, "--resolve", "here.example="+n.p.Addr)
	n.here.Listen = n.p.Addr
	register(t, n.here, n.p.Addr, "ada")
	register(t, n.far, n.q.Addr, "bob")
	n.key = n.bob().key
	n.q.Stop()
	n.enter()
	return n
}

// enter connects ada.
func (n *pair) enter() {
	n.t.Helper()
	n.ada = signIn(n.t, n.here, n.p.Addr, "ada", func(r *link.Request) {
		var back tipt.ReturnRequest
		if err := back.Parse(r.Body, r.Newer); err != nil {
			n.t.Errorf("RETURN: %v", err)
		}
		r.Reply(nil)
		n.returned <- back
	})
}

// bob connects bob.
func (n *pair) bob() *user {
	n.t.Helper()
	return signIn(n.t, n.far, n.q.Addr, "bob", func(r *link.Request) {
		var d tipt.DeliverRequest
		if err := d.Parse(r.Body, r.Newer); err != nil {
			n.t.Errorf("DELIVER: %v", err)
		}
		r.Reply(nil)
		n.delivered <- string(d.Message)
	})
}

// write has ada write to bob. The answer's error is a *tipt.Error where a node refuses.
func (n *pair) write(text string, wait bool) error {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	body, err := message(n.key, n.far.Name, "bob", tipt.NewMessageID(), []byte(text), wait)
	if err != nil {
		n.t.Fatal(err)
	}
	p, err := n.ada.ask(ctx, tipt.RequestForward, body)
	return accepted(p, err, wait)
}

func (n *pair) leave(texts ...string) {
	n.t.Helper()
	for _, text := range texts {
		if err := n.write(text, false); err != nil {
			n.t.Fatalf("leave %s: %v", text, err)
		}
	}
}

// wantList waits until `tiptd queue list` says so of the other node.
func (n *pair) wantList(what string, want ...string) {
	n.t.Helper()
	var out string
	until(n.t, what, func() bool {
		out = admin(n.t, n.here, "queue", "list")
		for _, w := range want {
			if !strings.Contains(out, w) {
				return false
			}
		}
		return true
	})
	if lines := strings.Count(out, "\n"); out != "nothing waits\n" && (lines != 2 || !strings.HasPrefix(out, "NODE ")) {
		n.t.Errorf("%s: queue list printed\n%s", what, out)
	}
}

func (n *pair) wantRefused(want string, args ...string) {
	n.t.Helper()
	out, errs, status := run(n.t, append(args, "--data", n.here.Data)...)
	if status != 1 || out != "" || !strings.HasPrefix(errs, "tiptd: ") || !strings.Contains(errs, want) {
		n.t.Errorf("%v: exit status %d, printed\n%s\non standard error:\n%s\nwant 1 and %q", args, status, out, errs, want)
	}
}

func TestQueueCommands(t *testing.T) {
	n := newNodes(t)
	says := func(want string, args ...string) {
		t.Helper()
		if out := admin(t, n.here, args...); out != want {
			t.Errorf("%v printed %q, want %q", args, out, want)
		}
	}
	n.wantList("nothing was written", "nothing waits")
	for _, verb := range []string{"retry", "hold", "drop"} {
		n.wantRefused("far.example: nothing waits for that node", "queue", verb, "far.example")
	}
	n.leave("1", "2", "3")
	n.wantList("its node is tried", "far.example  3 ", "  1 ", "in ", "reach far.example: ", "connection refused")
	says("Far.example. is held; `tiptd queue retry Far.example.` ends that\n", "queue", "hold", "Far.example.") // as a person writes it
	n.wantList("it is held", "far.example  3 ", "  held ", "connection refused")
	n.p.Kill()
	n.p = n.here.Start(t)
	n.enter()
	n.wantList("it is still held", "far.example  3 ", "  held ", "connection refused")
	n.q = n.far.Start(t)
	says("far.example is being tried\n", "queue", "retry", "far.example")
	n.bob()
	for _, want := range []string{"1", "2", "3"} {
		if got := n.next(); got != want {
			t.Errorf("delivered %q, want %q", got, want)
		}
	}
	n.wantList("all are delivered", "nothing waits")

	n.q.Kill()
	n.leave("4")
	n.wantList("its node is tried", "connection refused")
	says("1 message goes back to its sender\n", "queue", "drop", "far.example")
	n.leave("5", "6")
	says("2 messages go back to their senders\n", "queue", "drop", "far.example")
	for range 3 {
		n.wantReturned()
	}
	n.wantList("all came back", "nothing waits")
}

// next returns what is delivered to bob next.
func (n *pair) next() string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	select {
	case text := <-n.delivered:
		return text
	case <-ctx.Done():
		n.t.Fatal("nothing is delivered")
		return ""
	}
}

func (n *pair) wantReturned() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	select {
	case r := <-n.returned:
		if r.Node != "far.example" || !r.HasCode || r.Code != tipt.ErrNodeRefused {
			n.t.Errorf("RETURN %+v, want NODE_REFUSED", r)
		}
	case <-ctx.Done():
		n.t.Fatal("nothing comes back")
	}
}

// The lists of nodes are read again on SIGHUP, hold for both directions, and for what waits.
func TestHangup(t *testing.T) {
	lists := t.TempDir()
	block, allow := filepath.Join(lists, "block"), filepath.Join(lists, "allow")
	write(t, block, "")
	write(t, allow, "*\n")
	n := newNodes(t, "--block", block, "--allow", allow)
	reread := 0
	hangUp := func(word string) {
		t.Helper()
		reread++
		if err := n.p.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		until(t, "the lists are "+word, func() bool {
			return strings.Count(n.p.Log(), "lists of nodes ") == reread && strings.Contains(n.p.Log(), word)
		})
	}
	barred := func(what string, want bool) {
		t.Helper()
		var code tipt.ErrorCode
		if want {
			code = tipt.ErrNodeRefused
		}
		check := func(how string, err error) {
			t.Helper()
			if want {
				wantCode(t, what+": "+how, err, code)
			} else if err != nil {
				t.Errorf("%s: %s: %v", what, how, err)
			}
		}
		check("a message", n.write(what, true))
		check("a message that is left", n.write(what+", left", false))
		_, err := n.ada.ask(t.Context(), tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: "far.example"}.Append(nil))
		check("its key", err)
		bob := n.bob()
		body, err := message(n.ada.key, n.here.Name, "nobody", tipt.NewMessageID(), []byte("x"), true)
		if err != nil {
			t.Fatal(err)
		}
		p, err := bob.ask(t.Context(), tipt.RequestForward, body)
		err = accepted(p, err, true)
		if !want && err != nil && strings.Contains(err.Error(), "no user nobody here") {
			err = nil
		}
		check("a message from there", err)
		if want != (err != nil && strings.Contains(err.Error(), "here.example answered 403")) {
			t.Errorf("%s: a message from there: %v", what, err)
		}
	}

	n.leave("waits")
	n.wantList("its node is tried", "connection refused")
	write(t, block, "# nodes that I do not know\nf*.example\n")
	hangUp("read again")
	n.wantReturned()
	n.wantList("it came back", "nothing waits")
	n.q = n.far.Start(t)
	barred("blocked", true)
	write(t, block, "far.example, and others\n")
	hangUp("the lists of nodes stay as they were")
	if !strings.Contains(n.p.Log(), block+", line 1: ") {
		t.Errorf("the log does not say why:\n%s", n.p.Log())
	}
	barred("blocked still", true)
	write(t, block, "")
	hangUp("read again")
	barred("allowed", false)
	write(t, allow, "near.example\n")
	hangUp("read again")
	barred("not allowed", true)
}

// What is for a node in maintenance waits for its end. Its key is to be had.
func TestForwardToMaintenance(t *testing.T) {
	n := newNodes(t)
	n.q = n.far.Start(t)
	n.bob()
	admin(t, n.far, "maintenance", "on")
	if _, err := n.ada.ask(t.Context(), tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: "far.example"}.Append(nil)); err != nil {
		t.Errorf("its key: %v", err)
	}
	var refused *tipt.Error
	if err := n.write("now", true); !errors.As(err, &refused) || refused.Code != tipt.ErrNodeUnreachable || refused.Wait < time.Second {
		t.Errorf("a message that cannot wait: %v", err)
	}
	n.leave("later")
	n.wantList("it waits", "far.example  1 ", "  in ", "far.example answered 503: \"maintenance\"")
	admin(t, n.far, "maintenance", "off")
	n.bob()
	admin(t, n.here, "queue", "retry", "far.example")
	if got := n.next(); got != "later" {
		t.Errorf("delivered %q", got)
	}
}

func TestKeyCommands(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	if _, errs, status := run(t, "key", "show", "--data", d.Data); status != 1 || !strings.Contains(errs, d.Data) {
		t.Errorf("a folder without a key: exit status %d\n%s", status, errs)
	}
	p := d.Start(t)
	register(t, d, p.Addr, "ada")
	served := func() []byte {
		t.Helper()
		key, err := io.ReadAll(get(t, d, p.Addr, "/api/public_key", nil).Body)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	// shown checks what a command prints, and returns the certificate's fingerprint.
	shown := func(out string, want []byte) string {
		t.Helper()
		fingerprint, armored, _ := strings.Cut(out, "\n\n")
		cert, err := seal.ParseCertificate(want)
		if err != nil {
			t.Fatal(err)
		}
		if armor, err := cert.Armor(); err != nil || fingerprint != cert.Fingerprint() || armored != string(armor) {
			t.Errorf("printed\n%s\nwant the fingerprint %s and\n%s", out, cert.Fingerprint(), armor)
		}
		return fingerprint
	}
	first := served()
	fingerprint := shown(admin(t, d, "key", "show"), first)
	old := signIn(t, d, p.Addr, "ada", nil).key
	last := first
	changes := func(what string) {
		t.Helper()
		out := admin(t, d, "key", what)
		running := p != nil
		if !running {
			p = d.Start(t)
		}
		now := served()
		if shown(out, now) != fingerprint || bytes.Equal(now, last) {
			t.Errorf("%s: the certificate is another's, or as it was", what)
		}
		last = now
		if !running {
			p.Stop()
			p = nil
		}
	}
	changes("rotate")
	changes("add-mlkem")
	if _, errs, status := run(t, "key", "add-mlkem", "--data", d.Data); status != 1 || !strings.Contains(errs, "ML-KEM") {
		t.Errorf("add-mlkem again: exit status %d\n%s", status, errs)
	}
	p.Stop()
	p = nil
	shown(admin(t, d, "key", "show"), last)
	changes("rotate")
	p = d.Start(t)
	ada := signIn(t, d, p.Addr, "ada", func(r *link.Request) { r.Reply(nil) })
	ada.key = old
	if err := ada.send("ada", []byte("sealed to the first subkey")); err != nil {
		t.Errorf("send: %v", err)
	}
	if info, err := os.Stat(filepath.Join(d.Data, "node.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
}

// The documentation has each limit with its default.
func TestLimitsAreDocumented(t *testing.T) {
	help, _, status := run(t, "serve", "--help")
	if status != 0 {
		t.Fatalf("exit status %d", status)
	}
	flags := regexp.MustCompile(`--([a-z-]+)=N [^$]* \((\d+)\) \(\$TIPT_`).FindAllStringSubmatch(strings.Join(strings.Fields(help), " "), -1)
	page, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	limits := 0
	for _, flag := range flags {
		if flag[1] == "max-connections" {
			continue
		}
		limits++
		if row := "| `--" + flag[1] + "` | " + flag[2] + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/threat-model.md has no row %s", row)
		}
	}
	if rows := strings.Count(string(page), "\n| `--"); limits == 0 || rows != limits {
		t.Errorf("docs/threat-model.md has %d limits, the program has %d", rows, limits)
	}
}
