package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

func newUserKey(t *testing.T, user tipt.Address) *seal.UserKey {
	t.Helper()
	k, err := seal.NewUserKey(user.String(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// userKeysOf makes a client that has signed in, has the key of the node, and knows nothing of users.
func userKeysOf(t *testing.T, n *fakeNode, o *Options) *Client {
	t.Helper()
	c := signedIn(t, n, o)
	clear(c.users)
	key := begin(t, func() error {
		_, err := c.NodeKey(t.Context(), nodeName, false)
		return err
	})
	n.giveKey()
	key.want(nil)
	return c
}

// wantUserKeyAsked returns how to answer the next request, which must ask for bob's certificate, and may
// not differ from what section 5.3 says.
func (n *fakeNode) wantUserKeyAsked() (answer func(tipt.ForwardAnswer), fail func(tipt.ErrorCode)) {
	n.t.Helper()
	r, req, sealed := n.wantForward()
	if sealed.Type != tipt.ForwardGetUserKey || sealed.GetUserKey.User != "bob" || !req.Wait || req.Ref != nil || req.Node != string(nodeName) {
		n.t.Fatalf("client forwarded %+v, %+v, want GET_USER_KEY of bob", req, sealed)
	}
	answer = func(a tipt.ForwardAnswer) {
		n.t.Helper()
		resp, err := seal.SealAnswer(&sealed.GetUserKey.Seal, a.Append(nil))
		if err != nil {
			n.t.Fatal(err)
		}
		r.Reply(tipt.ForwardResponse{Response: resp}.Append(nil))
	}
	return answer, func(code tipt.ErrorCode) { r.Fail(&tipt.Error{Code: code}) }
}

// giveUserKey answers the next request, for bob's certificate; nil: there is none.
func (n *fakeNode) giveUserKey(certificate []byte) {
	n.t.Helper()
	answer, _ := n.wantUserKeyAsked()
	answer(tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{Key: certificate}.Append(nil)})
}

// wantContent answers the next request, a MESSAGE, and returns what it brings.
func (n *fakeNode) wantContent() tipt.Content {
	n.t.Helper()
	r, req, sealed := n.wantForward()
	if sealed.Type != tipt.ForwardMessage {
		n.t.Fatalf("client forwarded %+v, want a message", sealed)
	}
	var content tipt.Content
	if err := content.Parse(sealed.Message.Message); err != nil {
		n.t.Fatal(err)
	}
	if req.Wait {
		r.Reply(answered(nil))
	} else {
		r.Reply(nil)
	}
	return content
}

// wantTextFor answers the next request, a MESSAGE with a text that is sealed for k, or for nobody where k is nil.
func (n *fakeNode) wantTextFor(k *seal.UserKey, text string) *seal.Opened {
	n.t.Helper()
	content := n.wantContent()
	if k == nil {
		if content.Type != tipt.ContentText || content.Text.Text != text {
			n.t.Fatalf("sent %v, want the text %q", content.Type, text)
		}
		return nil
	}
	if content.Type != tipt.ContentSealed {
		n.t.Fatalf("sent %v, want it sealed", content.Type)
	}
	o, err := k.Open(content.Sealed)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := content.Parse(o.Plaintext); err != nil || content.Type != tipt.ContentText || content.Text.Text != text {
		n.t.Fatalf("sealed %v (%v), want the text %q", content.Type, err, text)
	}
	return o
}

func sendText(t *testing.T, c *Client, text string, queue bool) *pending {
	return begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: text, Queue: queue}) })
}

func TestCertificateIsCachedForAnHour(t *testing.T) {
	for _, has := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			own := newUserKey(t, alice)
			c := userKeysOf(t, n, &Options{Key: own})
			defer c.Close()
			var key *seal.UserKey
			var certificate []byte
			if has {
				key = newUserKey(t, bob)
				certificate = key.Certificate()
			}
			one, two := sendText(t, c, "same", false), sendText(t, c, "same", true)
			n.giveUserKey(certificate) // once for both
			n.wantTextFor(key, "same")
			n.wantTextFor(key, "same")
			one.want(nil)
			two.want(nil)
			time.Sleep(time.Hour - time.Second)
			three := sendText(t, c, "three", true)
			opened := n.wantTextFor(key, "three")
			three.want(nil)
			if has {
				signer, err := seal.ParseCertificate(own.Certificate())
				if err == nil {
					err = opened.SignedBy(signer, time.Now())
				}
				if err != nil {
					t.Errorf("signed: %v", err)
				}
			}
			time.Sleep(time.Second)
			// The key of the node is an hour old as well.
			four := sendText(t, c, "four", true)
			n.giveKey()
			n.giveUserKey(certificate)
			n.wantTextFor(key, "four")
			four.want(nil)

			// Other content than a text goes as it is, and asks for nothing.
			clear(c.users)
			raw := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Body: textOf(1, "raw").Message}) })
			n.wantTextFor(nil, "raw")
			raw.want(nil)
		})
	}
}

func TestUserPins(t *testing.T) {
	const none = "" // what is kept of somebody who has no certificate
	refused := errors.New("not that key")
	var first, other, vouched []byte // made below, in the bubble
	accept := func(tipt.Address, string, string) error { return nil }
	refuse := func(tipt.Address, string, string) error { return refused }
	certificates := map[string]func() []byte{
		"nothing": func() []byte { return nil }, "none": func() []byte { return []byte(none) },
		"first": func() []byte { return first }, "other": func() []byte { return other }, "vouched": func() []byte { return vouched },
	}
	for _, tt := range []struct {
		kept, now string
		changed   func(tipt.Address, string, string) error
		warned    bool
		want      error
		keptNow   string
	}{
		{"nothing", "first", refuse, false, nil, "first"},
		{"nothing", "none", refuse, false, nil, "none"},
		{"none", "none", refuse, false, nil, "none"},
		{"none", "first", refuse, false, nil, "first"},
		{"first", "first", refuse, false, nil, "first"},
		{"first", "vouched", refuse, false, nil, "vouched"},
		{"vouched", "first", refuse, true, refused, "vouched"}, // for which nobody vouches
		{"first", "other", accept, true, nil, "other"},
		{"first", "other", refuse, true, refused, "first"},
		{"first", "other", nil, false, ErrUserKeyChanged, "first"},
		{"first", "none", accept, true, nil, "none"},
		{"first", "none", refuse, true, refused, "first"},
		{"first", "none", nil, false, ErrUserKeyChanged, "first"},
	} {
		t.Run(tt.kept+" to "+tt.now, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))) // the files are of before
				first, vouched = readCertificate(t, "bob.pgp"), readCertificate(t, "bob-vouched.pgp")
				other = newUserKey(t, bob).Certificate()
				pins := new(memoryUserPins)
				if kept := certificates[tt.kept](); kept != nil {
					if err := pins.SetUserPin(bob, kept); err != nil {
						t.Fatal(err)
					}
				}
				now := certificates[tt.now]()
				var warnings [][2]string
				o := &Options{UserPins: pins}
				if tt.changed != nil {
					o.UserKeyChanged = func(user tipt.Address, was, is string) error {
						if user != bob {
							t.Errorf("warned of %v", user)
						}
						warnings = append(warnings, [2]string{was, is})
						return tt.changed(user, was, is)
					}
				}
				n := newFakeNode(t)
				c := userKeysOf(t, n, o)
				defer c.Close()
				send := sendText(t, c, "hello", true)
				if len(now) == 0 {
					n.giveUserKey(nil)
				} else {
					n.giveUserKey(now)
				}
				if tt.want != nil {
					n.wantNothing()
				} else if content := n.wantContent(); (content.Type == tipt.ContentSealed) != (len(now) > 0) {
					t.Errorf("sent %v", content.Type)
				}
				send.want(tt.want)
				var want [][2]string
				if tt.warned {
					w := [2]string{fingerprint(t, certificates[tt.kept]())}
					if len(now) > 0 {
						w[1] = fingerprint(t, now)
					}
					want = append(want, w)
				}
				if diff := cmp.Diff(want, warnings); diff != "" {
					t.Errorf("warnings (-want +got):\n%s", diff)
				}
				kept, err := pins.UserPin(bob)
				if err != nil || kept == nil || string(kept) != string(certificates[tt.keptNow]()) {
					t.Errorf("%d bytes are kept (%v), want %s", len(kept), err, tt.keptNow)
				}
			})
		})
	}
}

// What keeps Send from knowing the recipient's certificate keeps the text from being sent.
func TestNoCertificateToBeHad(t *testing.T) {
	fail := func(code tipt.ErrorCode) func(*fakeNode) {
		return func(n *fakeNode) {
			_, fail := n.wantUserKeyAsked()
			fail(code)
		}
	}
	answer := func(a tipt.ForwardAnswer) func(*fakeNode) {
		return func(n *fakeNode) {
			answer, _ := n.wantUserKeyAsked()
			answer(a)
		}
	}
	unsealed := func(a tipt.ForwardAnswer) func(*fakeNode) {
		return func(n *fakeNode) {
			r, _, _ := n.wantForward()
			r.Reply(tipt.ForwardResponse{Response: a.Append(nil)}.Append(nil))
		}
	}
	give := func(certificate func(*testing.T) []byte) func(*fakeNode) {
		return func(n *fakeNode) { n.giveUserKey(certificate(n.t)) }
	}
	pause := func(*fakeNode) { time.Sleep(time.Minute) }
	again := func(n *fakeNode) { n.giveKey() } // of the node, after CANNOT_OPEN
	for _, tt := range []struct {
		name  string
		steps []func(*fakeNode)
		want  error
		bare  bool // the error says nothing of a certificate
	}{
		{"unreachable", []func(*fakeNode){fail(tipt.ErrNodeUnreachable)}, tipt.ErrNodeUnreachable, false},
		{"refused", []func(*fakeNode){fail(tipt.ErrNodeRefused)}, tipt.ErrNodeRefused, false},
		{"no answer, three times", []func(*fakeNode){fail(tipt.ErrNodeTimeout), pause, fail(tipt.ErrNodeTimeout), pause, fail(tipt.ErrNodeTimeout), pause}, tipt.ErrNodeTimeout, false},
		{"no such user", []func(*fakeNode){answer(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser}})}, tipt.ErrNoSuchUser, true},
		{"some error", []func(*fakeNode){answer(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrForwardUnsupported}})}, tipt.ErrForwardUnsupported, false},
		{"cannot open, twice", []func(*fakeNode){
			unsealed(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrCannotOpen}}), again,
			unsealed(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrCannotOpen}}),
		}, tipt.ErrCannotOpen, false},
		{"none, says somebody on the way", []func(*fakeNode){unsealed(tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{}.Append(nil)})}, seal.ErrMessage, false},
		{"no certificate at all", []func(*fakeNode){give(func(*testing.T) []byte { return []byte("hello") })}, seal.ErrCannotSeal, false},
		{"one that is not valid yet", []func(*fakeNode){give(func(t *testing.T) []byte {
			k, err := seal.NewUserKey(bob.String(), time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return k.Certificate()
		})}, seal.ErrCannotSeal, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := userKeysOf(t, n, nil)
				defer c.Close()
				var err error
				send := begin(t, func() error {
					err = c.Send(t.Context(), Outgoing{To: bob, Text: "hello"})
					return err
				})
				for _, step := range tt.steps {
					step(n)
				}
				n.wantNothing()
				send.want(tt.want)
				var noKey *UserKeyError
				if errors.As(err, &noKey) == tt.bare || noKey != nil && noKey.User != bob {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestOnlySealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := userKeysOf(t, n, nil)
		defer c.Close()
		send := func() *pending {
			return begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Sealed: true}) })
		}
		without := send()
		n.giveUserKey(nil)
		n.wantNothing()
		without.want(ErrNotSealed)
		clear(c.users)
		with, key := send(), newUserKey(t, bob)
		n.giveUserKey(key.Certificate())
		n.wantTextFor(key, "hello")
		with.want(nil)
	})
}

// A message is sealed once, to a certificate that is asked for until there is an answer, also on another connection.
func TestCertificateAskedOnNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := userKeysOf(t, n, nil)
		defer c.Close()
		key := newUserKey(t, bob)
		send := sendText(t, c, "hello", false)
		n.wantUserKeyAsked()
		n.now().CloseNow()
		time.Sleep(time.Minute)
		_, timeout := n.wantUserKeyAsked()
		timeout(tipt.ErrNodeTimeout)
		time.Sleep(time.Minute)
		n.giveUserKey(key.Certificate())
		r, _, first := n.wantForward()
		r.Fail(&tipt.Error{Code: tipt.ErrNodeTimeout})
		time.Sleep(time.Minute)
		r, _, second := n.wantForward()
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("sent again as something else (-first +second):\n%s", diff)
		}
		r.Reply(answered(nil))
		send.want(nil)
	})
}

// Section 8 with a recipient's node that cannot be asked: what is queued is sealed to what is kept.
func TestQueueWithKeptCertificate(t *testing.T) {
	for _, code := range []tipt.ErrorCode{tipt.ErrNodeUnreachable, tipt.ErrNodeTimeout} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			pins := new(memoryUserPins)
			c := userKeysOf(t, n, &Options{UserPins: pins})
			defer c.Close()
			fail := func() {
				t.Helper()
				_, fail := n.wantUserKeyAsked()
				fail(code)
			}
			keep := func(k *seal.UserKey) {
				var b []byte
				if k != nil {
					b = k.Certificate()
				}
				if err := pins.SetUserPin(bob, b); err != nil {
					t.Fatal(err)
				}
			}
			queue := func(k *seal.UserKey, text string) {
				t.Helper()
				send := sendText(t, c, text, true)
				n.wantTextFor(k, text)
				send.want(nil)
			}
			// Nothing is kept: it is not sent on a guess.
			unknown := sendText(t, c, "unknown", true)
			fail()
			time.Sleep(10 * time.Second) // in which Send tries again, and does not ask again
			n.wantNothing()
			unknown.want(code)

			key := newUserKey(t, bob)
			keep(key)
			queue(key, "within the minute nobody is asked")
			now := sendText(t, c, "not queued", false)
			fail()
			time.Sleep(10 * time.Second)
			if code == tipt.ErrNodeTimeout {
				fail()
				time.Sleep(10 * time.Second)
				fail()
				time.Sleep(10 * time.Second)
			}
			now.want(code)
			time.Sleep(time.Minute)
			send := sendText(t, c, "kept", true)
			fail()
			n.wantTextFor(key, "kept")
			send.want(nil)
			keep(nil)
			queue(nil, "had none")
			time.Sleep(time.Minute)
			send = sendText(t, c, "has one", true)
			n.giveUserKey(key.Certificate())
			n.wantTextFor(key, "has one")
			send.want(nil)

			// An answer is an answer.
			time.Sleep(time.Hour)
			send = sendText(t, c, "refused", true)
			n.giveKey()
			answer, _ := n.wantUserKeyAsked()
			answer(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser}})
			send.want(tipt.ErrNoSuchUser)
			n.wantNothing()
		})
	}
}

// A file of certificates that cannot be read stops what depends on it.
func TestBrokenUserPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		pins := new(memoryUserPins)
		if err := pins.SetUserPin(bob, []byte("broken")); err != nil {
			t.Fatal(err)
		}
		c := userKeysOf(t, n, &Options{UserPins: pins})
		defer c.Close()
		var err error
		send := begin(t, func() error {
			err = c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true})
			return nil
		})
		n.giveUserKey(nil)
		n.wantNothing()
		send.want(nil)
		if err == nil || !strings.Contains(err.Error(), "kept certificate of bob@node.example") {
			t.Errorf("error %v", err)
		}
	})
}

func TestCertificatesAreBounded(t *testing.T) {
	c, err := newClient(nodeName, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.endLife()
	pins, nodes := new(memoryUserPins), new(memoryPins)
	for i := range maxPins + 10 {
		user := tipt.Address{User: tipt.UserName(fmt.Sprintf("u%d", i)), Node: nodeName}
		k, err := c.userOf(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		k.leave()
		if err := pins.SetUserPin(user, nil); err != nil {
			t.Fatal(err)
		}
		if kept, _ := pins.UserPin(user); kept == nil {
			t.Fatalf("%v is not kept", user)
		}
		if err := nodes.SetPin(tipt.NodeName(fmt.Sprintf("n%d.example", i)), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.users) > maxUsers || len(pins.pins) > maxPins || len(nodes.pins) > maxPins {
		t.Errorf("%d users and %d and %d pins are kept", len(c.users), len(pins.pins), len(nodes.pins))
	}
}
