package bench_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/bench/internal/bare"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// A relay stands before a node and does to one message what no node may do.
type relay struct {
	t    *testing.T
	node *tipttest.Node
	// deliver and answer do something with a DELIVER, or a FORWARD's response, of number n on
	// its connection, in place of passing it on to the client.
	deliver func(w *wire, p tipt.Packet, n int)
	answer  func(w *wire, p tipt.Packet, n int)
}

// A wire is one connection through a relay.
type wire struct {
	client, node *bare.Conn
	held         []tipt.Packet

	mu     sync.Mutex                // guards the following fields
	extras map[uint8]bool            // ids of what the relay made up
	refs   map[uint8]*tipt.MessageID // of FORWARDs, by their ids
}

func (w *wire) pass(p tipt.Packet) { w.client.Queue(&p) }

// acknowledge answers the node in place of the client.
func (w *wire) acknowledge(p tipt.Packet) {
	w.node.Queue(&tipt.Packet{Version: p.Version, Type: tipt.PacketResponse, ID: p.ID})
}

// start listens and returns where.
func (r *relay) start() bench.Node {
	r.t.Helper()
	cert, private, err := r.node.CA.Issue(string(r.node.Name))
	if err != nil {
		r.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, private)
	if err != nil {
		r.t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	if err != nil {
		r.t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() { r.serve(nc) })
		}
	})
	r.t.Cleanup(func() {
		listener.Close()
		served.Wait()
	})
	return bench.Node{URL: "wss://" + string(r.node.Name), Connect: listener.Addr().String()}
}

func (r *relay) serve(nc net.Conn) {
	defer nc.Close()
	client, err := bare.Accept(nc)
	if err != nil {
		return // it was given up
	}
	node, err := bare.Dial(r.t.Context(), r.node.Addr, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: string(r.node.Name), RootCAs: r.node.Pool()})
	if err != nil {
		r.t.Error(err)
		return
	}
	w := &wire{client: client, node: node, extras: make(map[uint8]bool), refs: make(map[uint8]*tipt.MessageID)}
	var delivered, answered int
	var up sync.WaitGroup
	up.Go(func() {
		defer node.Close()
		copyPackets(client, node, func(p tipt.Packet) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if p.Type == tipt.PacketResponse && w.extras[p.ID] {
				delete(w.extras, p.ID)
				return
			}
			var f tipt.ForwardRequest
			if p.Type == tipt.PacketRequest && p.Code == uint8(tipt.RequestForward) && f.Parse(p.Body, false) == nil {
				w.refs[p.ID] = f.Ref
			}
			node.Queue(&p)
		})
	})
	copyPackets(node, client, func(p tipt.Packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case r.deliver != nil && p.Type == tipt.PacketRequest:
			r.deliver(w, p, delivered)
			delivered++
		case r.answer != nil && p.Type == tipt.PacketResponse && w.refs[p.ID] != nil:
			r.answer(w, p, answered)
			answered++
		default:
			client.Queue(&p)
		}
	})
	client.Close()
	up.Wait()
}

// copyPackets takes what comes from a connection until it ends, and has both flushed.
func copyPackets(from, to *bare.Conn, take func(tipt.Packet)) {
	from.BeforeWait = func() { _ = to.Flush() }
	for {
		b, err := from.Next()
		if err != nil {
			return
		}
		p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
		if err != nil {
			return
		}
		p.Body = bytes.Clone(p.Body)
		take(p)
	}
}

// extra is an id that no node uses for its first requests.
const extra = 250

// TestBadNodes has one message of each pair go wrong and looks whether it is told.
func TestBadNodes(t *testing.T) {
	at := func(number int, wrong func(w *wire, p tipt.Packet)) func(*wire, tipt.Packet, int) {
		return func(w *wire, p tipt.Packet, n int) {
			if n == number {
				wrong(w, p)
				return
			}
			w.pass(p)
		}
	}
	n := tipttest.Start(t)
	const pairs = 2
	for name, test := range map[string]struct {
		relay relay
		want  bench.Mistakes
	}{
		"faithful": {relay{}, bench.Mistakes{}},
		"loses": {
			relay{deliver: at(3, func(w *wire, p tipt.Packet) { w.acknowledge(p) })},
			bench.Mistakes{Lost: pairs},
		},
		"doubles": {
			relay{deliver: at(3, func(w *wire, p tipt.Packet) {
				w.pass(p)
				p.ID = extra
				w.extras[extra] = true
				w.pass(p)
			})},
			bench.Mistakes{Doubled: pairs},
		},
		"swaps": {
			relay{deliver: func(w *wire, p tipt.Packet, n int) {
				if n == 3 {
					w.held = append(w.held, p)
					return
				}
				w.pass(p)
				for _, p := range w.held {
					w.pass(p)
				}
				w.held = nil
			}},
			bench.Mistakes{Misordered: pairs},
		},
		"alters": {
			relay{deliver: at(3, func(w *wire, p tipt.Packet) {
				p.Body[len(p.Body)-1] ^= 1
				w.pass(p)
			})},
			bench.Mistakes{Altered: pairs},
		},
		"says another sent it": {
			relay{deliver: at(3, func(w *wire, p tipt.Packet) {
				var d tipt.DeliverRequest
				if err := d.Parse(p.Body, false); err != nil {
					t.Error(err)
				}
				d.From = "eve@node.example"
				p.Body = d.Append(nil)
				w.pass(p)
			})},
			bench.Mistakes{Altered: pairs},
		},
		"refuses": {
			relay{answer: at(3, func(w *wire, p tipt.Packet) {
				p.Err, p.Body = &tipt.Error{Code: tipt.ErrOutboxFull}, nil
				w.pass(p)
			})},
			bench.Mistakes{Refused: pairs},
		},
		"returns": {
			relay{answer: at(3, func(w *wire, p tipt.Packet) {
				w.pass(p)
				back := tipt.ReturnRequest{ID: tipt.NewMessageID(), Ref: w.refs[p.ID], Node: "node.example", Code: tipt.ErrNodeTimeout, HasCode: true}
				w.extras[extra] = true
				w.pass(tipt.Packet{Version: p.Version, ID: extra, Code: uint8(tipt.RequestReturn), Body: back.Append(nil)})
			})},
			bench.Mistakes{Returned: pairs},
		},
		"cuts": {
			relay{deliver: at(3, func(w *wire, p tipt.Packet) { w.client.Close() })},
			bench.Mistakes{Cut: pairs},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some wait for what never comes
			test.relay.t, test.relay.node = t, n
			o := bench.Options{Node: test.relay.start(), Roots: n.Pool(), Patience: 2 * time.Second}
			if name == "faithful" {
				o.Patience = patience
			}
			r, err := bench.Pairs(t.Context(), o, bench.Load{Pairs: pairs, Outstanding: 4, Size: 100, Messages: 20 * pairs})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Mistakes.Examples) == 0 && name != "faithful" {
				t.Error("there is no example")
			}
			t.Logf("%v: %q", &r.Mistakes, r.Mistakes.Examples)
			r.Mistakes.Examples = nil
			if name == "cuts" {
				r.Mistakes.Lost = 0 // what was under way
			}
			if r.Mistakes.String() != test.want.String() {
				t.Errorf("%v, want %v", &r.Mistakes, &test.want)
			}
		})
	}
}

// TestBadMailbox has a node lose what lies in a mailbox.
func TestBadMailbox(t *testing.T) {
	n := tipttest.Start(t)
	r := relay{t: t, node: n, deliver: func(w *wire, p tipt.Packet, n int) {
		if n == 3 {
			w.acknowledge(p)
			return
		}
		w.pass(p)
	}}
	o := bench.Options{Node: r.start(), Roots: n.Pool(), Patience: 2 * time.Second}
	report, err := bench.Mailbox(t.Context(), o, load)
	if err != nil {
		t.Fatal(err)
	}
	if want := (bench.Mistakes{Lost: load.Pairs}); report.Mistakes.String() != want.String() {
		t.Errorf("%v, want %v", &report.Mistakes, &want)
	}
}
