package peer

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The nodes of these tests: own is the one whose parts are tested.
const (
	own   tipt.NodeName = "own.example"
	other tipt.NodeName = "other.example"
)

var alice = tipt.Address{User: "alice", Node: own}

func newNodeKey(t testing.TB, name tipt.NodeName) *seal.NodeKey {
	t.Helper()
	key, err := seal.NewNodeKey(string(name), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCA(t testing.TB) *devca.CA {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *devca.CA, life time.Duration, name tipt.NodeName) tls.Certificate {
	t.Helper()
	cert, key, err := ca.IssueFor(life, string(name))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// serve runs a node's HTTPS server until the test ends and returns its address.
func serve(t testing.TB, ca *devca.CA, name tipt.NodeName, handler http.Handler, configure ...func(*httptest.Server)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{issue(t, ca, time.Hour, name)}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range configure {
		f(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// serveRaw hands each connection to f, which need not close it, until the test ends.
func serveRaw(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

// newClient returns a client of own that trusts ca and finds other at the address.
func newClient(t testing.TB, ca *devca.CA, address string, configure ...func(*ClientOptions)) *Client {
	t.Helper()
	key := newNodeKey(t, own)
	o := ClientOptions{
		Key:      func() *seal.NodeKey { return key },
		Roots:    ca.Pool(),
		Resolve:  map[tipt.NodeName]string{other: address},
		Software: "test",
	}
	for _, f := range configure {
		f(&o)
	}
	c := NewClient(o)
	t.Cleanup(c.Close)
	return c
}

// subkeys returns the fingerprints of the keys in a node's certificate, by kind.
func subkeys(t testing.TB, key *seal.NodeKey) map[string]string {
	t.Helper()
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(key.Certificate())))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{"primary": hex.EncodeToString(entity.PrimaryKey.Fingerprint)}
	for _, subkey := range entity.Subkeys {
		kind := "signing"
		if subkey.PublicKey.PubKeyAlgo.CanEncrypt() {
			kind = "encryption"
		}
		kinds[kind] = hex.EncodeToString(subkey.PublicKey.Fingerprint)
	}
	if len(kinds) != 3 {
		t.Fatalf("keys of a node: %v", kinds)
	}
	return kinds
}
