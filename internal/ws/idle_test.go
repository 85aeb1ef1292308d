package ws_test

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/tipt/tipt-go"
	tiptws "github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

// maxIdle is what an idle connection and its link may hold of the heap, in
// bytes, besides what TLS holds. Measured: 200 to 1400, for TLS's part varies; one
// buffer of net/http would be 4,096.
const maxIdle = 2500

// TestIdle: a node's connection that is idle, and was busy before, holds no buffers.
func TestIdle(t *testing.T) {
	packet := tipt.AppendPacket(nil, tipt.RevisionSeed, &tipt.Packet{
		Version: tipt.Version, Type: tipt.PacketRequest, ID: 9, Code: 1,
		Body: append([]byte{0x81, 0xa1, 'x', 0xc6, 0, 0, 0x27, 0x10}, make([]byte, 10_000)...),
	})
	input := []byte(masked(t, ws.OpBinary, true, packet))
	var served sync.WaitGroup

	bare := idle(t, input, &served, func(w http.ResponseWriter, r *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		served.Go(func() {
			defer nc.Close()
			if err := nc.SetDeadline(time.Time{}); err != nil {
				t.Error(err)
			}
			if _, err := nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n")); err != nil {
				t.Error(err)
			}
			if _, err := io.CopyN(io.Discard, nc, int64(len(input))); err != nil {
				t.Error(err)
			}
			write(t, nc, ws.NewBinaryFrame(nil))
			_, _ = nc.Read(make([]byte, 1)) // until it is cut
		})
	})
	linked := idle(t, input, &served, func(w http.ResponseWriter, r *http.Request) {
		c, err := tiptws.Accept(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		served.Go(func() {
			_ = link.New(c, link.Options{}).Run(t.Context()) // until it is cut
		})
	})
	t.Logf("an idle connection with its link holds %d bytes of heap, TLS at both ends %d", linked-bare, bare)
	if n := linked - bare; n > maxIdle {
		t.Errorf("an idle connection with its link holds %d bytes of heap, want at most %d", n, maxIdle)
	}
}

// idle opens connections, sends input on each, awaits a frame, and returns the
// bytes of heap that one holds then, at both ends together.
func idle(t *testing.T, input []byte, served *sync.WaitGroup, serve http.HandlerFunc) int64 {
	const connections = 100
	n := newNodeWith(t, serve)
	conns := make([]net.Conn, 0, connections)
	join := func() {
		nc, r := n.join(t)
		if _, err := nc.Write(input); err != nil {
			t.Fatal(err)
		}
		readFrame(t, r)
		conns = append(conns, nc)
	}
	for range connections { // the runtime keeps what goroutines that have ended leave
		join()
	}
	for _, nc := range conns {
		nc.Close()
	}
	served.Wait()
	clear(conns)
	conns = conns[:0]

	before := heap()
	for range connections {
		join()
	}
	after := heap()
	for _, nc := range conns {
		nc.Close()
	}
	served.Wait()
	return (after - before) / connections
}

// heap returns the bytes of the heap in use.
func heap() int64 {
	for range 3 { // what lies in a pool survives one or two
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
