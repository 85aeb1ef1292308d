package client

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// sessionKeyOf returns the session key packet at the start of a message.
func sessionKeyOf(t *testing.T, sealed []byte) []byte {
	t.Helper()
	// Packet type 1 in the OpenPGP format, with a length of one byte (RFC 9580, section 4.2).
	if len(sealed) < 2 || sealed[0] != 0xc1 || sealed[1] >= 192 || len(sealed) < 2+int(sealed[1]) {
		t.Fatalf("message starts with % x", sealed[:min(len(sealed), 8)])
	}
	return sealed[:2+int(sealed[1])]
}

// sendFor has the client send to bob and returns the session key that it comes with. Where the
// client asks for the node's key first, it gets it.
func sendFor(t *testing.T, n *fakeNode, c *Client, asksKey bool) []byte {
	t.Helper()
	send := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true}) })
	if asksKey {
		n.giveKey()
	}
	r, req, _ := n.wantForward()
	r.Reply(nil)
	send.want(nil)
	return sessionKeyOf(t, req.Sealed)
}

func wantSame(t *testing.T, why string, a, b []byte) {
	t.Helper()
	if !bytes.Equal(a, b) {
		t.Errorf("%s: another session key", why)
	}
}

func wantOther(t *testing.T, why string, a, b []byte) {
	t.Helper()
	if bytes.Equal(a, b) {
		t.Errorf("%s: the same session key", why)
	}
}

// outdate has the node of bob's messages say that it cannot open one, so that its key is asked
// for again.
func outdate(t *testing.T, n *fakeNode) {
	t.Helper()
	cannotOpen := tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrCannotOpen}}
	n.now().request(tipt.RequestReturn, tipt.ReturnRequest{Node: string(nodeName), Response: cannotOpen.Append(nil)}.Append(nil))
	synctest.Wait()
}

// Section 5.2: a session key is used for an hour, whatever happens to the certificate, which is
// fetched again here in between and is the same.
func TestSessionKeyServesForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		first := sendFor(t, n, c, true)
		wantSame(t, "at once", first, sendFor(t, n, c, false))
		time.Sleep(30 * time.Minute)
		outdate(t, n)
		wantSame(t, "after half an hour", first, sendFor(t, n, c, true))
		time.Sleep(30*time.Minute - time.Nanosecond)
		wantSame(t, "within the hour", first, sendFor(t, n, c, false))
		time.Sleep(time.Nanosecond)
		second := sendFor(t, n, c, false)
		wantOther(t, "after an hour", first, second)
		wantSame(t, "of the second hour", second, sendFor(t, n, c, false))
	})
}

func TestSessionKeyServesOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		first := sendFor(t, n, c, true)
		c.mu.Lock()
		old := c.session
		c.mu.Unlock()
		n.now().CloseNow()
		time.Sleep(time.Minute)
		second := sendFor(t, n, c, false)
		wantOther(t, "on the next connection", first, second)
		if len(old.sealers) > 0 {
			t.Error("the ended connection's session keys are not forgotten")
		}
		key, err := seal.ParseCertificate(n.key.Certificate())
		if err != nil {
			t.Fatal(err)
		}
		var late [2][]byte
		for i := range late {
			sealed, err := old.sealer(nodeName, key).Seal([]byte("late"), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			late[i] = sessionKeyOf(t, sealed)
		}
		wantOther(t, "sealed for an ended connection", late[0], late[1])
		if len(old.sealers) > 0 {
			t.Error("an ended connection remembers a session key")
		}
	})
}

// The clients of one user share nothing either.
func TestSessionKeyServesOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		one := signedIn(t, n, nil)
		first := sendFor(t, n, one, true)
		one.Close()
		two := signedIn(t, n, nil)
		defer two.Close()
		wantOther(t, "of another client", first, sendFor(t, n, two, true))
	})
}

func TestSessionKeyServesOneCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		first := sendFor(t, n, c, true)
		time.Sleep(time.Minute)
		rotated, err := n.key.Rotate(time.Now().Add(-10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		n.key = rotated
		outdate(t, n)
		second := sendFor(t, n, c, true)
		wantOther(t, "for another certificate", first, second)
		wantSame(t, "for that certificate", second, sendFor(t, n, c, false))
	})
}

func TestSessionKeyServesOneNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		first := sendFor(t, n, c, true)
		send := begin(t, func() error {
			return c.Send(t.Context(), Outgoing{To: bobElsewhere, Text: "hello", Queue: true})
		})
		n.giveKey() // the same, for another name
		r, req, _ := n.wantForward()
		r.Reply(nil)
		send.want(nil)
		wantOther(t, "for another node", first, sessionKeyOf(t, req.Sealed))
		wantSame(t, "for the first node", first, sendFor(t, n, c, false))
	})
}

// A certificate whose features name SEIPD version 1 alone, as GnuPG 2.2 makes it.
func TestSessionKeyServesOnceForVersion1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)))
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		var keys [2][]byte
		for i := range keys {
			send := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true}) })
			if i == 0 {
				n.want(tipt.RequestGetNodeKey).Reply(tipt.GetNodeKeyResponse{Key: readCertificate(t, "first.pgp")}.Append(nil))
			}
			r := n.want(tipt.RequestForward)
			var req tipt.ForwardRequest
			if err := req.Parse(r.Body, r.Newer); err != nil {
				t.Fatal(err)
			}
			r.Reply(nil)
			send.want(nil)
			keys[i] = sessionKeyOf(t, req.Sealed)
			if keys[i][2] != 3 {
				t.Errorf("session key of version %d, want 3", keys[i][2])
			}
		}
		wantOther(t, "in SEIPD version 1", keys[0], keys[1])
	})
}

// Messages that are sent at once share a session key, and none is lost to it.
func TestSessionKeyServesManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		first := sendFor(t, n, c, true)
		const many = 64
		var sends [many]*pending
		for i := range sends {
			sends[i] = begin(t, func() error {
				return c.Send(t.Context(), Outgoing{To: bob, Text: fmt.Sprint(i), Queue: true})
			})
		}
		seen := make(map[string]bool)
		for range sends {
			r, req, sealed := n.wantForward()
			wantSame(t, "sent at once", first, sessionKeyOf(t, req.Sealed))
			seen[string(sealed.Message.Message)] = true
			r.Reply(nil)
		}
		for _, send := range sends {
			send.want(nil)
		}
		if len(seen) != many {
			t.Errorf("%d messages, want %d", len(seen), many)
		}
	})
}

// How many nodes a connection keeps session keys for is bounded, and the others are wiped.
func TestSessionKeysAreBounded(t *testing.T) {
	key, err := seal.ParseCertificate(newNodeKey(t).Certificate())
	if err != nil {
		t.Fatal(err)
	}
	s := &session{sealers: make(map[tipt.NodeName]*seal.Sealer)}
	first := s.sealer("n.example", key)
	one, err := first.Seal(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxKeys {
		s.sealer(tipt.NodeName(fmt.Sprintf("n%d.example", i)), key)
	}
	if len(s.sealers) > maxKeys {
		t.Errorf("%d kept", len(s.sealers))
	}
	two, err := first.Seal(nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wantOther(t, "of a node that made room", sessionKeyOf(t, one), sessionKeyOf(t, two))
}
