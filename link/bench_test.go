package link_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// BenchmarkCall is one request and its response of the same size; with a depth, so
// many are under way at once.
func BenchmarkCall(b *testing.B) {
	for _, transport := range []string{"pipe", "tls"} {
		for _, size := range []int{64, 64 << 10} {
			for _, depth := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/size=%d/depth=%d", transport, size, depth), func(b *testing.B) {
					benchmarkCall(b, transport, size, depth)
				})
			}
		}
	}
}

func benchmarkCall(b *testing.B, transport string, size, depth int) {
	ca, cb := link.Pipe()
	if transport == "tls" {
		ca, cb = dialTLS(b)
	}
	caller := run(b, "caller", ca, link.Options{})
	run(b, "callee", cb, link.Options{Handler: echo})
	ctx := context.WithoutCancel(b.Context())
	request := body(1, size)
	slots := make(chan struct{}, depth)
	done := func(_ tipt.Packet, err error) {
		if err != nil {
			b.Error(err)
		}
		<-slots
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(request)))
	for b.Loop() {
		slots <- struct{}{}
		if err := caller.Go(ctx, 1, request, done); err != nil {
			b.Fatal(err)
		}
	}
	for range depth {
		slots <- struct{}{} // all are answered
	}
}

// BenchmarkPingWait is what a connection costs at least.
func BenchmarkPingWait(b *testing.B) {
	client, node := dialTLS(b)
	run(b, "node", node, link.Options{})
	caller := run(b, "client", client, link.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if err := caller.PingWait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
