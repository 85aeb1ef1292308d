package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// operate is the operator's command of a node in this process, with the configuration that it is started
// with again.
func operate(t *testing.T, n *tipttest.Node, configure func(*node.Config)) func(context.Context, ...string) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(n.Dir, node.AdminSocket))
		},
	}}
	return func(ctx context.Context, args ...string) (string, error) {
		path, body := "", any(nil)
		switch args[0] {
		case "restart", "kill": // the proxy is what loses messages
			n.Restart(t, configure)
			return "", nil
		case "maintenance":
			path, body = "maintenance", node.AdminMaintenance{On: args[1] == "on"}
		case "invite":
			path = "invites"
		case "key":
			path = "key/" + args[1]
		case "queue":
			path = "queue/" + args[2] + "/" + args[1]
		case "user":
			path = "users/" + args[2] + "/" + args[1]
		}
		b, err := json.Marshal(body)
		if err != nil {
			return "", err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node/"+path, bytes.NewReader(b))
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		var answer node.AdminInvite
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
			return "", fmt.Errorf("%v: %s, %w", args, response.Status, err)
		}
		return answer.Invite, nil
	}
}

func byInvitation(c *node.Config) { c.Registration = tipt.RegistrationInvite }

// The node of this project passes with its operator's help, also where registration is limited.
func TestNodeWithOperator(t *testing.T) {
	t.Parallel() // it waits, mostly
	for name, tt := range map[string]struct {
		configure func(*node.Config)
		untested  []string
	}{
		"open":   {func(c *node.Config) { small(c); c.Silence, c.Anonymous, c.NoLimits = time.Second, true, false }, []string{"by invitation", "not closed"}},
		"invite": {byInvitation, []string{"--slow", "not closed", "not open", "no anonymous", "no BUSY"}},
		"closed": {func(c *node.Config) { c.Registration = tipt.RegistrationClosed }, []string{"--slow", "by invitation", "not open", "is closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := tipttest.Start(t, tt.configure)
			o := options(n)
			o.operate = operate(t, n, tt.configure)
			if name == "open" {
				o.Slow, o.silence, o.Quota = true, time.Second, quota
			}
			clean(t, run(t, o), append(tt.untested, "--peer", "--connections", "--peer-rate", "no ML-KEM")...)
		})
	}
}

// of is a defect of a node of its own.
func (d defect) of(configure func(*node.Config)) defect {
	d.own = configure
	return d
}

func asUsual(*node.Config) {}

func silent(c *node.Config) { c.Silence = time.Second }

// once is a node at which an invitation serves for one attempt, whatever becomes of it.
func once() defect {
	var mu sync.Mutex // guards used
	used := make(map[string]bool)
	return strict("T-4.17", "uses invitations up", errInviteInvalid, func(f fields) bool {
		inv := words(f.part("body"), "inv")
		if number(f, "reqt") != reqRegister || inv == "" {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		was := used[inv]
		used[inv] = true
		return was
	})
}

// stopping is a node whose GOING_AWAY is changed.
func stopping(clause, name string, change func(fields) any) defect {
	return defect{clause: clause, name: name, own: asUsual, say: func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") != pktEvent {
			return nil
		}
		return change(f)
	}}
}

// waits is a node that makes those wait whose sign-ins fail.
func waits(c *node.Config) { c.NoLimits = false }

// waiting is a node whose BUSY to SIGN_IN is changed.
func waiting(name string, e fields) defect {
	return edit("T-4.53", name, reqSignIn, func(f fields) fields {
		if f.code() == errBusy {
			return f.with("err", e)
		}
		return f
	}).of(waits)
}

// connections is how many a node of the tests takes, where it takes few.
const connections = 40

func few(c *node.Config) { c.MaxConnections = connections }

// short is a node that closes one of its connections before they run short: that of such a number.
func short(clause, name string, number, code int) defect {
	var mu sync.Mutex // guards all
	var all []*bent
	return defect{clause: clause, name: name, own: few, begin: func(b *bent) {
		mu.Lock()
		defer mu.Unlock()
		if all = append(all, b); len(all) == connections-10 {
			closed := all[number]
			closed.mu.Lock()
			defer closed.mu.Unlock()
			closed.shut(code)
		}
	}}
}

// The numbers of connections of the scenario connections-short, behind the one that begins a run.
const (
	signedInFirst = iota + 1
	longUnsigned
	lessLongUnsigned
	youngUnsigned
)

// rotating is a node whose key is served, and messages to it answered, in another way once it was rotated.
func rotating(name string, serve func(p *page, before []byte), answer func() raw) defect {
	var mu sync.Mutex // guards the following
	var before []byte
	rotated := false
	d := answers("T-5.5", name, func(resp raw) raw {
		mu.Lock()
		defer mu.Unlock()
		if rotated && answer != nil {
			return answer()
		}
		return resp
	}).of(asUsual)
	d.page = func(r *http.Request, p *page) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path != "/api/public_key":
		case before == nil:
			before = p.body
		case !bytes.Equal(before, p.body):
			rotated = true
			if serve != nil {
				serve(p, before)
			}
		}
	}
	return d
}

// mixing is how a node serves a certificate that is made of that after a rotation and that before it.
func mixing(mix func(now, before *openpgp.Entity)) func(*page, []byte) {
	read := func(b []byte) *openpgp.Entity {
		e, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(b)))
		if err != nil {
			panic(err)
		}
		return e
	}
	return func(p *page, before []byte) {
		now := read(p.body)
		mix(now, read(before))
		var b bytes.Buffer
		if err := now.Serialize(&b); err != nil {
			panic(err)
		}
		p.body = b.Bytes()
	}
}

// costly is a node at which a password's hash takes its time.
func costly(c *node.Config) { c.Hash = account.HashCost{Memory: 64 << 10} }

// hasty is a node that looks at the passwords of those alone whom it knows.
func hasty() defect {
	var mu sync.Mutex // guards known
	known := make(map[string]bool)
	return defect{clause: "T-4.25", name: "is hasty with those whom it does not know", own: costly, ask: func(b *bent, f fields) []raw {
		mu.Lock()
		defer mu.Unlock()
		name := words(f.part("body"), "user")
		switch {
		case number(f, "reqt") == reqRegister:
			known[name] = true
		case number(f, "reqt") == reqSignIn && !known[name]:
			return b.fail(f, errCredentials)
		}
		return nil
	}}
}

// weighing is a node that takes its time over the tokens of those alone whom it knows.
func weighing() defect {
	var mu sync.Mutex // guards known
	known := make(map[string]bool)
	return defect{clause: "T-4.25", name: "weighs the tokens of those whom it knows", own: asUsual, ask: func(_ *bent, f fields) []raw {
		mu.Lock()
		defer mu.Unlock()
		body := f.part("body")
		switch {
		case number(f, "reqt") == reqRegister:
			known[words(body, "user")] = true
		case number(f, "reqt") == reqSignIn && body.get("tok") != nil && known[words(body, "user")]:
			time.Sleep(200 * time.Millisecond)
		}
		return nil
	}}
}

// forgetful is a node that loses every tenth message of one kind, and says that it has it.
func forgetful(clause string, wait byte, body any) defect {
	return defect{clause: clause, name: "forgets what it has not written down", own: asUsual, ask: func(b *bent, f fields) []raw {
		if number(f, "reqt") != reqForward || !isBool(f.part("body"), "wait", wait) {
			return nil
		}
		if b.count++; b.count%10 != 0 {
			return nil
		}
		return b.tell(fields{"ver", "1.0.0", "id", f.get("id"), "pakt", pktResponse, "body", body})
	}}
}

// ownDefects are nodes that are broken in what needs a configuration or an operator, or waits.
var ownDefects = []defect{
	{clause: "T-1.140", name: "does not say when to come again", own: asUsual, head: func(h http.Header) { h.Del("Retry-After") }},
	{clause: "T-1.141", name: "does not say when to come again", own: few, head: func(h http.Header) { h.Del("Retry-After") }},
	pages("T-1.142", "says that all is well", "/api/status", func(p *page) {
		p.body = bytes.ReplaceAll(p.body, []byte("overload"), []byte("ok"))
	}).of(few),
	pages("T-1.14", "is ill in maintenance", "/api/status", func(p *page) {
		if bytes.Contains(p.body, []byte("maintenance")) {
			p.status = http.StatusServiceUnavailable
		}
	}).of(asUsual),
	closes("T-1.32", 1012, 1001).of(asUsual),
	closes("T-1.31", 1001, 1012).of(asUsual),
	stopping("T-3.36", "stops without a word", func(fields) any { return []raw{} }),
	stopping("T-4.98", "does not say how long to wait", func(f fields) any { return f.with("body", fields{}) }),
	deaf("T-3.35", "reads nothing after BUSY", func(f fields) bool { return f.code() == errBusy }).of(waits),
	waiting("does not say how long to wait", fields{"code", errBusy}),
	waiting("makes everybody wait alike", fields{"code", errBusy, "wait", 1000}),
	short("T-1.12", "closes one that is signed in", signedInFirst, 1013),
	short("T-1.12", "closes a younger one first", lessLongUnsigned, 1013),
	short("T-1.12", "closes the youngest", youngUnsigned, 1013),
	short("T-1.12", "closes with another code", longUnsigned, 1012),
	short("T-1.33", "closes with another code", longUnsigned, 1012),
	hasty(),
	weighing(),
	forgetful("T-4.62", 0xc2, nil),
	forgetful("T-5.49", 0xc3, fields{"resp", bin(fields{"body", nil}.pack())}),
	requested("T-5.25", "forgets at its end what it has stored", func(_ *bent, f fields) any {
		if !says(f, "fence") {
			return nil
		}
		again := f.part("body").with("mid", randomBytes(16)).with("msg", bin("1"))
		return []raw{f.with("id", 250).with("body", again).pack(), f.pack()}
	}).of(asUsual).during("killed"),
	rotating("does not rotate", func(p *page, before []byte) { p.body = before }, nil),
	rotating("makes another primary key", func(p *page, _ []byte) { p.body = strangersKey() }, nil),
	rotating("goes on with its old subkeys", mixing(func(now, before *openpgp.Entity) {
		for i, sub := range before.Subkeys {
			now.Subkeys[i].Bindings = sub.Bindings
		}
	}), nil),
	rotating("signs as before", mixing(func(now, before *openpgp.Entity) {
		now.Subkeys = slices.DeleteFunc(now.Subkeys, func(sub openpgp.Subkey) bool {
			return sub.PublicKey.PubKeyAlgo == algorithmEdDSA && !slices.ContainsFunc(before.Subkeys, func(old openpgp.Subkey) bool {
				return bytes.Equal(old.PublicKey.Fingerprint, sub.PublicKey.Fingerprint)
			})
		})
	}), nil),
	rotating("forgets its old key", nil, func() raw { return fields{"err", fields{"code", errCannotOpen}}.pack() }),
	swap("T-4.33", reqSignIn, errDisabled, errCredentials).of(asUsual),
	closes("T-4.34", 4002, 4001).of(asUsual),
	{clause: "T-1.27", name: "says nothing", own: silent, down: func(_ *bent, f frame) []frame {
		if f.opcode == opPing {
			return nil
		}
		return []frame{f}
	}},
	{clause: "T-1.28", name: "waits for ever", own: silent, keep: true},
	{clause: "T-1.28", name: "waits for 20 s", own: silent, down: func(b *bent, f frame) []frame {
		if f.opcode == opPing {
			time.AfterFunc(20*time.Second, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.shut(1001)
			})
		}
		return []frame{f}
	}},
	{clause: "T-1.144", name: "wants a PONG", own: silent, down: func(b *bent, f frame) []frame {
		if f.opcode == opPing {
			b.note = "pinged"
		}
		return []frame{f}
	}, up: func(b *bent, f frame) []frame {
		switch {
		case f.opcode == opPong:
			b.note = ""
		case b.note != "":
			b.shut(1001)
		}
		return []frame{f}
	}},
	unclosed("T-1.34", "", 1003),
	editBody("T-4.32", "does what a displaced connection says", reqListDevices, func(f fields) fields {
		return f.with("devs", []any{})
	}),
	swap("T-4.16", reqRegister, errInviteInvalid, errNameInvalid).of(byInvitation),
	once().of(byInvitation),
	swap("T-4.18", reqRegister, errRegistrationClosed, errInviteInvalid).of(func(c *node.Config) { c.Registration = tipt.RegistrationClosed }),
	lost("T-5.50", func(_ *bent, f fields) bool { return says(f, "vouched for") }).of(func(c *node.Config) { c.Anonymous = true }),
	pages("T-5.41", "another type", signedPath, func(p *page) { p.header.Set("Content-Type", "text/plain") }).
		of(func(c *node.Config) { c.Anonymous = true }),
}
