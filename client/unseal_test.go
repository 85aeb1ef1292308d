package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

func certificateOf(t *testing.T, k *seal.UserKey) *seal.Certificate {
	t.Helper()
	c, err := seal.ParseCertificate(k.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sealedFor is DELIVER's body with a text from bob that is sealed for to, and signed by from unless that is nil.
func sealedFor(t *testing.T, id byte, from, to *seal.UserKey, text string) tipt.DeliverRequest {
	t.Helper()
	d := textOf(id, text)
	d.Time = time.Now()
	var sealed []byte
	var err error
	if from == nil {
		sealed, err = certificateOf(t, to).Seal(d.Message, time.Now())
	} else {
		sealed, err = from.Seal(certificateOf(t, to), d.Message, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	d.Message = tipt.Content{Type: tipt.ContentSealed, Sealed: sealed}.Append(nil)
	return d
}

// An inboxTest is a client of alice's that receives, and knows the key of bob's node.
type inboxTest struct {
	t        *testing.T
	n        *fakeNode
	c        *Client
	own, bob *seal.UserKey
	pins     memoryUserPins
	refusals int          // of the handler, before it takes a message
	handed   chan Message // what the handler got
	receive  *pending
}

func newInboxTest(t *testing.T) *inboxTest {
	i := &inboxTest{t: t, n: newFakeNode(t), own: newUserKey(t, alice), bob: newUserKey(t, bob), handed: make(chan Message, 16)}
	i.c = userKeysOf(t, i.n, &Options{Key: i.own, UserPins: &i.pins})
	i.receive = begin(t, func() error { return i.c.Receive(t.Context(), i.handle) })
	return i
}

func (i *inboxTest) handle(_ context.Context, m Message) error {
	i.handed <- m
	if i.refusals--; i.refusals >= 0 {
		return errors.New("not now")
	}
	return nil
}

// next returns what is handed over next.
func (i *inboxTest) next() Message {
	i.t.Helper()
	synctest.Wait()
	select {
	case m := <-i.handed:
		return m
	default:
		i.t.Fatal("nothing is handed over")
		return Message{}
	}
}

func (i *inboxTest) keep(k *seal.UserKey) {
	i.t.Helper()
	if err := i.pins.SetUserPin(bob, k.Certificate()); err != nil {
		i.t.Fatal(err)
	}
}

// want waits for the next message, which has that text, came sealed, and is signed, or has a reason not to be.
func (i *inboxTest) want(text, reason string) {
	i.t.Helper()
	m := i.next()
	if got, _ := m.Text(); got != text || !m.Sealed || m.SealError != nil {
		i.t.Errorf("%q: handed over as %q, sealed %v (%v)", text, got, m.Sealed, m.SealError)
	}
	if m.Signed != (reason == "") || reason == "" != (m.SignError == nil) || m.SignError != nil && !strings.Contains(m.SignError.Error(), reason) {
		i.t.Errorf("%q: signed %v (%v), want %q", text, m.Signed, m.SignError, reason)
	}
}

func (i *inboxTest) wantNone() {
	i.t.Helper()
	synctest.Wait()
	select {
	case m := <-i.handed:
		i.t.Fatalf("handed over %+v, want nothing yet", m)
	default:
	}
}

func (i *inboxTest) deliver(d tipt.DeliverRequest) { i.n.now().deliver(d) }

func testInbox(t *testing.T, f func(*testing.T, *inboxTest)) {
	synctest.Test(t, func(t *testing.T) {
		i := newInboxTest(t)
		f(t, i)
		i.n.wantNothing()
		i.c.Close()
		i.receive.want(ErrClosed)
	})
}

// The kept certificate does, without anybody being asked; what has nothing to judge asks nobody either.
func TestSignedByKeptCertificate(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.keep(i.bob)
		i.deliver(sealedFor(t, 1, i.bob, i.own, "one"))
		i.want("one", "")
		i.deliver(sealedFor(t, 2, nil, i.own, "unsigned"))
		if m := i.next(); !m.Sealed || m.Signed || !errors.Is(m.SignError, seal.ErrUnsigned) {
			t.Errorf("unsigned by somebody with a key: %+v", m)
		}
		unsigned := sealedFor(t, 5, nil, i.own, "unsigned")
		unsigned.From = "carol@node.example"
		i.deliver(unsigned)
		if m := i.next(); !m.Sealed || m.Signed || m.SignError != nil {
			t.Errorf("unsigned: %+v", m)
		}
		i.deliver(sealedFor(t, 3, i.bob, i.own, "three"))
		i.want("three", "")
		plain := textOf(4, "plain")
		i.deliver(plain)
		if m := i.next(); m.Sealed || m.Signed || m.SignError != nil || m.SealError != nil {
			t.Errorf("plain: %+v", m)
		}
	})
}

// Signatures that do not count, while bob's certificate is kept. Nobody is asked about them.
func TestSignatureThatDoesNotCount(t *testing.T) {
	for _, tt := range []struct {
		name, reason string
		deliver      func(*testing.T, *inboxTest) tipt.DeliverRequest
	}{
		{"from nobody", "nobody vouches", func(t *testing.T, i *inboxTest) tipt.DeliverRequest {
			d := sealedFor(t, 1, i.bob, i.own, "text")
			d.From = ""
			return d
		}},
		{"from no address", "no address", func(t *testing.T, i *inboxTest) tipt.DeliverRequest {
			d := sealedFor(t, 1, i.bob, i.own, "text")
			d.From = "bob"
			return d
		}},
		{"from an address as no node writes it", "no address", func(t *testing.T, i *inboxTest) tipt.DeliverRequest {
			d := sealedFor(t, 1, i.bob, i.own, "text")
			d.From = "BOB@node.example"
			return d
		}},
		{"kept for long", "11 days before", func(t *testing.T, i *inboxTest) tipt.DeliverRequest {
			d := sealedFor(t, 1, i.bob, i.own, "text")
			d.Time = d.Time.Add(11 * 24 * time.Hour)
			return d
		}},
		{"of tomorrow", "from the future", func(t *testing.T, i *inboxTest) tipt.DeliverRequest {
			k, err := seal.NewUserKey(bob.String(), time.Now().Add(24*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return sealedFor(t, 1, k, i.own, "text") // dated as the key
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testInbox(t, func(t *testing.T, i *inboxTest) {
				i.keep(i.bob)
				i.deliver(tt.deliver(t, i))
				i.want("text", tt.reason)
			})
		})
	}
}

// A sender whose certificate is not kept is asked for it, once a minute, whatever comes of it.
func TestSenderIsAsked(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.deliver(sealedFor(t, 1, i.bob, i.own, "one"))
		i.deliver(sealedFor(t, 2, i.bob, i.own, "two"))
		i.n.giveUserKey(nil)
		i.want("one", "no certificate")
		i.want("two", "no certificate")
		time.Sleep(time.Minute)
		i.deliver(sealedFor(t, 9, i.bob, i.own, "nine"))
		_, fail := i.n.wantUserKeyAsked()
		fail(tipt.ErrNodeRefused)
		i.want("nine", "NODE_REFUSED")
		i.deliver(sealedFor(t, 10, i.bob, i.own, "ten"))
		i.want("ten", "NODE_REFUSED")
		time.Sleep(time.Minute)
		i.deliver(sealedFor(t, 3, i.bob, i.own, "three"))
		i.wantNone()
		i.n.giveUserKey(i.bob.Certificate())
		i.want("three", "")
		if kept, _ := i.pins.UserPin(bob); string(kept) != string(i.bob.Certificate()) {
			t.Error("bob's certificate is not kept")
		}

		// From now on another key is another key, and so says the one that asks.
		time.Sleep(time.Minute)
		var warned int
		i.c.options.UserKeyChanged = func(tipt.Address, string, string) error { warned++; return ErrUserKeyChanged }
		other := newUserKey(t, bob)
		i.deliver(sealedFor(t, 4, other, i.own, "four"))
		i.n.giveUserKey(other.Certificate())
		i.want("four", "has changed")
		i.deliver(sealedFor(t, 5, other, i.own, "five"))
		i.want("five", "has changed")
		i.deliver(sealedFor(t, 6, i.bob, i.own, "six"))
		i.want("six", "")
		time.Sleep(time.Minute)
		i.c.options.UserKeyChanged = func(tipt.Address, string, string) error { return nil }
		i.deliver(sealedFor(t, 7, other, i.own, "seven"))
		i.n.giveUserKey(other.Certificate())
		i.want("seven", "")
		i.deliver(sealedFor(t, 8, i.bob, i.own, "eight"))
		i.want("eight", "no such subkey")
		if warned != 1 {
			t.Errorf("warned %d times", warned)
		}
	})
}

// What a Send has learned a Receive knows, and the other way around.
func TestSendAndReceiveShareCertificates(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		send := sendText(t, i.c, "hello", false)
		i.n.giveUserKey(i.bob.Certificate())
		i.n.wantTextFor(i.bob, "hello")
		send.want(nil)
		i.deliver(sealedFor(t, 1, i.bob, i.own, "and hello"))
		i.want("and hello", "")
	})
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.deliver(sealedFor(t, 1, i.bob, i.own, "hello"))
		i.n.giveUserKey(i.bob.Certificate())
		i.want("hello", "")
		send := sendText(t, i.c, "and hello", false)
		i.n.wantTextFor(i.bob, "and hello")
		send.want(nil)
	})
}

// Whoever has seen another certificate, or that there is none any more, sends nothing to the one that was kept, which
// may be somebody else's by now, until the change is accepted or gone.
func TestRefusedChangeStopsSend(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.keep(i.bob)
		one := sendText(t, i.c, "one", false)
		i.n.giveUserKey(i.bob.Certificate())
		i.n.wantTextFor(i.bob, "one")
		one.want(nil)

		other := newUserKey(t, bob)
		i.deliver(sealedFor(t, 1, other, i.own, "a new key"))
		i.n.giveUserKey(other.Certificate())
		i.want("a new key", "has changed")
		for _, queue := range []bool{false, true} {
			two := sendText(t, i.c, "two", queue)
			i.n.giveUserKey(other.Certificate())
			i.n.wantNothing()
			two.want(ErrUserKeyChanged)
		}
		three := sendText(t, i.c, "three", true)
		_, fail := i.n.wantUserKeyAsked()
		fail(tipt.ErrNodeUnreachable)
		i.n.wantNothing() // is left for the node
		three.want(ErrUserKeyChanged)

		// As by another program.
		i.keep(other)
		four := sendText(t, i.c, "four", false)
		i.n.giveUserKey(other.Certificate())
		i.n.wantTextFor(other, "four")
		four.want(nil)
		five := sendText(t, i.c, "five", false) // within the hour, without asking
		i.n.wantTextFor(other, "five")
		five.want(nil)
	})
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.keep(i.bob)
		i.deliver(sealedFor(t, 1, newUserKey(t, bob), i.own, "withdrawn"))
		i.n.giveUserKey(nil)
		i.want("withdrawn", "is withdrawn")
		key := begin(t, func() error {
			_, err := i.c.RecipientKey(t.Context(), bob)
			return err
		})
		i.n.giveUserKey(nil)
		key.want(ErrUserKeyChanged)
		send := sendText(t, i.c, "back", false)
		i.n.giveUserKey(i.bob.Certificate())
		i.n.wantTextFor(i.bob, "back")
		send.want(nil)
	})
}

// bob shows alice's certificate as his own, and has her words handed over as his.
func TestSomebodyElsesCertificate(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		carol := newUserKey(t, tipt.Address{User: "carol", Node: nodeName})
		i.deliver(sealedFor(t, 1, carol, i.own, "carol's"))
		i.n.giveUserKey(carol.Certificate())
		i.want("carol's", "somebody else")
	})
}

// While a node does not answer, messages are handed over without; and not one after the other so late.
func TestSenderDoesNotAnswer(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.deliver(sealedFor(t, 1, i.bob, i.own, "one"))
		i.n.wantUserKeyAsked()
		time.Sleep(senderWait - time.Second)
		i.wantNone()
		time.Sleep(time.Second)
		i.want("one", "no answer within 10s")
		for id, user := range []tipt.UserName{"carol", "dave", "erin"} {
			from := tipt.Address{User: user, Node: nodeName}
			d := sealedFor(t, byte(id+2), newUserKey(t, from), i.own, string(user))
			d.From = from.String()
			i.deliver(d)
			if user == "carol" {
				i.n.want(tipt.RequestForward)
				time.Sleep(senderWait)
				i.want("carol", "no answer within 10s")
				continue
			}
			i.want(string(user), "takes long")
		}
		// The node's time comes back, and it is well again.
		time.Sleep(2 * time.Minute)
		i.deliver(sealedFor(t, 9, i.bob, i.own, "well"))
		i.n.giveUserKey(i.bob.Certificate())
		i.want("well", "")
	})
}

// While a Send waits for the certificate, Receive does with the one that is kept; where it needs another, it waits no
// longer than for an answer of its own.
func TestReceiveWhileSendAsks(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.keep(i.bob)
		send := sendText(t, i.c, "hello", false)
		answer, _ := i.n.wantUserKeyAsked()
		i.deliver(sealedFor(t, 1, i.bob, i.own, "one"))
		i.want("one", "")
		other := newUserKey(t, bob)
		for id := range byte(2) {
			i.deliver(sealedFor(t, 2+id, other, i.own, "of another key"))
			time.Sleep(senderWait - time.Second)
			i.wantNone()
			time.Sleep(time.Second)
			i.want("of another key", "no answer within 10s")
		}
		i.deliver(sealedFor(t, 4, other, i.own, "at once"))
		i.want("at once", "takes long")
		answer(tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{Key: i.bob.Certificate()}.Append(nil)})
		i.n.wantTextFor(i.bob, "hello")
		send.want(nil)
	})
}

// A message that is being judged when the client, or Receive, ends is not handed over with half a judgement.
func TestEndWhileSenderIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInboxTest(t)
		i.deliver(sealedFor(t, 1, i.bob, i.own, "one"))
		i.n.wantUserKeyAsked()
		i.c.Close()
		i.receive.want(ErrClosed)
		i.wantNone()
	})
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		own, key := newUserKey(t, alice), newUserKey(t, bob)
		c := userKeysOf(t, n, &Options{Key: own})
		defer c.Close()
		var r recorder
		ctx, cancel := context.WithCancel(t.Context())
		receive := begin(t, func() error { return c.Receive(ctx, r.handle) })
		answer := n.now().deliver(sealedFor(t, 1, key, own, "one"))
		give, _ := n.wantUserKeyAsked()
		cancel()
		receive.want(context.Canceled)
		give(tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{Key: key.Certificate()}.Append(nil)})
		wantNoAnswer(t, answer)
		if len(r.got) > 0 {
			t.Fatalf("handed over %+v", r.got)
		}
		time.Sleep(time.Minute)
		begin(t, func() error { return c.Receive(t.Context(), r.handle) })
		n.giveUserKey(key.Certificate())
		wantAnswer(t, answer, nil)
		if len(r.got) != 1 || !r.got[0].Sealed || !r.got[0].Signed {
			t.Errorf("handed over %+v", r.got)
		}
	})
}

// What the handler does not take is opened and judged once, and handed over again as it was; what is
// sealed within a seal stays so.
func TestUnsealedOnce(t *testing.T) {
	testInbox(t, func(t *testing.T, i *inboxTest) {
		i.keep(i.bob)
		d := sealedFor(t, 1, i.bob, i.own, "inside")
		inner := d.Message
		sealed, err := i.bob.Seal(certificateOf(t, i.own), inner, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		d.Message = tipt.Content{Type: tipt.ContentSealed, Sealed: sealed}.Append(nil)
		i.refusals = 3
		answer := i.n.now().deliver(d)
		time.Sleep(time.Minute)
		wantAnswer(t, answer, nil)
		for range 4 {
			m := i.next()
			if _, ok := m.Text(); ok || !m.Sealed || !m.Signed || string(m.Body) != string(inner) {
				t.Errorf("handed over as %+v", m)
			}
		}
		i.wantNone()
	})
}
