package tipt_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
)

func TestErrorsByCode(t *testing.T) {
	err := fmt.Errorf("forward to b.example: %w", &tipt.Error{Code: tipt.ErrNodeTimeout, Message: "no answer"})
	if !errors.Is(err, tipt.ErrNodeTimeout) {
		t.Errorf("%v is not NODE_TIMEOUT", err)
	}
	if errors.Is(err, tipt.ErrNodeUnreachable) || errors.Is(err, tipt.ForwardErrorCode(tipt.ErrNodeTimeout)) {
		t.Errorf("%v is another code too", err)
	}
	if err := fmt.Errorf("send: %w", tipt.ErrBusy); !errors.Is(err, tipt.ErrBusy) {
		t.Errorf("%v is not BUSY", err)
	}

	// The two kinds of code share numbers and must not be taken for each other.
	forward := fmt.Errorf("send: %w", &tipt.ForwardError{Code: tipt.ErrNoSuchUser})
	if !errors.Is(forward, tipt.ErrNoSuchUser) {
		t.Errorf("%v is not NO_SUCH_USER", forward)
	}
	if errors.Is(forward, tipt.ErrRejected) {
		t.Errorf("%v is REJECTED, which has the same number", forward)
	}

	bad := fmt.Errorf("parse: %w", &tipt.MalformedError{Key: "id", Found: "nil", Want: "uint up to 8 bits"})
	if !errors.Is(bad, tipt.ErrMalformed) || !errors.Is(bad, tipt.ErrForwardMalformed) || errors.Is(bad, tipt.ErrInternal) {
		t.Errorf("%v is not MALFORMED alone", bad)
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{tipt.ErrCredentials, "CREDENTIALS: unknown user, or wrong password or token"},
		{&tipt.Error{Code: tipt.ErrCredentials}, "CREDENTIALS: unknown user, or wrong password or token"},
		{&tipt.Error{Code: tipt.ErrBusy, Message: "slow down", Wait: 1500 * time.Millisecond}, "BUSY: slow down (retry in 1.5s)"},
		{&tipt.Error{Code: 0x7f}, "0x7f: unknown error"},
		{tipt.ErrCannotOpen, "CANNOT_OPEN: the node's key has changed, seal the request anew"},
		{&tipt.ForwardError{Code: tipt.ErrMailboxFull, Message: "bob's is"}, "MAILBOX_FULL: bob's is"},
		{&tipt.ForwardError{Code: 0x05}, "0x05: unknown error"},
		{&tipt.MalformedError{Key: "body.user", Found: "uint 16", Want: "str up to 8-bit length"}, "body.user: found uint 16, want str up to 8-bit length"},
		{&tipt.MalformedError{Found: "nil", Want: "map"}, "root: found nil, want map"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("%#v: %q, want %q", c.err, got, c.want)
		}
	}
}

// TestNames checks that what the specification names has its name there and
// nothing else has one.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		name  string
		of    func(v uint8) string
		names map[uint8]string
	}{
		{"PacketType", func(v uint8) string { return tipt.PacketType(v).String() }, map[uint8]string{
			0x00: "REQUEST", 0x01: "RESPONSE", 0x02: "EVENT",
		}},
		{"NodeRequest", func(v uint8) string { return tipt.NodeRequest(v).String() }, map[uint8]string{
			0x00: "HANDSHAKE", 0x01: "REGISTER", 0x02: "SIGN_IN", 0x03: "GET_INFO", 0x20: "FORWARD", 0x21: "GET_NODE_KEY",
			0x40: "SET_PASSWORD", 0x41: "LIST_DEVICES", 0x42: "REMOVE_DEVICE", 0x43: "DELETE_ACCOUNT", 0x44: "SET_KEY",
		}},
		{"ClientRequest", func(v uint8) string { return tipt.ClientRequest(v).String() }, map[uint8]string{
			0x00: "DELIVER", 0x01: "RETURN",
		}},
		{"ClientEvent", func(v uint8) string { return tipt.ClientEvent(v).String() }, map[uint8]string{0x00: "GOING_AWAY"}},
		{"ForwardType", func(v uint8) string { return tipt.ForwardType(v).String() }, map[uint8]string{
			0x00: "MESSAGE", 0x01: "GET_USER_KEY",
		}},
		{"ContentType", func(v uint8) string { return tipt.ContentType(v).String() }, map[uint8]string{0x00: "TEXT", 0x01: "SEALED"}},
		{"Registration", func(v uint8) string { return tipt.Registration(v).String() }, map[uint8]string{
			0x00: "open", 0x01: "invite", 0x02: "closed",
		}},
		{"Revision", func(v uint8) string { return tipt.Revision(v).String() }, map[uint8]string{0x00: "seed", 0x01: "draft"}},
		{"ErrorCode", func(v uint8) string { return tipt.ErrorCode(v).String() }, map[uint8]string{
			0x00: "INTERNAL", 0x01: "MALFORMED", 0x02: "UNSUPPORTED", 0x03: "HANDSHAKE_REQUIRED", 0x04: "HANDSHAKE_DONE",
			0x05: "VERSION", 0x06: "SIGN_IN_REQUIRED", 0x07: "SIGNED_IN", 0x08: "BUSY", 0x09: "TOO_LARGE",
			0x10: "NAME_TAKEN", 0x11: "NAME_INVALID", 0x12: "PASSWORD_INVALID", 0x13: "REGISTRATION_CLOSED", 0x14: "INVITE_INVALID",
			0x18: "CREDENTIALS", 0x19: "DISABLED",
			0x20: "NODE_INVALID", 0x21: "NODE_UNREACHABLE", 0x22: "NODE_TIMEOUT", 0x23: "NODE_REFUSED", 0x24: "OUTBOX_FULL",
			0x30: "REJECTED",
		}},
		{"ForwardErrorCode", func(v uint8) string { return tipt.ForwardErrorCode(v).String() }, map[uint8]string{
			0x01: "MALFORMED", 0x02: "UNSUPPORTED", 0x30: "NO_SUCH_USER", 0x31: "MAILBOX_FULL", 0x34: "CANNOT_OPEN",
		}},
	} {
		for v := range 256 {
			want, ok := c.names[uint8(v)]
			if !ok {
				want = fmt.Sprintf("0x%02x", v)
			}
			if got := c.of(uint8(v)); got != want {
				t.Errorf("%s %#02x is called %q, want %q", c.name, v, got, want)
			}
		}
	}
}

func TestRevisionCodes(t *testing.T) {
	for v := range 256 {
		code := uint8(v)
		if got := tipt.RevisionSeed.NodeRequest(code); uint8(got) != code {
			t.Errorf("seed: %#02x is %v", code, got)
		}
		want := tipt.NodeRequest(code)
		switch code {
		case 0x20:
			want = tipt.RequestGetNodeKey
		case 0x21:
			want = tipt.RequestForward
		}
		got := tipt.RevisionDraft.NodeRequest(code)
		if got != want {
			t.Errorf("draft: %#02x is %v, want %v", code, got, want)
		}
		if back := tipt.RevisionDraft.NodeRequest(uint8(got)); uint8(back) != code {
			t.Errorf("draft: %v is sent as %#02x, want %#02x", got, uint8(back), code)
		}
	}
}

// TestErrorOnTheWire checks what of an error fits into a packet.
func TestErrorOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name       string
		send, want tipt.Error
	}{
		{"wait is rounded up", tipt.Error{Code: tipt.ErrBusy, Wait: time.Millisecond + 1}, tipt.Error{Code: tipt.ErrBusy, Wait: 2 * time.Millisecond}},
		{"wait of less than a millisecond", tipt.Error{Code: tipt.ErrBusy, Wait: 1}, tipt.Error{Code: tipt.ErrBusy, Wait: time.Millisecond}},
		{"wait past 32 bits", tipt.Error{Code: tipt.ErrBusy, Wait: 1 << 62}, tipt.Error{Code: tipt.ErrBusy, Wait: (1<<32 - 1) * time.Millisecond}},
		{"wait below zero", tipt.Error{Code: tipt.ErrBusy, Wait: -time.Second}, tipt.Error{Code: tipt.ErrBusy}},
		{"long text", tipt.Error{Message: strings.Repeat("x", 300)}, tipt.Error{Message: strings.Repeat("x", 255)}},
		{"long text is cut between characters", tipt.Error{Message: strings.Repeat("é", 200)}, tipt.Error{Message: strings.Repeat("é", 127)}},
		{"text that is no UTF-8", tipt.Error{Message: "a\xffb"}, tipt.Error{Message: "a\uFFFDb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{Version: tipt.Version, Type: tipt.PacketResponse, Err: &c.send})
			p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
			if err != nil {
				t.Fatal(err)
			}
			if *p.Err != c.want {
				t.Errorf("arrived as %+v, want %+v", *p.Err, c.want)
			}
		})
	}
}

// TestOutOfRange checks values that a field cannot carry.
func TestOutOfRange(t *testing.T) {
	var away tipt.GoingAwayEvent
	for _, c := range []struct{ send, want time.Duration }{
		{1500 * time.Millisecond, 2 * time.Second},
		{48 * time.Hour, 65535 * time.Second},
		{-time.Second, 0},
	} {
		if err := away.Parse(tipt.GoingAwayEvent{Wait: c.send}.Append(nil), false); err != nil || away.Wait != c.want {
			t.Errorf("GOING_AWAY in %v arrives as %v, %v; want %v", c.send, away.Wait, err, c.want)
		}
	}
	var info tipt.GetInfoResponse
	if err := info.Parse(tipt.GetInfoResponse{}.Append(nil), false); err != nil || !info.Time.Equal(time.UnixMilli(0)) {
		t.Errorf("the zero time arrives as %v, %v", info.Time, err)
	}
}

// TestAppendLeavesOut appends packets with members that their type does not have.
func TestAppendLeavesOut(t *testing.T) {
	failed := &tipt.Error{Code: tipt.ErrBusy}
	body := []byte{0x80}
	for _, c := range []struct {
		name       string
		send, want tipt.Packet
	}{
		{"err of a REQUEST", tipt.Packet{Type: tipt.PacketRequest, Code: 3, Body: body, Err: failed}, tipt.Packet{Type: tipt.PacketRequest, Code: 3, Body: body}},
		{"err of an EVENT", tipt.Packet{Type: tipt.PacketEvent, Code: 3, Err: failed}, tipt.Packet{Type: tipt.PacketEvent, Code: 3}},
		{"reqt of a RESPONSE", tipt.Packet{Type: tipt.PacketResponse, Code: 3, Body: body}, tipt.Packet{Type: tipt.PacketResponse, Body: body}},
		{"body beside err", tipt.Packet{Type: tipt.PacketResponse, Body: body, Err: failed}, tipt.Packet{Type: tipt.PacketResponse, Err: failed}},
	} {
		for _, rev := range []tipt.Revision{tipt.RevisionSeed, tipt.RevisionDraft} {
			c.send.Version = tipt.Version
			c.want.Version = tipt.Version
			if rev == tipt.RevisionDraft {
				c.want.Version = "" // the draft's root has none
			}
			got, err := tipt.ParsePacket(tipt.AppendPacket(nil, rev, &c.send), rev)
			if err != nil {
				t.Errorf("%s, %v: %v", c.name, rev, err)
			} else if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s, %v (-want +got):\n%s", c.name, rev, diff)
			}
		}
	}
}
