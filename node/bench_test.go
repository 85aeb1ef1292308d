package node_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// taker takes every DELIVER and says so.
type taker chan struct{}

func (c taker) ServeTipt(r *link.Request) {
	r.Reply(nil)
	c <- struct{}{}
}

func (taker) ServeEvent(tipt.Packet) {}

// BenchmarkForwardDeliver is a message's whole way through a node, over real TLS and
// a real disk: FORWARD with `wait` false, its response once the message is
// durable, DELIVER, and the receiver's acknowledgement. Sealing is not measured. The messages
// have one session key, or one each.
func BenchmarkForwardDeliver(b *testing.B) {
	for _, size := range []int{200, 64 << 10} {
		for _, c := range []struct {
			outstanding int
			reuse       bool
		}{{1, false}, {64, false}, {64, true}} {
			b.Run(fmt.Sprintf("size=%d/outstanding=%d/reuse=%v", size, c.outstanding, c.reuse), func(b *testing.B) {
				n := tipttest.Start(b)
				n.Register(b, "alice", "alice's password")
				n.Register(b, "bob", "bob's password")
				taken := make(taker, tipt.MaxInFlight)
				n.Link(b, tipt.SignInRequest{User: "bob", Password: "bob's password", Device: "d", Receive: true}, link.Options{Handler: taken})
				alice := n.Link(b, tipt.SignInRequest{User: "alice", Password: "alice's password", Device: "d", Receive: true}, link.Options{})
				text := string(make([]byte, size))
				bodies := make([][]byte, b.N)
				sealer := newSealer(b, n)
				for i := range bodies {
					id := tipt.NewMessageID()
					bodies[i] = n.Message(b, "bob", id, text, false)
					if c.reuse {
						bodies[i] = messageWith(b, n, sealer, id, text)
					}
				}
				slots := make(chan struct{}, c.outstanding)
				b.ReportAllocs()
				b.ResetTimer()
				go func() {
					for range b.N {
						<-taken
						<-slots
					}
				}()
				var answered sync.WaitGroup // a DELIVER may overtake the response
				for _, body := range bodies {
					slots <- struct{}{}
					answered.Add(1)
					err := alice.Go(b.Context(), uint8(tipt.RequestForward), body, func(_ tipt.Packet, err error) {
						defer answered.Done()
						if err != nil {
							b.Error(err)
						}
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				for range c.outstanding { // all are taken
					slots <- struct{}{}
				}
				answered.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

func newSealer(b *testing.B, n *tipttest.Node) *seal.Sealer {
	b.Helper()
	cert, err := seal.ParseCertificate(n.Certificate())
	if err != nil {
		b.Fatal(err)
	}
	return cert.NewSealer()
}

// messageWith is n.Message to bob with the session key of a Sealer.
func messageWith(b *testing.B, n *tipttest.Node, s *seal.Sealer, id tipt.MessageID, text string) []byte {
	b.Helper()
	request := tipt.SealedRequest{
		Type:    tipt.ForwardMessage,
		Message: &tipt.MessageForward{To: "bob", ID: id, Message: []byte(text)},
	}
	sealed, err := s.Seal(request.Append(nil), time.Now())
	if err != nil {
		b.Fatal(err)
	}
	return tipt.ForwardRequest{Node: string(n.Name), Sealed: sealed, Ref: &id}.Append(nil)
}

// BenchmarkForwardAcross is a message's way over two nodes in this process: FORWARD,
// the POST between the nodes, DELIVER and the receiver's acknowledgement. With `wait`
// false each of the senders has one user's queue, in which the messages follow each other.
func BenchmarkForwardAcross(b *testing.B) {
	for _, wait := range []bool{true, false} {
		for _, senders := range []int{1, 64} {
			b.Run(fmt.Sprintf("wait=%v/senders=%d", wait, senders), func(b *testing.B) {
				nodes := tipttest.StartNetwork(b, []tipt.NodeName{"a.example", "b.example"})
				from, to := nodes["a.example"], nodes["b.example"]
				to.Register(b, "bob", "bob's password")
				taken := make(taker, tipt.MaxInFlight)
				to.Link(b, tipt.SignInRequest{User: "bob", Password: "bob's password", Device: "d", Receive: true}, link.Options{Handler: taken})
				clients := make([]*link.Link, senders)
				for i := range clients {
					user := fmt.Sprint("user", i)
					from.Register(b, user, "a password")
					clients[i] = from.Link(b, tipt.SignInRequest{User: user, Password: "a password", Device: "d", Receive: true}, link.Options{})
				}
				bodies := make([][]byte, b.N)
				for i := range bodies {
					bodies[i] = to.Message(b, "bob", tipt.NewMessageID(), string(make([]byte, 200)), wait)
				}
				b.ReportAllocs()
				b.ResetTimer()
				var sending sync.WaitGroup
				for i, client := range clients {
					sending.Go(func() {
						for j := i; j < b.N; j += senders {
							if _, err := client.Call(b.Context(), uint8(tipt.RequestForward), bodies[j]); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				for range b.N {
					<-taken
				}
				sending.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
