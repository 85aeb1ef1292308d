package tap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// masked is a client's frame with a masking key of its own.
func masked(opcode byte, final bool, payload string) []byte {
	b := frame(opcode, final, []byte(payload))
	at := len(b) - len(payload)
	key := []byte{1, 2, 3, 4}
	copy(b[at-4:], key)
	for i := range payload {
		b[at+i] ^= key[i%4]
	}
	return b
}

// unmasked is a node's frame.
func unmasked(opcode byte, final bool, payload string) []byte {
	b := frame(opcode, final, []byte(payload))
	at := len(b) - len(payload)
	b[1] &^= 0x80
	return append(b[:at-4], payload...)
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for _, tt := range []struct {
		name   string
		toNode bool
		b      []byte
		want   string // kinds and texts
	}{
		{"message", true, masked(opBinary, true, "hello"), "binary hello; end"},
		{"node's", false, unmasked(opText, true, "hello"), "text hello; end"},
		{"empty", true, masked(opBinary, true, ""), "binary ; end"},
		{"125", true, masked(opBinary, true, long[:125]), "binary " + long[:125] + "; end"},
		{"126", true, masked(opBinary, true, long[:126]), "binary " + long[:126] + "; end"},
		{"long", true, masked(opBinary, true, long), "binary " + long + "; end"},
		{"fragments", true, slices.Concat(
			masked(opBinary, false, "he"), masked(opPing, true, "p"), masked(opContinuation, false, ""), masked(opContinuation, true, "llo"),
		), "ping p; binary hello; end"},
		{"control", false, slices.Concat(unmasked(opPong, true, "p"), unmasked(opClose, true, "\x03\xe8")), "pong p; close \x03\xe8; end"},
		{"reserved bit", false, append([]byte{0xc2, 2}, "hi"...), "broken \xc2\x02hi (a reserved bit is set, and no extension was agreed on); end"},
		{"no masking key", true, unmasked(opBinary, true, "hi"), "broken \x82\x02hi (a client's frame without a masking key); end"},
		{"a masking key", false, masked(opBinary, true, "hi"), "broken \x82\x82\x00\x00\x00\x00hi (a node's frame with a masking key); end"},
		{"opcode", false, unmasked(3, true, ""), "broken \x83\x00 (opcode 3 is not in use); end"},
		{"PING in fragments", false, unmasked(opPing, false, ""), "broken \x09\x00 (a control frame in fragments or over 125 bytes); end"},
		{"fragment of nothing", false, unmasked(opContinuation, true, "x"), "broken \x80\x01x (a fragment of no message); end"},
		{
			"message in a message", false, slices.Concat(unmasked(opText, false, "a"), unmasked(opText, true, "b"), unmasked(opContinuation, true, "c")),
			"broken \x81\x01b (a new message within the fragments of another); text ac; end",
		},
		{"length of 64 bits", false, append([]byte{0x82, 127, 0xff}, "12345678"...), "broken \x82\x7f\xff12345678 (a length over 63 bits); end"},
		{"cut in the header", false, []byte{0x82}, "broken \x82 (the connection ended within a frame); end"},
		{"cut in a PING", false, unmasked(opPing, true, "abc")[:3], "broken \x89\x03a (the connection ended within a frame); end"},
		{"cut in a message", true, masked(opBinary, true, "hello")[:9], "partial hel of 5 (the connection ended within it, after 3 bytes); end"},
		{"cut between fragments", true, masked(opBinary, false, "hello"), "partial hello of 5 (the connection ended within it, after 5 bytes); end"},
		{
			"cut in a fragment", true, slices.Concat(masked(opBinary, false, "hel"), masked(opContinuation, true, "lo")[:7]),
			"partial hell of 5 (the connection ended within it, after 4 bytes); end",
		},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			var got []string
			f := NewFrames(tt.toNode, func(x Crossing) {
				text := string(x.Kind)
				if x.Kind != End {
					text += " " + string(x.Bytes)
				}
				if x.Kind == Partial {
					text += fmt.Sprintf(" of %d", x.Announced)
				}
				if x.Why != "" {
					text += " (" + x.Why + ")"
				}
				if x.ToNode != tt.toNode {
					text += " the other way"
				}
				got = append(got, text)
			})
			for part := range slices.Chunk(tt.b, size) {
				_, _ = f.Write(bytes.Clone(part))
			}
			f.End("")
			if text := strings.Join(got, "; "); text != tt.want {
				t.Errorf("%s, %d bytes at a time: got %.200q, want %.200q", tt.name, size, text, tt.want)
			}
		}
	}
}

// What is longer than anything kept is counted, not kept.
func TestFramesAreBounded(t *testing.T) {
	var got Crossing
	f := NewFrames(true, func(x Crossing) { got = x })
	_, _ = f.Write(frameHeader(opBinary, true, 3*KeptBytes))
	for range 3 {
		_, _ = f.Write(make([]byte, KeptBytes))
	}
	if len(got.Bytes) != KeptBytes || got.Size != 3*KeptBytes {
		t.Errorf("kept %d of %d bytes, want %d of %d", len(got.Bytes), got.Size, KeptBytes, 3*KeptBytes)
	}
}
