package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/seal"
)

const (
	nodeA tipt.NodeName = "a.example"
	nodeB tipt.NodeName = "b.example"
)

var bobOfB = tipt.Address{User: "bob", Node: nodeB}

// startTwo starts two nodes that reach each other.
func startTwo(t *testing.T, configure ...func(*node.Config)) (a, b *tipttest.Node) {
	t.Helper()
	configure = append(configure, func(c *node.Config) { c.Logger = slog.New(slog.DiscardHandler) })
	nodes := tipttest.StartNetwork(t, []tipt.NodeName{nodeA, nodeB}, configure...)
	return nodes[nodeA], nodes[nodeB]
}

// A person is a client that receives.
type person struct {
	*client.Client
	t     *testing.T
	inbox chan client.Message
}

// join makes an account and signs in with it. The options' Connect may say that the node is
// reached elsewhere.
func join(t *testing.T, n *tipttest.Node, user string, o client.Options) *person {
	t.Helper()
	o.RootCAs = rootsOf(t, n.CA)
	if o.Connect == "" {
		o.Connect = n.Addr
	}
	c, err := client.DialWithPauses(t.Context(), n.Name, &o, time.Millisecond, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{Client: c, t: t, inbox: make(chan client.Message, 16)}
	var receiving sync.WaitGroup
	t.Cleanup(func() {
		c.Close()
		receiving.Wait()
	})
	if err := c.Register(t.Context(), user, "correct horse", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SignIn(t.Context(), client.Credentials{User: user, Password: "correct horse"}); err != nil {
		t.Fatal(err)
	}
	receiving.Go(func() {
		// Ends with the client.
		_ = c.Receive(context.Background(), func(_ context.Context, m client.Message) error {
			p.inbox <- m
			return nil
		})
	})
	return p
}

// next waits for the next message or RETURN.
func (p *person) next() client.Message {
	p.t.Helper()
	select {
	case m := <-p.inbox:
		return m
	case <-time.After(patience):
		p.t.Fatal("nothing has come")
		return client.Message{}
	}
}

// wantText waits for the next message and fails unless it is that.
func (p *person) wantText(from, text string) {
	p.t.Helper()
	m := p.next()
	if got, ok := m.Text(); !ok || got != text || m.From != from {
		p.t.Fatalf("received %q from %q (%+v), want %q from %q", got, m.From, m.Return, text, from)
	}
}

// send sends to bob, within the time that tests have.
func (p *person) send(m client.Outgoing) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if m.To == (tipt.Address{}) {
		m.To = bobOfB
	}
	return p.Send(ctx, m)
}

func (p *person) mustSend(m client.Outgoing) {
	p.t.Helper()
	if err := p.send(m); err != nil {
		p.t.Fatal(err)
	}
}

func TestSendToAnotherNode(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	alice, bob := join(t, a, "alice", client.Options{}), join(t, b, "bob", client.Options{})
	alice.mustSend(client.Outgoing{Text: "now"})
	alice.mustSend(client.Outgoing{Text: "queued", Queue: true})
	bob.wantText("alice@a.example", "now")
	bob.wantText("alice@a.example", "queued")
	bob.mustSend(client.Outgoing{To: tipt.Address{User: "alice", Node: nodeA}, Text: "and back"})
	alice.wantText("bob@b.example", "and back")

	nobody := tipt.Address{User: "nobody", Node: nodeB}
	if err := alice.send(client.Outgoing{To: nobody, Text: "hello?"}); !errors.Is(err, tipt.ErrNoSuchUser) {
		t.Errorf("Send to nobody: %v, want %v", err, tipt.ErrNoSuchUser)
	}
}

func TestReturnFromAnotherNode(t *testing.T) {
	t.Parallel()
	a, _ := startTwo(t)
	alice := join(t, a, "alice", client.Options{})
	sent := client.Outgoing{To: tipt.Address{User: "nobody", Node: nodeB}, Text: "hello?", ID: tipt.NewMessageID(), Queue: true}
	if err := alice.send(sent); !errors.Is(err, tipt.ErrNoSuchUser) {
		t.Errorf("Send of a text, for which a certificate is asked: %v, want %v", err, tipt.ErrNoSuchUser)
	}
	sent.Body = plain("hello?")
	alice.mustSend(sent)
	m := alice.next()
	if m.Return == nil || m.Return.Ref != sent.ID || m.Return.Node != string(nodeB) || !errors.Is(m.Return.Err, tipt.ErrNoSuchUser) {
		t.Errorf("received %+v with return %+v, want a return of %v for %v", m, m.Return, sent.ID, tipt.ErrNoSuchUser)
	}
}

// plain is the Body of a text that is sent without asking for a certificate to seal it to.
func plain(text string) []byte {
	return tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: text, Time: time.Now()}}.Append(nil)
}

// sharedPins are the Pins and UserPins of several clients, as of a program that is started again and again.
type sharedPins struct{ m sync.Map }

func (p *sharedPins) Pin(node tipt.NodeName) ([]byte, error) {
	v, _ := p.m.Load(node)
	b, _ := v.([]byte)
	return b, nil
}

func (p *sharedPins) SetPin(node tipt.NodeName, certificate []byte) error {
	p.m.Store(node, certificate)
	return nil
}

func (p *sharedPins) UserPin(user tipt.Address) ([]byte, error) {
	v, _ := p.m.Load(user)
	b, _ := v.([]byte)
	return b, nil
}

func (p *sharedPins) SetUserPin(user tipt.Address, certificate []byte) error {
	p.m.Store(user, append([]byte{}, certificate...))
	return nil
}

// TestQueueWhileTheOtherNodeIsDown leaves a message with a node that can ask the destination
// neither to take it nor for its key.
func TestQueueWhileTheOtherNodeIsDown(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	pins := new(sharedPins)
	alice, bob := join(t, a, "alice", client.Options{Pins: pins, UserPins: pins}), join(t, b, "bob", client.Options{})
	alice.mustSend(client.Outgoing{Text: "one"})
	bob.wantText("alice@a.example", "one")
	b.Stop()
	a.Restart(t) // and has no key of b

	carol := join(t, a, "carol", client.Options{Pins: pins, UserPins: pins})
	if err := carol.send(client.Outgoing{Text: "now or never"}); !errors.Is(err, tipt.ErrNodeUnreachable) {
		t.Errorf("Send: %v, want %v", err, tipt.ErrNodeUnreachable)
	}
	stranger := join(t, a, "stranger", client.Options{})
	if err := stranger.send(client.Outgoing{Text: "to whom?", Queue: true}); !errors.Is(err, tipt.ErrNodeUnreachable) {
		t.Errorf("Send without a key: %v, want %v", err, tipt.ErrNodeUnreachable)
	}
	dave := join(t, a, "dave", client.Options{Pins: pins}) // knows the node, and nothing about bob
	var noKey *client.UserKeyError
	if err := dave.send(client.Outgoing{Text: "sealed or not?", Queue: true}); !errors.Is(err, tipt.ErrNodeUnreachable) || !errors.As(err, &noKey) {
		t.Errorf("Send without a certificate of bob's: %v, want a UserKeyError of %v", err, tipt.ErrNodeUnreachable)
	}
	carol.mustSend(client.Outgoing{Text: "two", Queue: true})
	b.Again(t)
	bob.wantText("carol@a.example", "two")
}

// changeKey stops the node, gives it another key, and starts it again.
func changeKey(t *testing.T, n *tipttest.Node, key *seal.NodeKey) {
	t.Helper()
	n.Stop()
	if err := node.SaveKey(n.Dir, key); err != nil {
		t.Fatal(err)
	}
	n.Again(t)
}

func newKey(t *testing.T, made time.Time) *seal.NodeKey {
	t.Helper()
	key, err := seal.NewNodeKey(string(nodeB), made)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func fingerprint(t *testing.T, certificate []byte) string {
	t.Helper()
	c, err := seal.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	return c.Fingerprint()
}

// TestOtherNodeHasAnotherKey sends to a node that was set up anew meanwhile.
func TestOtherNodeHasAnotherKey(t *testing.T) {
	refused := errors.New("not that key")
	for _, tt := range []struct {
		name   string
		accept error
		queue  bool
	}{
		{"accepted", nil, false},
		{"refused", refused, false},
		{"returned", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := startTwo(t)
			var warnings [][2]string
			alice := join(t, a, "alice", client.Options{KeyChanged: func(_ tipt.NodeName, was, is string) error {
				warnings = append(warnings, [2]string{was, is})
				return tt.accept
			}})
			bob := join(t, b, "bob", client.Options{})
			alice.mustSend(client.Outgoing{Text: "one"})
			bob.wantText("alice@a.example", "one")
			was := b.Certificate()
			changeKey(t, b, newKey(t, time.Now()))
			a.Restart(t) // within the minute it would not fetch the key again

			two := client.Outgoing{Text: "two", ID: tipt.NewMessageID(), Queue: tt.queue}
			err := alice.send(two)
			if tt.queue {
				if err != nil {
					t.Fatal(err)
				}
				if m := alice.next(); m.Return == nil || m.Return.Ref != two.ID || !errors.Is(m.Return.Err, tipt.ErrCannotOpen) {
					t.Fatalf("received %+v with return %+v, want a return for %v", m, m.Return, tipt.ErrCannotOpen)
				}
				if len(warnings) != 0 {
					t.Errorf("warned before the new key was seen: %q", warnings)
				}
				err = alice.send(two)
			}
			if !errors.Is(err, tt.accept) {
				t.Fatalf("Send: %v, want %v", err, tt.accept)
			}
			want := [][2]string{{fingerprint(t, was), fingerprint(t, b.Certificate())}}
			if diff := cmp.Diff(want, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if tt.accept == nil {
				bob.wantText("alice@a.example", "two")
			}
		})
	}
}

// TestOtherNodeHasRotatedItsKey sends to a node that rotated its key: lately, when the old subkey still
// opens, and long ago, when it no longer does. Neither is worth a warning.
func TestOtherNodeHasRotatedItsKey(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name    string
		age     time.Duration // of the rotation
		fetches int           // of the key
	}{
		{"lately", time.Hour, 1},
		{"long ago", 31 * day, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := startTwo(t)
			old := newKey(t, time.Now().Add(-60*day))
			changeKey(t, b, old)
			m := newMiddle(t, a)
			alice := join(t, a, "alice", client.Options{
				Connect: m.addr,
				KeyChanged: func(tipt.NodeName, string, string) error {
					t.Error("warned of new subkeys")
					return nil
				},
			})
			bob := join(t, b, "bob", client.Options{})
			alice.mustSend(client.Outgoing{Text: "one"})
			bob.wantText("alice@a.example", "one")
			rotated, err := old.Rotate(time.Now().Add(-tt.age))
			if err != nil {
				t.Fatal(err)
			}
			changeKey(t, b, rotated)
			a.Restart(t)
			alice.mustSend(client.Outgoing{Text: "two"})
			bob.wantText("alice@a.example", "two")
			if n := m.count(tipt.RequestGetNodeKey); n != tt.fetches {
				t.Errorf("asked for the key %d times, want %d", n, tt.fetches)
			}
		})
	}
}

// TestTimeoutDeliversOnce loses the answers of the destination, which has stored the message each
// time, on the way back.
func TestTimeoutDeliversOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lost  int // answers
		again bool
	}{
		{"one answer lost", 1, false},
		{"more than Send repeats", 3, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var way *cutter // from a to b
			var mu sync.Mutex
			stored := 0
			a, b := startTwo(t, func(c *node.Config) {
				switch c.Name {
				case nodeA:
					way = newCutter(t, c.Resolve[nodeB])
					c.Resolve = map[tipt.NodeName]string{nodeB: way.addr}
				case nodeB:
					c.PeerTap = func(r *http.Request, status int) {
						mu.Lock()
						defer mu.Unlock()
						if r.URL.Path != "/api/forward" {
							return
						}
						if status != http.StatusOK {
							t.Errorf("b answered %d", status)
						}
						if stored++; stored <= tt.lost {
							way.cutAll(nil) // before the answer is written
						}
					}
				}
			})
			alice, bob := join(t, a, "alice", client.Options{}), join(t, b, "bob", client.Options{})
			sent := client.Outgoing{Body: plain("once"), ID: tipt.NewMessageID()}
			err := alice.send(sent)
			if tt.again {
				if !errors.Is(err, tipt.ErrNodeTimeout) {
					t.Fatalf("Send: %v, want %v", err, tipt.ErrNodeTimeout)
				}
				err = alice.send(sent)
			}
			if err != nil {
				t.Fatal(err)
			}
			alice.mustSend(client.Outgoing{Body: plain("then")})
			bob.wantText("alice@a.example", "once")
			bob.wantText("alice@a.example", "then")
			mu.Lock()
			defer mu.Unlock()
			if want := tt.lost + 2; stored != want {
				t.Errorf("b was handed messages %d times, want %d", stored, want)
			}
		})
	}
}
