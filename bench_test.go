package tipt_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go"
)

// The packets of a FORWARD are its request, the response, and the DELIVER that
// the recipient gets.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		f, request := forward(size)
		deliver := tipt.DeliverRequest{From: "alice@a.example", Time: time.UnixMilli(1543629296000), Message: f.Sealed}
		delivered := deliver.Append(nil)
		response := tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{Version: tipt.Version, ID: 7, Type: tipt.PacketResponse})
		name := func(s string) string { return fmt.Sprintf("%s/%dB", s, size) }

		b.Run(name("decode request"), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(request)))
			for b.Loop() {
				p, err := tipt.ParsePacket(request, tipt.RevisionSeed)
				if err != nil {
					b.Fatal(err)
				}
				var x tipt.ForwardRequest
				if err := x.Parse(p.Body, p.Newer); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name("decode deliver"), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(delivered)))
			for b.Loop() {
				var x tipt.DeliverRequest
				if err := x.Parse(delivered, false); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name("encode request"), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(request)))
			for b.Loop() {
				p := tipt.Packet{Version: tipt.Version, ID: 7, Code: uint8(tipt.RequestForward), Body: f.Append(nil)}
				tipt.AppendPacket(nil, tipt.RevisionSeed, &p)
			}
		})
		b.Run(name("encode request with room"), func(b *testing.B) {
			body, packet := make([]byte, 0, 2*len(request)), make([]byte, 0, 2*len(request))
			b.ReportAllocs()
			b.SetBytes(int64(len(request)))
			for b.Loop() {
				p := tipt.Packet{Version: tipt.Version, ID: 7, Code: uint8(tipt.RequestForward), Body: f.Append(body)}
				tipt.AppendPacket(packet, tipt.RevisionSeed, &p)
			}
		})
		b.Run(name("encode deliver"), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(delivered)))
			for b.Loop() {
				deliver.Append(nil)
			}
		})
		b.Run(name("decode response"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tipt.ParsePacket(response, tipt.RevisionSeed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHostile refuses or walks what costs most for its size.
func BenchmarkHostile(b *testing.B) {
	newer := []byte("\x85\xa3ver\xa51.1.0\xa2id\x01\xa4pakt\x00\xa4reqt\x03\xa5later")
	manyKeys := msgp.AppendMapHeader(bytes.Clone(newer), 65_535)
	for i := range 65_535 {
		manyKeys = msgp.AppendNil(msgp.AppendString(manyKeys, fmt.Sprintf("%04x", i)))
	}
	empties := msgp.AppendArrayHeader(bytes.Clone(newer), 30)
	for range 30 {
		empties = msgp.AppendArrayHeader(empties, 65_535)
		empties = append(empties, strings.Repeat("\x80", 65_535)...)
	}
	for name, packet := range map[string][]byte{
		"many keys":        manyKeys,
		"many values":      empties,
		"malformed at end": append(bytes.Clone(empties), 0),
		"one large string": msgp.AppendString(bytes.Clone(newer), strings.Repeat("é", 1_000_000)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(packet)))
			for b.Loop() {
				_, _ = tipt.ParsePacket(packet, tipt.RevisionSeed)
			}
		})
	}
}
