package link_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/tipt/tipt-go/link"
)

// TestPipeDeliversWhatWasSent: like a socket, a Pipe delivers what was written before
// the other end was closed, and then tells.
func TestPipeDeliversWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 { // a select chooses at random
			ca, cb := link.Pipe()
			a, b := newRaw(t, ca), newRaw(t, cb)
			b.send(t, event(1, nil), event(2, body(0, 40_000)), event(3, nil))
			b.CloseNow()
			for want := uint8(1); want <= 3; want++ {
				if p := a.want(t, "what was sent"); p.Code != want {
					t.Fatalf("event %d, want %d", p.Code, want)
				}
			}
			if _, err := a.receive(t); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("after the end: %v", err)
			}
			if err := a.Write([][]byte{nil}); !errors.Is(err, io.ErrClosedPipe) {
				t.Fatalf("write after the end: %v", err)
			}
		}
	})
}
