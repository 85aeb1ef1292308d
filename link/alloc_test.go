//go:build !race

package link

import (
	"bytes"
	"context"
	"testing"

	"github.com/tipt/tipt-go"
)

// answering is a Handler that answers each request with its body.
type answering struct{}

func (answering) ServeTipt(r *Request)   { r.Reply(r.Body) }
func (answering) ServeEvent(tipt.Packet) {}

// TestAllocations pins what a request costs on each side, exactly; the race detector, which adds to
// it, leaves this file out. The reader's and the writer's work is done in turn by this one
// goroutine, since Run is never called.
func TestAllocations(t *testing.T) {
	a, _ := Pipe()
	for _, size := range []int{64, 3_000} {
		body := tipt.ForwardRequest{Node: "node.example", Sealed: make([]byte, size)}.Append(nil)
		request := tipt.Packet{Version: tipt.Version, Code: uint8(tipt.RequestForward), Body: body}
		response := tipt.Packet{Version: tipt.Version, Type: tipt.PacketResponse, Body: body}
		l := New(a, Options{Handler: answering{}})
		ctx := context.Background()
		done := func(_ tipt.Packet, err error) {
			if err != nil {
				t.Error(err)
			}
		}
		var arriving bytes.Reader
		read := func(packet []byte) {
			arriving.Reset(packet)
			if err := l.receive(&arriving); err != nil {
				t.Error(err)
			}
		}
		written := 0
		write := func() {
			b := batches.Get().(*batch)
			for l.take(b) {
				b.encode(nil)
				written += len(b.packets)
				l.wrote(b)
			}
			b.free()
		}
		requested := tipt.AppendPacket(nil, tipt.RevisionSeed, &request)
		responded := tipt.AppendPacket(nil, tipt.RevisionSeed, &response)
		for _, measured := range []struct {
			what string
			want float64
			f    func()
		}{
			{"serve a request", 2, func() {
				read(requested)
				write()
			}},
			{"make a request", 3, func() {
				if err := l.Go(ctx, uint8(tipt.RequestForward), body, done); err != nil {
					t.Error(err)
				}
				write()
				read(responded)
			}},
		} {
			written = 0
			const runs = 100
			if got := testing.AllocsPerRun(runs, measured.f); got != measured.want {
				t.Errorf("%d bytes: %s: %v allocations, want %v", size, measured.what, got, measured.want)
			}
			if written != runs+1 {
				t.Errorf("%d bytes: %s: %d packets were written", size, measured.what, written)
			}
		}
	}
}
