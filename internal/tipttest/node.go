// Package tipttest runs nodes for tests: in this process, with a real store
// in a temporary folder, over real TLS on loopback.
package tipttest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store/sqlite"
)

// Name is the name of a test's node.
const Name tipt.NodeName = "node.example"

// A Node is a running node.
type Node struct {
	Name tipt.NodeName
	Addr string // host:port where it listens
	CA   *devca.CA
	Dir  string // its data folder
	*node.Node

	key  *seal.NodeKey
	stop func()
}

// CheapHash costs next to nothing, so that tests can sign in often.
var CheapHash = account.HashCost{Memory: 64, Time: 1, Threads: 1}

// Start runs a node until the test ends. Each configure may change its
// configuration first: open registration, cheap hashes and no limits otherwise.
func Start(t testing.TB, configure ...func(*node.Config)) *Node {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Name: Name, CA: ca, Dir: filepath.Join(t.TempDir(), "data")}
	n.start(t, "127.0.0.1:0", configure)
	t.Cleanup(func() { n.stop() })
	return n
}

// Restart stops the node in good order and starts it again with the same data
// and address.
func (n *Node) Restart(t testing.TB, configure ...func(*node.Config)) {
	t.Helper()
	n.stop()
	n.start(t, n.Addr, configure)
}

// Stop stops the node in good order.
func (n *Node) Stop() { n.stop() }

// Certificate returns the node's OpenPGP certificate.
func (n *Node) Certificate() []byte { return n.key.Certificate() }

// Pool holds the root that the node's certificate verifies against.
func (n *Node) Pool() *x509.CertPool { return n.CA.Pool() }

func (n *Node) start(t testing.TB, addr string, configure []func(*node.Config)) {
	t.Helper()
	st, err := sqlite.Open(n.Dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := node.LoadKey(n.Dir, n.Name)
	if err != nil {
		t.Fatal(err)
	}
	n.key = key
	config := node.Config{Name: n.Name, Store: st, Key: key, Hash: CheapHash, NoLimits: true}
	for _, f := range configure {
		f(&config)
	}
	cert, private, err := n.CA.Issue(string(n.Name))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, private)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	n.Addr = listener.Addr().String()
	n.Node = node.New(config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		secure := tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
		if err := n.Run(ctx, secure); err != nil {
			t.Errorf("run the node: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	}()
	n.stop = func() { cancel(); <-done }
}
