package client_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

// TestUserKeyOfAnotherNode gets the keys of another node's users.
func TestUserKeyOfAnotherNode(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	alice, bob := join(t, a, "alice", client.Options{}), join(t, b, "bob", client.Options{})
	certificate := newKey(t, time.Now()).Certificate()
	for _, tt := range []struct {
		name string
		set  []byte
		user tipt.UserName
		want error
	}{
		{"one without a key", nil, "bob", nil},
		{"one with a key", certificate, "bob", nil},
		{"nobody", nil, "nobody", tipt.ErrNoSuchUser},
	} {
		if tt.set != nil {
			if err := bob.SetKey(t.Context(), tt.set); err != nil {
				t.Fatal(err)
			}
		}
		got, err := alice.UserKey(t.Context(), tipt.Address{User: tt.user, Node: nodeB})
		if !errors.Is(err, tt.want) || !bytes.Equal(got, tt.set) {
			t.Errorf("%s: %d bytes, %v, want %d, %v", tt.name, len(got), err, len(tt.set), tt.want)
		}
	}
}

// forwarded makes a function of a FORWARD's answer one of its response's body.
func forwarded(t *testing.T, f func(answer []byte) []byte) func(tipt.NodeRequest, []byte) ([]byte, error) {
	return func(code tipt.NodeRequest, body []byte) ([]byte, error) {
		if code != tipt.RequestForward {
			return body, nil
		}
		var resp tipt.ForwardResponse
		if err := resp.Parse(body, false); err != nil {
			t.Errorf("FORWARD's response: %v", err)
		}
		return tipt.ForwardResponse{Response: f(slices.Clone(resp.Response))}.Append(nil), nil
	}
}

// TestUserKeyRefusesWhatTheForwardingNodeMade has the node in the middle try all ways to have
// another key taken for bob's. Each ends in an error and no key.
func TestUserKeyRefusesWhatTheForwardingNodeMade(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	m := newMiddle(t, a)
	bob, mallory := join(t, b, "bob", client.Options{}), join(t, b, "mallory", client.Options{})
	genuine, forged := newKey(t, time.Now()).Certificate(), newKey(t, time.Now()).Certificate()
	for p, certificate := range map[*person][]byte{bob: genuine, mallory: forged} {
		if err := p.SetKey(t.Context(), certificate); err != nil {
			t.Fatal(err)
		}
	}
	alice := join(t, a, "alice", client.Options{Connect: m.addr})

	// What the middle can have besides: mallory's key, sealed for itself, and an
	// answer for alice of before.
	ours := tipt.SealedRequest{Type: tipt.ForwardGetUserKey, GetUserKey: &tipt.GetUserKeyForward{User: "mallory"}}
	forMallory := func(code tipt.NodeRequest, body []byte) []byte {
		if code != tipt.RequestForward {
			return body
		}
		return tipt.ForwardRequest{Node: string(nodeB), Wait: true, Sealed: b.Seal(t, ours)}.Append(nil)
	}
	var before []byte
	m.change(nil, forwarded(t, func(answer []byte) []byte { before = answer; return answer }))
	wantGenuine := func(t *testing.T) {
		t.Helper()
		if got, err := alice.UserKey(t.Context(), bobOfB); err != nil || !bytes.Equal(got, genuine) {
			t.Fatalf("without anybody in the middle: %d bytes, %v, want bob's key", len(got), err)
		}
	}
	wantGenuine(t)

	with := func(key []byte) []byte {
		return tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{Key: key}.Append(nil)}.Append(nil)
	}
	always := func(b []byte) func([]byte) []byte { return func([]byte) []byte { return b } }
	sealedByUs, err := seal.SealAnswer(&ours.GetUserKey.Seal, with(forged))
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[(i+len(b))%len(b)] ^= 1
			return b
		}
	}
	for _, tt := range []struct {
		name   string
		ask    func(tipt.NodeRequest, []byte) []byte
		answer func([]byte) []byte
		want   error
	}{
		{"asks for mallory's instead", forMallory, always(nil), seal.ErrMessage},
		{"passes mallory's sealed answer on", forMallory, func(b []byte) []byte { return b }, seal.ErrMessage},
		{"repeats an answer of before", nil, always(before), seal.ErrMessage},
		{"seals with a key of its own", nil, always(sealedByUs), seal.ErrMessage},
		{"answers unsealed", nil, always(with(forged)), seal.ErrMessage},
		{"answers unsealed that there is none", nil, always(with(nil)), seal.ErrMessage},
		{"answers like MESSAGE", nil, always(tipt.ForwardAnswer{}.Append(nil)), seal.ErrMessage},
		{"says that there is no such user", nil, always(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser}}.Append(nil)), tipt.ErrNoSuchUser},
		{"always says CANNOT_OPEN", nil, always(tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrCannotOpen}}.Append(nil)), tipt.ErrCannotOpen},
		{"edits the nonce", nil, flip(0), seal.ErrMessage},
		{"edits the sealed map", nil, flip(12), seal.ErrMessage},
		{"edits the padding", nil, flip(8000), seal.ErrMessage},
		{"edits the tag", nil, flip(-1), seal.ErrMessage},
		{"cuts the last byte off", nil, func(b []byte) []byte { return b[:len(b)-1] }, seal.ErrMessage},
		{"cuts the padding off", nil, func(b []byte) []byte { return b[:1024] }, seal.ErrMessage},
		{"leaves the nonce alone", nil, func(b []byte) []byte { return b[:12] }, seal.ErrMessage},
		{"leaves nothing", nil, always(nil), seal.ErrMessage},
		{"adds a byte", nil, func(b []byte) []byte { return append(b, 0) }, seal.ErrMessage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.change(tt.ask, forwarded(t, tt.answer))
			if got, err := alice.UserKey(t.Context(), bobOfB); got != nil || !errors.Is(err, tt.want) {
				t.Errorf("%d bytes, %v, want no key and %v", len(got), err, tt.want)
			}
		})
	}

	withhold := func(failure error) func(tipt.NodeRequest, []byte) ([]byte, error) {
		return func(code tipt.NodeRequest, body []byte) ([]byte, error) {
			if code == tipt.RequestForward {
				return nil, failure
			}
			return body, nil
		}
	}
	t.Run("says that no answer came", func(t *testing.T) {
		m.change(nil, withhold(&tipt.Error{Code: tipt.ErrNodeTimeout}))
		if got, err := alice.UserKey(t.Context(), bobOfB); got != nil || !errors.Is(err, tipt.ErrNodeTimeout) {
			t.Errorf("%d bytes, %v, want no key and %v", len(got), err, tipt.ErrNodeTimeout)
		}
	})
	t.Run("withholds the answer", func(t *testing.T) {
		m.change(nil, withhold(errWithheld))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if got, err := alice.UserKey(ctx, bobOfB); got != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d bytes, %v, want no key and %v", len(got), err, context.DeadlineExceeded)
		}
	})
	t.Run("none of them any longer", func(t *testing.T) {
		m.change(nil, nil)
		wantGenuine(t)
	})
}

// TestSwappedNodeKey has the node in the middle give its own key for another node's, with which it could
// read everything: a client that has seen the right one refuses it, unless its user accepts.
func TestSwappedNodeKey(t *testing.T) {
	t.Parallel()
	a, b := startTwo(t)
	m := newMiddle(t, a)
	bob := join(t, b, "bob", client.Options{})
	refused := errors.New("not that key")
	pins := new(sharedPins)
	options := client.Options{Connect: m.addr, Pins: pins, KeyChanged: func(tipt.NodeName, string, string) error { return refused }}
	alice := join(t, a, "alice", options)
	alice.mustSend(client.Outgoing{Text: "one"})
	bob.wantText("alice@a.example", "one")

	// One that calls itself b.example's and one that another key has certified, though not b's.
	vouched, err := os.ReadFile(filepath.Join("testdata", "vouched.pgp"))
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string][]byte{"new": newKey(t, time.Now()).Certificate(), "vouched for by a stranger": vouched} {
		m.change(nil, func(code tipt.NodeRequest, body []byte) ([]byte, error) {
			if code == tipt.RequestGetNodeKey {
				return tipt.GetNodeKeyResponse{Key: forged}.Append(nil), nil
			}
			return body, nil
		})
		forwards := m.count(tipt.RequestForward)
		later := join(t, a, "later-"+name[:3], options) // and has nothing but the pins
		if err := later.send(client.Outgoing{Text: "secret"}); !errors.Is(err, refused) {
			t.Errorf("%s: Send: %v, want %v", name, err, refused)
		}
		if _, err := later.UserKey(t.Context(), bobOfB); !errors.Is(err, refused) {
			t.Errorf("%s: UserKey: %v, want %v", name, err, refused)
		}
		if n := m.count(tipt.RequestForward) - forwards; n != 0 {
			t.Errorf("%s: the client has forwarded %d requests", name, n)
		}
	}
}
