package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"github.com/tipt/tipt-go"
)

const (
	peerPort       = "443"
	connectTimeout = 10 * time.Second
)

// ErrForbidden is wrapped by the error of a connection that section 5.6 does
// not allow, which says which rule refused it.
var ErrForbidden = errors.New("connection not allowed")

// A guard dials other nodes and nothing else: port 443 of names, at addresses
// that are public unicast. It looks at the address that is being connected to, after
// resolution, so that neither a CNAME nor a second look-up that answers
// otherwise leads around it. The operator's table is the exception.
type guard struct {
	resolve map[tipt.NodeName]string // HOST:PORT, not guarded
	open    net.Dialer               // for the table
	guarded net.Dialer
}

func newGuard(resolve map[tipt.NodeName]string, resolver *net.Resolver) *guard {
	rules := ssrf.New(ssrf.WithPorts(443), ssrf.WithNetworks("tcp4", "tcp6"))
	return &guard{
		resolve: resolve,
		open:    net.Dialer{Timeout: connectTimeout},
		guarded: net.Dialer{
			Timeout:  connectTimeout,
			Resolver: resolver,
			ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
				if err := rules.Safe(network, address, nil); err != nil {
					return fmt.Errorf("%w: %w", ErrForbidden, err)
				}
				return nil
			},
		},
	}
}

func (g *guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	name, err := tipt.ParseNodeName(host)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	if to, ok := g.resolve[name]; ok {
		return g.open.DialContext(ctx, network, to)
	}
	if port != peerPort {
		return nil, fmt.Errorf("%w: port %s of %s; other nodes are reached on port %s", ErrForbidden, port, name, peerPort)
	}
	// The final dot keeps the resolver from trying the name below the domains of this
	// machine, where it would mean another host.
	return g.guarded.DialContext(ctx, network, net.JoinHostPort(host+".", port))
}
