package conform

import (
	"crypto/x509"
	"net"
	"path/filepath"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// withSecond starts a node that reaches the second node that the suite plays, and returns how
// the suite reaches both.
func withSecond(t *testing.T) (*tipttest.Node, func() Options) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "authority.pem")
	root, err := PeerCA(file)
	if err != nil {
		t.Fatal(err)
	}
	n := tipttest.Start(t, func(c *node.Config) {
		c.Roots = x509.NewCertPool()
		c.Roots.AppendCertsFromPEM(root)
		c.Resolve = make(map[tipt.NodeName]string)
		for _, name := range PeerNames("second.example") {
			c.Resolve[tipt.NodeName(name)] = listener.Addr().String()
		}
	})
	return n, func() Options {
		o := options(n)
		o.Peer, o.Authority, o.listener = "second.example="+listener.Addr().String(), file, listener
		return o
	}
}

// The node of this project passes as one of two.
func TestNodeOfTwo(t *testing.T) {
	_, options := withSecond(t)
	report := run(t, options())
	clean(t, report, "--admin", "--slow", "by invitation", "not closed", "no anonymous")
	if passed := report.Count(Passed); passed < 205 {
		t.Errorf("only %d clauses were tested", passed)
	}
	t.Log(report.Took)
}
