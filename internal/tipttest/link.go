package tipttest

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

// Link opens a connection under a link, greets and signs in. It ends with the
// test at the latest.
func (n *Node) Link(t testing.TB, r tipt.SignInRequest, o link.Options) *link.Link {
	t.Helper()
	conn, err := ws.Dial(t.Context(), "wss://"+string(n.Name)+"/ws", ws.DialOptions{
		TLS: &tls.Config{RootCAs: n.Pool(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, n.Addr)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := link.New(conn, o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Run(context.Background()) // why it ended is the test's to look at
	}()
	t.Cleanup(func() {
		l.CloseNow()
		<-done
	})
	if _, err := l.Call(t.Context(), uint8(tipt.RequestHandshake), nil); err != nil {
		t.Fatalf("HANDSHAKE: %v", err)
	}
	if _, err := l.Call(t.Context(), uint8(tipt.RequestSignIn), r.Append(nil)); err != nil {
		t.Fatalf("SIGN_IN: %v", err)
	}
	return l
}
