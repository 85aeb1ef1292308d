package node_test

import (
	"fmt"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
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
// durable, DELIVER, and the receiver's acknowledgement. Sealing is not measured.
func BenchmarkForwardDeliver(b *testing.B) {
	for _, size := range []int{200, 64 << 10} {
		for _, outstanding := range []int{1, 64} {
			b.Run(fmt.Sprintf("size=%d/outstanding=%d", size, outstanding), func(b *testing.B) {
				n := tipttest.Start(b)
				n.Register(b, "alice", "alice's password")
				n.Register(b, "bob", "bob's password")
				taken := make(taker, tipt.MaxInFlight)
				n.Link(b, tipt.SignInRequest{User: "bob", Password: "bob's password", Device: "d", Receive: true}, link.Options{Handler: taken})
				alice := n.Link(b, tipt.SignInRequest{User: "alice", Password: "alice's password", Device: "d", Receive: true}, link.Options{})
				text := string(make([]byte, size))
				bodies := make([][]byte, b.N)
				for i := range bodies {
					bodies[i] = n.Message(b, "bob", tipt.NewMessageID(), text, false)
				}
				slots := make(chan struct{}, outstanding)
				b.ReportAllocs()
				b.ResetTimer()
				go func() {
					for range b.N {
						<-taken
						<-slots
					}
				}()
				for _, body := range bodies {
					slots <- struct{}{}
					err := alice.Go(b.Context(), uint8(tipt.RequestForward), body, func(_ tipt.Packet, err error) {
						if err != nil {
							b.Error(err)
						}
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				for range outstanding { // all are taken
					slots <- struct{}{}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
