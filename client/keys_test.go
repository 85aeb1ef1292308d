package client

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// readCertificate reads a file of testdata: first.pgp, or vouched.pgp, whose
// user id the primary key of first.pgp has certified.
func readCertificate(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fingerprint(t *testing.T, certificate []byte) string {
	t.Helper()
	c, err := seal.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	return c.Fingerprint()
}

func TestPins(t *testing.T) {
	first, vouched := readCertificate(t, "first.pgp"), readCertificate(t, "vouched.pgp")
	another := newNodeKey(t).Certificate()
	refused := errors.New("not that key")
	tests := []struct {
		name    string
		kept    []byte
		now     []byte
		accept  error
		warned  bool
		want    error
		keptNow []byte
	}{
		{"first seen", nil, first, refused, false, nil, first},
		{"the same", first, first, refused, false, nil, first},
		{"changed, accepted", first, another, nil, true, nil, another},
		{"changed, refused", first, another, refused, true, refused, first},
		{"changed, vouched for", first, vouched, refused, false, nil, vouched},
		{"changed back, which nobody vouches for", vouched, first, refused, true, refused, vouched},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC))) // another is of today
				n := newFakeNode(t)
				pins := new(memoryPins)
				if tt.kept != nil {
					if err := pins.SetPin(nodeName, tt.kept); err != nil {
						t.Fatal(err)
					}
				}
				var warnings [][2]string
				c := signedIn(t, n, &Options{Pins: pins, KeyChanged: func(node tipt.NodeName, was, is string) error {
					if node != nodeName {
						t.Errorf("warned of %s, want %s", node, nodeName)
					}
					warnings = append(warnings, [2]string{was, is})
					return tt.accept
				}})
				defer c.Close()
				send := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true}) })
				n.want(tipt.RequestGetNodeKey).Reply(tipt.GetNodeKeyResponse{Key: tt.now}.Append(nil))
				if tt.want == nil {
					n.want(tipt.RequestForward).Reply(nil)
				} else {
					n.wantNothing()
				}
				send.want(tt.want)
				var want [][2]string
				if tt.warned {
					want = [][2]string{{fingerprint(t, tt.kept), fingerprint(t, tt.now)}}
				}
				if diff := cmp.Diff(want, warnings); diff != "" {
					t.Errorf("warnings (-want +got):\n%s", diff)
				}
				kept, err := pins.Pin(nodeName)
				if err != nil || !bytes.Equal(kept, tt.keptNow) {
					t.Errorf("another certificate is kept than should be (%v)", err)
				}
			})
		})
	}
}

func TestKeyIsCachedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		send := func() *pending {
			return begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true}) })
		}
		one, two := send(), send()
		n.giveKey() // once for both
		n.want(tipt.RequestForward).Reply(nil)
		n.want(tipt.RequestForward).Reply(nil)
		one.want(nil)
		two.want(nil)
		time.Sleep(time.Hour - time.Second)
		three := send()
		n.want(tipt.RequestForward).Reply(nil)
		three.want(nil)
		time.Sleep(time.Second)
		send()
		if n.giveKey().New {
			t.Error("a key that is merely old is fetched past the node's cache")
		}
	})
}

func TestCannotOpenSealsAgainOnce(t *testing.T) {
	cannotOpen := &tipt.ForwardError{Code: tipt.ErrCannotOpen}
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			c := signedIn(t, n, nil)
			defer c.Close()
			id := tipt.NewMessageID()
			send := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", ID: id}) })
			n.giveKey()
			r, _, _ := n.wantForward()
			n.key = newNodeKey(t)
			r.Reply(answered(cannotOpen))
			if !n.giveKey().New {
				t.Error("after CANNOT_OPEN the key is fetched from the node's cache")
			}
			r, _, sealed := n.wantForward() // to the new key
			if sealed.Message.ID != id {
				t.Errorf("sealed again with mid %v, want %v", sealed.Message.ID, id)
			}
			if again {
				r.Reply(answered(cannotOpen))
				send.want(tipt.ErrCannotOpen)
			} else {
				r.Reply(answered(nil))
				send.want(nil)
			}
			n.wantNothing()
		})
	}
}

func TestReturnedCannotOpenOutdatesKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		send := func() *pending {
			return begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true}) })
		}
		first := send()
		n.giveKey()
		n.want(tipt.RequestForward).Reply(nil)
		first.want(nil)
		cannotOpen := tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrCannotOpen}}
		n.now().request(tipt.RequestReturn, tipt.ReturnRequest{Node: string(nodeName), Response: cannotOpen.Append(nil)}.Append(nil))
		synctest.Wait()
		second := send()
		if !n.giveKey().New {
			t.Error("after a returned CANNOT_OPEN the key is fetched from the node's cache")
		}
		n.want(tipt.RequestForward).Reply(nil)
		second.want(nil)
		third := send()
		n.want(tipt.RequestForward).Reply(nil)
		third.want(nil)
	})
}

func TestUserKey(t *testing.T) {
	certificate := readCertificate(t, "first.pgp")
	sealed := func(t *testing.T, key [tipt.SealKeySize]byte, a tipt.ForwardAnswer) []byte {
		t.Helper()
		b, err := seal.SealAnswer(&key, a.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	found := tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{Key: certificate}.Append(nil)}
	tests := []struct {
		name   string
		answer func(t *testing.T, key [tipt.SealKeySize]byte) []byte
		want   []byte
		fails  error
	}{
		{"a key", func(t *testing.T, key [tipt.SealKeySize]byte) []byte {
			return sealed(t, key, found)
		}, certificate, nil},
		{"no key", func(t *testing.T, key [tipt.SealKeySize]byte) []byte {
			return sealed(t, key, tipt.ForwardAnswer{Body: tipt.UserKeyAnswer{}.Append(nil)})
		}, nil, nil},
		{"sealed error", func(t *testing.T, key [tipt.SealKeySize]byte) []byte {
			return sealed(t, key, tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser}})
		}, nil, tipt.ErrNoSuchUser},
		{"unsealed error", func(*testing.T, [tipt.SealKeySize]byte) []byte {
			return tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrForwardUnsupported}}.Append(nil)
		}, nil, tipt.ErrForwardUnsupported},
		{"unsealed key", func(*testing.T, [tipt.SealKeySize]byte) []byte {
			return found.Append(nil)
		}, nil, seal.ErrMessage},
		{"sealed with another key", func(t *testing.T, _ [tipt.SealKeySize]byte) []byte {
			return sealed(t, [tipt.SealKeySize]byte{1}, found)
		}, nil, seal.ErrMessage},
		{"changed on the way", func(t *testing.T, key [tipt.SealKeySize]byte) []byte {
			b := sealed(t, key, found)
			b[100] ^= 1
			return b
		}, nil, seal.ErrMessage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				defer c.Close()
				var got []byte
				call := begin(t, func() (err error) {
					got, err = c.UserKey(t.Context(), bob)
					return err
				})
				n.giveKey()
				r, req, request := n.wantForward()
				if !req.Wait || request.Type != tipt.ForwardGetUserKey || request.GetUserKey.User != "bob" {
					t.Errorf("FORWARD with wait %v of %+v", req.Wait, request)
				}
				r.Reply(tipt.ForwardResponse{Response: tt.answer(t, request.GetUserKey.Seal)}.Append(nil))
				call.want(tt.fails)
				if !bytes.Equal(got, tt.want) {
					t.Errorf("got % x, want % x", got, tt.want)
				}
			})
		})
	}
}

func TestUserKeyAsksAgainWithNewSeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		call := begin(t, func() error { _, err := c.UserKey(t.Context(), bob); return err })
		n.giveKey()
		reply := func(r *link.Request) { r.Reply(answered(&tipt.ForwardError{Code: tipt.ErrCannotOpen})) }
		r, _, first := n.wantForward()
		reply(r)
		if !n.giveKey().New {
			t.Error("after CANNOT_OPEN the key is fetched from the node's cache")
		}
		r, _, second := n.wantForward()
		if first.GetUserKey.Seal == second.GetUserKey.Seal {
			t.Error("asked again with the same seal")
		}
		reply(r)
		call.want(tipt.ErrCannotOpen)
	})
}
