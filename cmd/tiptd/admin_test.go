package main_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/node"
)

// wantStatus checks what GET /api/status says (section 1.3).
func wantStatus(t *testing.T, d *tipttest.Daemon, addr, status string) {
	t.Helper()
	response := get(t, d, addr, "/api/status", nil)
	var body struct {
		Status string
		Retry  int
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || body.Status != status || (body.Retry > 0) != (status != "ok") {
		t.Errorf("/api/status: %s, %+v, want 200 and %s", response.Status, body, status)
	}
	for header, want := range map[string]string{"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"} {
		if got := response.Header.Get(header); got != want {
			t.Errorf("/api/status: %s is %q, want %q", header, got, want)
		}
	}
}

// wantTurnedAway checks that a WebSocket is refused for now.
func wantTurnedAway(t *testing.T, d *tipttest.Daemon, addr string) {
	t.Helper()
	response := upgrade(t, d, addr)
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if response.StatusCode != http.StatusServiceUnavailable || err != nil || seconds < 1 {
		t.Errorf("a new connection was answered %s, Retry-After %q, want 503 and some seconds",
			response.Status, response.Header.Get("Retry-After"))
	}
}

// wantGoingAway checks that the node has announced the end of a connection, and ends it.
func (c *conn) wantGoingAway(t *testing.T, code int) {
	t.Helper()
	c.wantClose(t, code)
	select {
	case p := <-c.events:
		var event tipt.GoingAwayEvent
		if err := event.Parse(p.Body, p.Newer); p.Code != uint8(tipt.EventGoingAway) || err != nil || event.Wait < time.Second {
			t.Errorf("event %v: %+v, %v, want GOING_AWAY and some seconds", tipt.ClientEvent(p.Code), event, err)
		}
	default:
		t.Error("the connection was closed without GOING_AWAY")
	}
}

func TestMaintenance(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada")
	ada := signIn(t, d, p.Addr, "ada", nil)
	stranger, err := dial(t.Context(), d, p.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.hang()
	wantStatus(t, d, p.Addr, "ok")

	if out := admin(t, d, "maintenance", "on"); out != "maintenance is on\n" {
		t.Errorf("printed %q", out)
	}
	ada.wantGoingAway(t, tipt.CloseMaintenance)
	stranger.wantGoingAway(t, tipt.CloseMaintenance)
	wantTurnedAway(t, d, p.Addr)
	wantStatus(t, d, p.Addr, "maintenance")
	var refused *ws.StatusError
	if _, err := dial(t.Context(), d, p.Addr, nil); !errors.As(err, &refused) || refused.RetryAfter < time.Second {
		t.Errorf("dial: %v, want a StatusError that says when to come back", err)
	}
	// The operator's commands go on, this one too.
	admin(t, d, "maintenance", "on")
	if users := admin(t, d, "user", "list"); !strings.Contains(users, "ada") {
		t.Errorf("user list printed\n%s", users)
	}

	if out := admin(t, d, "maintenance", "off"); out != "maintenance is off\n" {
		t.Errorf("printed %q", out)
	}
	wantStatus(t, d, p.Addr, "ok")
	if response := upgrade(t, d, p.Addr); response.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("a new connection was answered %s, want 101", response.Status)
	}
	signIn(t, d, p.Addr, "ada", nil)
	admin(t, d, "maintenance", "on")
	p.Stop() // SIGTERM ends maintenance as well
}

func TestInvite(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "invite")
	p := d.Start(t)
	c, err := dial(t.Context(), d, p.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hang()
	wantCode(t, "register without an invitation", c.register(t.Context(), "ada", password, ""), tipt.ErrInviteInvalid)
	wantCode(t, "register with a made-up invitation", c.register(t.Context(), "ada", password, "let me in"), tipt.ErrInviteInvalid)

	invite := strings.TrimSuffix(admin(t, d, "invite", "new"), "\n")
	if invite == "" || len(invite) > tipt.MaxInviteSize || strings.ContainsAny(invite, " \n") {
		t.Fatalf("invite new printed %q", invite)
	}
	if another := admin(t, d, "invite", "new"); another == invite+"\n" {
		t.Errorf("invite new printed %q twice", invite)
	}
	// A refusal does not use it up.
	wantCode(t, "register with a short password", c.register(t.Context(), "ada", "short", invite), tipt.ErrPasswordInvalid)
	p.Kill() // what was printed holds
	p = d.Start(t)
	c, err = dial(t.Context(), d, p.Addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.hang()
	if err := c.register(t.Context(), "ada", password, invite); err != nil {
		t.Errorf("register with an invitation: %v", err)
	}
	wantCode(t, "register with a used invitation", c.register(t.Context(), "bob", password, invite), tipt.ErrInviteInvalid)
	signIn(t, d, p.Addr, "ada", nil)
}

func TestUserCommands(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada", "bob", "cyd")
	delivered := make(chan *link.Request, 1)
	ada, bob := signIn(t, d, p.Addr, "ada", nil), signIn(t, d, p.Addr, "bob", nil)
	cyd := signIn(t, d, p.Addr, "cyd", nil)
	if _, err := cyd.ask(t.Context(), tipt.RequestDeleteAccount, tipt.DeleteAccountRequest{Password: password}.Append(nil)); err != nil {
		t.Fatal(err)
	}

	if out := admin(t, d, "user", "disable", "Bob"); out != "Bob is disabled\n" { // a name as a person writes it
		t.Errorf("printed %q", out)
	}
	bob.wantClose(t, tipt.CloseSignedOut)
	wantUsers(t, d, map[string]string{"ada": "active", "bob": "disabled", "cyd": "deleted"})
	again := func(password string) error {
		c, err := dial(t.Context(), d, p.Addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.hang()
		_, err = c.signIn(t.Context(), tipt.SignInRequest{User: "bob", Password: password, Receive: true})
		return err
	}
	wantCode(t, "sign in as a disabled user", again(password), tipt.ErrDisabled)
	wantCode(t, "sign in as a disabled user with a wrong password", again("wrong horse"), tipt.ErrCredentials)
	if err := ada.send("bob", []byte("for later")); err != nil {
		t.Errorf("send to a disabled user: %v", err)
	}

	if out := admin(t, d, "user", "enable", "bob@Node.example"); out != "bob@Node.example is enabled\n" {
		t.Errorf("printed %q", out)
	}
	wantUsers(t, d, map[string]string{"ada": "active", "bob": "active", "cyd": "deleted"})
	signIn(t, d, p.Addr, "bob", func(r *link.Request) { delivered <- r })
	select {
	case r := <-delivered:
		r.Reply(nil)
	case <-time.After(patience):
		t.Error("what came while the user was disabled is not delivered")
	}
	if _, err := ada.ask(t.Context(), tipt.RequestListDevices, nil); err != nil {
		t.Errorf("another user noticed: %v", err)
	}
}

func wantUsers(t *testing.T, d *tipttest.Daemon, want map[string]string) {
	t.Helper()
	active := maps.Clone(want)
	maps.DeleteFunc(active, func(_, state string) bool { return state == "deleted" })
	wantListed(t, admin(t, d, "user", "list"), active)
	wantListed(t, admin(t, d, "user", "list", "--all"), want)
}

func wantListed(t *testing.T, list string, want map[string]string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(list, "\n"), "\n")
	if fields := strings.Fields(lines[0]); len(fields) != 3 || fields[0] != "NAME" {
		t.Errorf("user list begins with %q", lines[0])
	}
	got := make(map[string]string)
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		got[fields[0]] = fields[len(fields)-1]
	}
	for name, state := range want {
		if got[name] != state {
			t.Errorf("user list says that %s is %q, want %q", name, got[name], state)
		}
	}
	if len(got) != len(want) {
		t.Errorf("user list has %d users, want %d: %v", len(got), len(want), got)
	}
}

func TestAdminRefusals(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd)
	p := d.Start(t)
	socket := filepath.Join(d.Data, node.AdminSocket)
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the admin socket's mode is %v, want 0600", info.Mode().Perm())
	}
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		stderr string
	}{
		{"disable nobody", []string{"user", "disable", "nobody", "--data", d.Data}, 1, "nobody"},
		{"disable no name", []string{"user", "disable", "no body", "--data", d.Data}, 1, "NAME_INVALID"},
		{"disable a user of another node", []string{"user", "disable", "ada@other.example", "--data", d.Data}, 1, "this is the node node.example; give the name alone: ada"},
		{"no data folder given", []string{"user", "list"}, 2, "--data"},
		{"maintenance of some kind", []string{"maintenance", "perhaps", "--data", d.Data}, 2, "must be one of"},
		{"folder without a node", []string{"invite", "new", "--data", d.Dir}, 1, "no node runs on the data folder " + d.Dir},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, status := run(t, tt.args...)
			if status != tt.status || stdout != "" || !strings.HasPrefix(stderr, "tiptd: ") || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("exit status %d, printed\n%s\non standard error:\n%s\nwant %d and %q", status, stdout, stderr, tt.status, tt.stderr)
			}
		})
	}
	p.Kill() // leaves its socket behind
	_, stderr, status := run(t, "user", "list", "--data", d.Data)
	if status != 1 || !strings.Contains(stderr, "no node runs on the data folder") {
		t.Errorf("a node that was killed: exit status %d\n%s", status, stderr)
	}
}
