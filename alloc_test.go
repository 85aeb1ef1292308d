package tipt_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go"
)

// forward is the packet of a FORWARD with a sealed message of size bytes.
func forward(size int) (tipt.ForwardRequest, []byte) {
	ref := tipt.MessageID{1, 2, 3}
	f := tipt.ForwardRequest{Node: "node.example", Sealed: bytes.Repeat([]byte("s"), size), Ref: &ref}
	p := tipt.Packet{Version: tipt.Version, ID: 7, Code: uint8(tipt.RequestForward), Body: f.Append(nil)}
	return f, tipt.AppendPacket(nil, tipt.RevisionSeed, &p)
}

// TestAliases checks that large values are the input's own bytes, and that nothing
// can be appended to them in place.
func TestAliases(t *testing.T) {
	f, b := forward(1000)
	b = append(b, make([]byte, 100)...)[:len(b)]
	p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
	if err != nil {
		t.Fatal(err)
	}
	var parsed tipt.ForwardRequest
	if err := parsed.Parse(p.Body, false); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, f.Sealed)
	b[at] = 'X'
	if parsed.Sealed[0] != 'X' {
		t.Error("the message is a copy")
	}
	if cap(p.Body) != len(p.Body) || cap(parsed.Sealed) != len(parsed.Sealed) {
		t.Error("a parsed value has room for more, in the input's memory")
	}
}

// TestHostileAllocation parses what claims much more than it has, and what
// has as many entries as fit.
func TestHostileAllocation(t *testing.T) {
	// packet is a REQUEST of a newer version, so that everything unknown is walked.
	packet := func(key string, value []byte) []byte {
		b := msgp.AppendMapHeader(nil, 5)
		b = msgp.AppendString(msgp.AppendString(b, "ver"), "1.1.0")
		b = msgp.AppendUint8(msgp.AppendString(b, "id"), 1)
		b = msgp.AppendUint8(msgp.AppendString(b, "pakt"), 0)
		b = msgp.AppendUint8(msgp.AppendString(b, "reqt"), 3)
		return append(msgp.AppendString(b, key), value...)
	}
	// keys is a map of n short keys that all differ.
	keys := func(n int) []byte {
		b := msgp.AppendMapHeader(nil, uint32(n))
		for i := range n {
			b = msgp.AppendNil(msgp.AppendString(b, fmt.Sprintf("%x", i)))
		}
		return b
	}
	nested := func(header string, depth int, rest []byte) []byte {
		return append([]byte(strings.Repeat(header, depth)), rest...)
	}
	many := msgp.AppendArrayHeader(nil, 20_000)
	for range 20_000 {
		many = append(many, keys(9)...)
	}
	devices := func(n int, element string) []byte {
		b := msgp.AppendString(msgp.AppendMapHeader(nil, 1), "devs")
		return append(msgp.AppendArrayHeader(b, uint32(n)), strings.Repeat(element, n)...)
	}
	zeros := make([]byte, 140_000)

	packets := map[string][]byte{
		"map of 65,535 keys":                      packet("body", append([]byte("\x81\xa1k"), keys(65_535)...)),
		"map of 65,535 keys, unknown":             packet("later", keys(65_535)),
		"map of 4,000 keys":                       packet("later", keys(4_000)),
		"map of 9 keys":                           packet("later", keys(9)),
		"map of 16 keys":                          packet("later", keys(16)),
		"20,000 maps":                             packet("later", many),
		"claims of 65,535 entries with nothing":   packet("later", []byte("\xde\xff\xff")),
		"claims of 65,535 entries, one byte each": packet("later", append([]byte("\xde\xff\xff\xa1k"), zeros[:65_600]...)),
		"claims of 65,535 entries, nested":        packet("later", nested("\xde\xff\xff\xa1k", 3, zeros)),
		"claims of 65,535 entries, nested first":  append(nested("\xde\xff\xff\xa1k", 4, zeros), zeros...),
		"arrays that claim 65,535, nested":        packet("later", nested("\xdc\xff\xff", 3, zeros)),
		"a long unknown key":                      packet(strings.Repeat("\x00", 255), []byte("\xc1")),
		"long keys, nested":                       packet("body", nested("\x81\xd9\xff"+strings.Repeat("\x01", 255), 3, []byte("\xc1"))),
	}
	for name, b := range packets {
		t.Run(name, func(t *testing.T) {
			checkAllocation(t, len(b), func() { _, _ = tipt.ParsePacket(b, tipt.RevisionSeed) })
		})
	}
	for name, b := range map[string][]byte{
		"65,535 devices":                devices(65_535, "\x83\xa3dev\xa0\xa4seen\x00\xa2on\xc2"),
		"65,535 devices with names":     devices(65_535, "\x83\xa3dev\xa2ab\xa4seen\x00\xa2on\xc2"),
		"65,535 elements that are none": devices(65_535, "\xc0"),
		"devices with unknown keys":     devices(2_000, "\x84\xa3dev\xa0\xa4seen\x00\xa2on\xc2\xa1x\xc0"),
	} {
		t.Run(name, func(t *testing.T) {
			checkAllocation(t, len(b), func() { _ = new(tipt.ListDevicesResponse).Parse(b, true) })
		})
	}
}
