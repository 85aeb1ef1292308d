package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/store/sqlite"
)

// startOther starts a node with a name, out of any bubble, whose keys and certificates are of the time
// that begins in each bubble. It returns what reaches it from there.
func startOther(t *testing.T, name tipt.NodeName) (n *Node, reach func(*Config)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	st, err := sqlite.Open(dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var ca *devca.CA
	var pair tls.Certificate
	config := Config{Name: name, Data: dir, Store: st}
	synctest.Test(t, func(t *testing.T) {
		var cert, private []byte
		if ca, err = devca.New(); err == nil {
			cert, private, err = ca.Issue(string(name))
		}
		if err == nil {
			pair, err = tls.X509KeyPair(cert, private)
		}
		if err == nil {
			config.Key, err = LoadKey(dir, name)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n = New(config)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- n.Run(ctx, Listener(listener, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}))
	}()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, st.Close()); err != nil {
			t.Error(err)
		}
	})
	return n, func(c *Config) {
		c.Roots = ca.Pool()
		c.Resolve = map[tipt.NodeName]string{name: listener.Addr().String()}
	}
}

// TestGetNewKey asks for the key of another node, which changes it. The certificate that is kept is the
// answer for an hour; with `new` it is fetched again, but not within a minute.
func TestGetNewKey(t *testing.T) {
	other, reach := startOther(t, "other.example")
	inBubbleWith(t, reach, func(t *testing.T, n *Node) {
		client, ended := dial(t, n)
		for _, r := range []struct {
			request tipt.NodeRequest
			body    []byte
		}{
			{tipt.RequestHandshake, nil},
			{tipt.RequestRegister, tipt.RegisterRequest{User: "alice", Password: "a password"}.Append(nil)},
			{tipt.RequestSignIn, tipt.SignInRequest{User: "alice", Password: "a password", Device: "d"}.Append(nil)},
		} {
			if err := call(t, client, r.request, r.body); err != nil {
				t.Fatal(r.request, err)
			}
		}
		want := func(fresh bool, want []byte) {
			t.Helper()
			p, err := client.Call(t.Context(), uint8(tipt.RequestGetNodeKey), tipt.GetNodeKeyRequest{Node: "other.example", New: fresh}.Append(nil))
			var response tipt.GetNodeKeyResponse
			if err := errors.Join(err, response.Parse(p.Body, false)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(response.Key, want) {
				t.Errorf("new %v: another key", fresh)
			}
			n.peers.Close() // time stands still while there is a connection
		}
		rotate := func() []byte {
			t.Helper()
			key, err := other.changeKey(KeyRotate)
			if err != nil {
				t.Fatal(err)
			}
			return key.Certificate()
		}
		first := other.key.Load().Certificate()
		want(false, first)
		second := rotate()
		want(true, first)
		time.Sleep(time.Minute + time.Second)
		want(false, first)
		want(true, second)
		third := rotate()
		want(true, second)
		time.Sleep(time.Minute + time.Second)
		want(true, third)
		want(false, third)
		fourth := rotate()
		time.Sleep(time.Hour + time.Second)
		want(false, fourth)
		client.CloseNow()
		<-ended
	})
}
