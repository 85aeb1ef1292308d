package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/store"
)

// A playground is one or more nodes on loopback in this process, which can
// reach each other: for `tiptd dev` and `tiptd demo`.
type playground struct {
	ca    *devca.CA
	nodes []playNode
}

type playNode struct {
	name     tipt.NodeName
	data     string
	listener net.Listener
}

// addr is where the node is reached from this machine.
func (n playNode) addr() string {
	addr := n.listener.Addr().(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(addr.Port))
	}
	return addr.String()
}

// exposed says whether other machines may reach the node.
func (n playNode) exposed() bool { return !n.listener.Addr().(*net.TCPAddr).IP.IsLoopback() }

// playNames are the names of so many nodes. Names under localhost belong to nobody.
func playNames(count int) []tipt.NodeName {
	if count == 1 {
		return []tipt.NodeName{"tipt.localhost"}
	}
	return []tipt.NodeName{"one.localhost", "two.localhost"}
}

// newPlayground listens for nodes that keep their data below dir: on address and the
// ports behind it, or on any when its port is 0.
func newPlayground(ca *devca.CA, dir, address string, names []tipt.NodeName) (*playground, error) {
	p := &playground{ca: ca}
	host, first, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w; write HOST:PORT", err)
	}
	port, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("--listen: port %q: write a number up to 65535", first)
	}
	for i, name := range names {
		next := uint64(0) // any
		if port != 0 {
			next = port + uint64(i)
		}
		listener, err := listen(net.JoinHostPort(host, strconv.FormatUint(next, 10)))
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		data := dir
		if len(names) > 1 {
			data = filepath.Join(dir, string(name))
		}
		p.nodes = append(p.nodes, playNode{name: name, data: data, listener: listener})
	}
	return p, nil
}

func (p *playground) close() (err error) {
	for _, n := range p.nodes {
		err = errors.Join(err, n.listener.Close())
	}
	return err
}

// run serves all nodes until ctx is done or one fails. Ready is called for each once it
// can be reached, one after the other.
func (p *playground) run(ctx context.Context, s streams, log *slog.Logger, hop func(to tipt.NodeName, r *http.Request, status int), ready func(int, store.Store) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	resolve := make(map[tipt.NodeName]string)
	for _, n := range p.nodes {
		resolve[n.name] = n.addr()
	}
	evaluator := startHashing(log, s)
	defer evaluator.Close()
	ended := make(chan error, len(p.nodes))
	begun := make(chan struct{})
	for i, n := range p.nodes {
		config, err := p.tls(n.name)
		if err != nil {
			return errors.Join(err, p.close())
		}
		v := service{
			name:         n.name,
			listener:     n.listener,
			data:         n.data,
			tls:          config,
			registration: tipt.RegistrationOpen,
			evaluator:    evaluator,
			peers:        peers{roots: p.ca.Pool(), resolve: resolve},
			log:          log,
			ready: func(st store.Store) error {
				err := ready(i, st)
				begun <- struct{}{}
				return err
			},
		}
		if hop != nil {
			v.peerTap = func(r *http.Request, status int) { hop(n.name, r, status) }
		}
		go func() { ended <- serve(ctx, s, v) }()
		select {
		case <-begun:
		case err := <-ended:
			stop()
			for range i {
				err = errors.Join(err, <-ended)
			}
			for _, later := range p.nodes[i+1:] {
				err = errors.Join(err, later.listener.Close())
			}
			return err
		}
	}
	var err error
	for range p.nodes {
		err = errors.Join(err, <-ended)
		stop()
	}
	return err
}

// tls returns the TLS configuration of a node.
func (p *playground) tls(name tipt.NodeName) (*tls.Config, error) {
	cert, key, err := p.ca.Issue(string(name))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("use the node's certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"h2", "http/1.1"},
	}, nil
}
