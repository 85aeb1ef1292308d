//go:build !race

package tipt_test

import (
	"testing"
	"time"

	"github.com/tipt/tipt-go"
)

// TestAllocations pins what a packet costs, exactly; the race detector, which adds to it, leaves
// this file out. The strings and the `ref` of a body are copies, a large message never is.
func TestAllocations(t *testing.T) {
	for _, size := range []int{64, 64 << 10} {
		f, b := forward(size)
		p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
		if err != nil {
			t.Fatal(err)
		}
		var parsed tipt.ForwardRequest
		deliver := tipt.DeliverRequest{From: "alice@a.example", Time: time.UnixMilli(1), Message: f.Sealed}
		delivered := deliver.Append(nil)
		request := tipt.SealedRequest{Message: &tipt.MessageForward{To: "alice", Message: f.Sealed}}
		sealed := request.Append(nil)
		failed := tipt.Packet{Version: tipt.Version, Type: tipt.PacketResponse, Err: &tipt.Error{Code: tipt.ErrBusy, Wait: time.Second}}
		room := make([]byte, 0, 2*len(b))
		for _, c := range []struct {
			name string
			want float64
			f    func()
		}{
			{"parse a packet", 0, func() { _, _ = tipt.ParsePacket(b, tipt.RevisionSeed) }},
			{"parse a FORWARD: node and ref", 2, func() { _ = parsed.Parse(p.Body, false) }},
			{"parse a DELIVER: from", 1, func() { _ = new(tipt.DeliverRequest).Parse(delivered, false) }},
			{"parse a MESSAGE: it and to", 2, func() { _ = new(tipt.SealedRequest).Parse(sealed) }},
			{"map the name of a user", 0, func() { _, _ = tipt.ParseUserName("alice-2.b_c") }},
			{"append a packet", 1, func() { _ = tipt.AppendPacket(nil, tipt.RevisionSeed, &p) }},
			{"append a FORWARD", 1, func() { _ = f.Append(nil) }},
			{"append a DELIVER", 1, func() { _ = deliver.Append(nil) }},
			{"append a MESSAGE", 1, func() { _ = request.Append(nil) }},
			{"append a packet where there is room", 0, func() { _ = tipt.AppendPacket(room, tipt.RevisionSeed, &p) }},
			{"append a FORWARD where there is room", 0, func() { _ = f.Append(room) }},
			{"append a failed response where there is room", 0, func() { _ = tipt.AppendPacket(room, tipt.RevisionSeed, &failed) }},
		} {
			if got := testing.AllocsPerRun(100, c.f); got != c.want {
				t.Errorf("%d bytes: %s: %v allocations, want %v", size, c.name, got, c.want)
			}
		}
	}
}
