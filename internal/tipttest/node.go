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

	key      *seal.NodeKey
	listener net.Listener
	peers    map[tipt.NodeName]string // where the nodes of its network are
	stop     func()
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
	n.listen(t, "127.0.0.1:0")
	n.start(t, configure)
	t.Cleanup(func() { n.stop() })
	return n
}

// StartNetwork runs nodes that can reach each other, as Start does.
func StartNetwork(t testing.TB, names []tipt.NodeName, configure ...func(*node.Config)) map[tipt.NodeName]*Node {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	nodes := make(map[tipt.NodeName]*Node)
	addresses := make(map[tipt.NodeName]string)
	for _, name := range names {
		n := &Node{Name: name, CA: ca, Dir: filepath.Join(t.TempDir(), "data"), peers: addresses}
		n.listen(t, "127.0.0.1:0")
		nodes[name], addresses[name] = n, n.Addr
	}
	for _, n := range nodes {
		n.start(t, configure)
		t.Cleanup(func() { n.stop() })
	}
	return nodes
}

// Restart stops the node in good order and starts it again with the same data
// and address.
func (n *Node) Restart(t testing.TB, configure ...func(*node.Config)) {
	t.Helper()
	n.stop()
	n.Again(t, configure...)
}

// Again starts a stopped node with the same data and address.
func (n *Node) Again(t testing.TB, configure ...func(*node.Config)) {
	t.Helper()
	n.listen(t, n.Addr)
	n.start(t, configure)
}

// Stop stops the node in good order.
func (n *Node) Stop() { n.stop() }

// Certificate returns the node's OpenPGP certificate.
func (n *Node) Certificate() []byte { return n.key.Certificate() }

// Pool holds the root that the node's certificate verifies against.
func (n *Node) Pool() *x509.CertPool { return n.CA.Pool() }

func (n *Node) listen(t testing.TB, addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	n.listener, n.Addr = listener, listener.Addr().String()
}

func (n *Node) start(t testing.TB, configure []func(*node.Config)) {
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
	admin, err := node.ListenAdmin(n.Dir)
	if err != nil {
		t.Fatal(err)
	}
	config := node.Config{
		Name: n.Name, Store: st, Data: n.Dir, Admin: admin, Key: key, Hash: CheapHash, NoLimits: true,
		Roots: n.Pool(), Resolve: n.peers,
	}
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
	n.Node = node.New(config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		secure := node.Listener(n.listener, &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"},
		})
		if err := n.Run(ctx, secure); err != nil {
			t.Errorf("run the node: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	}()
	n.stop = func() { cancel(); <-done }
}
