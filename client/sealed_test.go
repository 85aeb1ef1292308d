package client_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

const aliceOfA = "alice@a.example"

func newUserKey(t *testing.T, address string) *seal.UserKey {
	t.Helper()
	k, err := seal.NewUserKey(address, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// publish publishes the certificate of a key.
func (p *person) publish(k *seal.UserKey) {
	p.t.Helper()
	if err := p.SetKey(p.t.Context(), k.Certificate()); err != nil {
		p.t.Fatal(err)
	}
}

// wantSealed waits for a message that came sealed with that text, and is signed or not.
func (p *person) wantSealed(from, text string, signed bool) client.Message {
	p.t.Helper()
	m := p.next()
	got, _ := m.Text()
	if !m.Sealed || got != text || m.From != from || m.Signed != signed || m.SealError != nil {
		p.t.Fatalf("received %q from %q, sealed %v (%v), signed %v (%v), want %q from %q, sealed, signed %v",
			got, m.From, m.Sealed, m.SealError, m.Signed, m.SignError, text, from, signed)
	}
	return m
}

// wantPlain waits for a message that came without a seal.
func (p *person) wantPlain(from, text string) {
	p.t.Helper()
	m := p.next()
	if got, _ := m.Text(); got != text || m.From != from || m.Sealed || m.Signed || m.SealError != nil || m.SignError != nil {
		p.t.Fatalf("received %+v, want %q from %q without a seal", m, text, from)
	}
}

// TestSealedEndToEnd has two users of two nodes write to each other as they come to have keys.
func TestSealedEndToEnd(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	aliceKey, bobKey := newUserKey(t, aliceOfA), newUserKey(t, bobOfB.String())
	bob := join(t, b, "bob", client.Options{Key: bobKey})
	toAlice := tipt.Address{User: "alice", Node: nodeA}

	// Neither has published anything.
	alice := join(t, a, "alice", client.Options{Key: aliceKey})
	alice.mustSend(client.Outgoing{Text: "plain"})
	bob.wantPlain(aliceOfA, "plain")

	// Now bob has, which alice's client notices within an hour, and another one at once. A client without
	// a key cannot sign.
	bob.publish(bobKey)
	keyless := join(t, a, "keyless", client.Options{})
	keyless.mustSend(client.Outgoing{Text: "sealed"})
	if m := bob.wantSealed("keyless@a.example", "sealed", false); m.SignError != nil {
		t.Errorf("unsigned: %v", m.SignError)
	}
	dave := join(t, a, "dave", client.Options{Key: newUserKey(t, "dave@a.example")})
	dave.mustSend(client.Outgoing{Text: "signed", Queue: true})
	if m := bob.wantSealed("dave@a.example", "signed", false); m.SignError == nil || !strings.Contains(m.SignError.Error(), "no certificate") {
		t.Errorf("signed by a key that nobody can know: %v", m.SignError)
	}

	// And alice, who is answered on what she wrote before.
	alice.publish(aliceKey)
	bob.mustSend(client.Outgoing{To: toAlice, Text: "to you alone"})
	if m := alice.wantSealed(bobOfB.String(), "to you alone", true); m.SignError != nil {
		t.Errorf("signed: %v", m.SignError)
	}
	sealer := join(t, a, "sealer", client.Options{Key: newUserKey(t, "sealer@a.example")})
	sealer.publish(newUserKey(t, "sealer@a.example")) // not the one it signs with
	sealer.mustSend(client.Outgoing{Text: "who am I?"})
	if m := bob.wantSealed("sealer@a.example", "who am I?", false); !errors.Is(m.SignError, seal.ErrNoSigningKey) {
		t.Errorf("signed by another key than the published one: %v", m.SignError)
	}
	long := strings.Repeat("ü", tipt.MaxSealedTextSize/2)
	bob.mustSend(client.Outgoing{To: toAlice, Text: long})
	alice.wantSealed(bobOfB.String(), long, true)
	if err := bob.send(client.Outgoing{To: toAlice, Text: long + strings.Repeat("x", 14_000)}); !errors.Is(err, tipt.ErrTooLarge) {
		t.Errorf("a text that is too long once it is sealed: %v", err)
	}
}

// TestSealedToAnotherKey sends to people who cannot open it.
func TestSealedToAnotherKey(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	alice := join(t, a, "alice", client.Options{})
	lost := newUserKey(t, bobOfB.String())
	for _, tt := range []struct {
		user string
		key  *seal.UserKey
		want error
	}{
		{"bob", nil, client.ErrNoKey},
		{"carol", newUserKey(t, "carol@b.example"), seal.ErrCannotOpen},
	} {
		p := join(t, b, tt.user, client.Options{Key: tt.key})
		p.publish(lost)
		alice.mustSend(client.Outgoing{To: tipt.Address{User: tipt.UserName(tt.user), Node: nodeB}, Text: "lost"})
		m := p.next()
		if _, ok := m.Text(); ok || m.Sealed || m.Signed || !errors.Is(m.SealError, tt.want) {
			t.Errorf("%s received %+v", tt.user, m)
			continue
		}
		// Nothing is lost: whoever has the key opens it.
		var content tipt.Content
		if err := content.Parse(m.Body); err != nil || content.Type != tipt.ContentSealed {
			t.Fatalf("%s received %v, %v", tt.user, content.Type, err)
		}
		o, err := lost.Open(content.Sealed)
		if err == nil {
			m.Body = o.Plaintext
		}
		if got, _ := m.Text(); got != "lost" {
			t.Errorf("%s opened it to %q, %v", tt.user, got, err)
		}
	}
}

// TestOldKeys opens with keys that the user's is in the place of, in any order, and signs with none of them.
func TestOldKeys(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	keys := []*seal.UserKey{newUserKey(t, aliceOfA), newUserKey(t, aliceOfA), newUserKey(t, aliceOfA)}
	aliceKey, bobKey := keys[0], newUserKey(t, bobOfB.String())
	alice := join(t, a, "alice", client.Options{Key: aliceKey, OldKeys: keys[1:]})
	bob := join(t, b, "bob", client.Options{Key: bobKey})
	bob.publish(bobKey)
	for i, text := range []string{"now", "a year ago", "two years ago"} {
		alice.publish(keys[i])
		// A client of its own, which learns the certificate that is published now.
		sender := join(t, b, fmt.Sprintf("sender%d", i), client.Options{})
		if err := sender.Send(t.Context(), client.Outgoing{To: tipt.Address{User: "alice", Node: nodeA}, Text: text}); err != nil {
			t.Fatal(err)
		}
		alice.wantSealed(fmt.Sprintf("sender%d@b.example", i), text, false)
	}
	alice.publish(aliceKey)
	alice.mustSend(client.Outgoing{Text: "signed"})
	bob.wantSealed(aliceOfA, "signed", true)
	keyless := join(t, a, "keyless", client.Options{OldKeys: keys})
	keyless.publish(keys[2])
	bob.mustSend(client.Outgoing{To: tipt.Address{User: "keyless", Node: nodeA}, Text: "opened"})
	keyless.wantSealed(bobOfB.String(), "opened", true)
}

// TestStolenMessage has mallory, with the help of somebody's node, send bob what alice has signed for him, and
// what bob signed for her.
func TestStolenMessage(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	aliceKey, bobKey := newUserKey(t, aliceOfA), newUserKey(t, bobOfB.String())
	bob := join(t, b, "bob", client.Options{Key: bobKey})
	alice, mallory := join(t, a, "alice", client.Options{Key: aliceKey}), join(t, a, "mallory", client.Options{})
	bob.publish(bobKey)
	alice.publish(aliceKey)
	stolen := func(from, to *seal.UserKey) client.Outgoing {
		t.Helper()
		certificate, err := seal.ParseCertificate(to.Certificate())
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := from.Seal(certificate, plain("I quit"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return client.Outgoing{Body: tipt.Content{Type: tipt.ContentSealed, Sealed: sealed}.Append(nil)}
	}
	alice.mustSend(stolen(aliceKey, bobKey)) // as it was
	bob.wantSealed(aliceOfA, "I quit", true)
	wantReason := func(reason string) {
		t.Helper()
		if m := bob.wantSealed("mallory@a.example", "I quit", false); m.SignError == nil || !strings.Contains(m.SignError.Error(), reason) {
			t.Errorf("not signed: %v, want %q", m.SignError, reason)
		}
	}
	mallory.mustSend(stolen(aliceKey, bobKey))
	wantReason("no certificate")
	mallory.publish(aliceKey) // everybody can get her certificate
	other := join(t, b, "other", client.Options{Key: bobKey})
	mallory.mustSend(withTo(stolen(aliceKey, bobKey), tipt.Address{User: "other", Node: nodeB}))
	if m := other.wantSealed("mallory@a.example", "I quit", false); m.SignError == nil || !strings.Contains(m.SignError.Error(), "somebody else") {
		t.Errorf("by a certificate of alice's: %v", m.SignError)
	}
	alice.mustSend(stolen(bobKey, bobKey)) // which he has written to himself
	if m := bob.wantSealed(aliceOfA, "I quit", false); !errors.Is(m.SignError, seal.ErrNoSigningKey) {
		t.Errorf("by a key of bob's: %v", m.SignError)
	}
	bob.mustSend(withTo(stolen(aliceKey, aliceKey), tipt.Address{User: "alice", Node: nodeA}))
	if m := alice.wantSealed(bobOfB.String(), "I quit", false); !errors.Is(m.SignError, seal.ErrNoSigningKey) {
		t.Errorf("by a key of alice's own: %v", m.SignError)
	}
}

func withTo(m client.Outgoing, to tipt.Address) client.Outgoing {
	m.To = to
	return m
}

// TestCertificateChanges has a recipient take another key, or none, which the sender's user has to accept.
func TestCertificateChanges(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	pins := new(sharedPins)
	first, second := newUserKey(t, bobOfB.String()), newUserKey(t, bobOfB.String())
	bob := join(t, b, "bob", client.Options{Key: first})
	bob.publish(first)
	alice := join(t, a, "alice", client.Options{Pins: pins, UserPins: pins})
	alice.mustSend(client.Outgoing{Text: "one"})
	bob.wantSealed(aliceOfA, "one", false)

	accept := func(user tipt.Address, was, is string) error {
		if user != bobOfB || was == is {
			t.Errorf("asked to accept %q for %q of %v", is, was, user)
		}
		return nil
	}
	for i, tt := range []struct {
		key  *seal.UserKey
		want func()
	}{
		{second, func() {
			if m := bob.next(); !errors.Is(m.SealError, seal.ErrCannotOpen) {
				t.Errorf("what was sealed to another key came as %+v", m)
			}
		}},
		{nil, func() { bob.wantPlain("careless2@a.example", "accepted") }},
	} {
		if tt.key == nil {
			if err := bob.SetKey(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		} else {
			bob.publish(tt.key)
		}
		careful := join(t, a, "careful"+string(rune('1'+i)), client.Options{Pins: pins, UserPins: pins})
		for range 2 { // it stays refused
			for _, queue := range []bool{false, true} {
				if err := careful.send(client.Outgoing{Text: "secret", Queue: queue}); !errors.Is(err, client.ErrUserKeyChanged) {
					t.Errorf("Send: %v, want %v", err, client.ErrUserKeyChanged)
				}
			}
		}
		careless := join(t, a, "careless"+string(rune('1'+i)), client.Options{Pins: pins, UserPins: pins, UserKeyChanged: accept})
		careless.mustSend(client.Outgoing{Text: "accepted"})
		tt.want()
	}
}
