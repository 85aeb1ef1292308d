package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/store/sqlite"
)

const (
	serveArg = "node" // the argument that makes this program the node
	caFile   = "ca.pem"
)

// serve runs a node with its data in a folder, and prints its address and then, for each line
// that it reads, a tally, until there are no more lines.
func serve(dir string) (err error) {
	ca, err := devca.Open(filepath.Join(dir, caFile))
	if err != nil {
		return err
	}
	cert, private, err := ca.Issue(name)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, private)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	st, err := sqlite.Open(data, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	key, err := node.LoadKey(data, name)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n := node.New(node.Config{
		Name: name, Store: st, Key: key, Data: data,
		Hash: account.HashCost{Memory: 64, Time: 1, Threads: 1}, NoLimits: true, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		defer stop()
		out, lines := json.NewEncoder(os.Stdout), bufio.NewScanner(os.Stdin)
		for err := out.Encode(listener.Addr().String()); err == nil && lines.Scan(); {
			err = out.Encode(newTally())
		}
	}()
	return n.Run(ctx, node.Listener(listener, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}))
}
