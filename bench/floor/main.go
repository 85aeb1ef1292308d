// Command floor is what a node is compared with: it does the work that a message cannot do
// without, and nothing else. It speaks as much of the protocol as `tipt bench` needs, over
// bare WebSockets, opens each message with the one OpenPGP operation that this takes, joins what
// is to be stored into transactions of a bare SQLite database, answers once they are on the disk,
// and delivers. There are no passwords, no limits, no quotas, no other devices, and nobody is
// asked for anything: everybody who says a name is that user. Never let strangers reach it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// cli is the command line, a part of that of `tiptd serve`.
type cli struct {
	Node   string `required:"" placeholder:"NAME" help:"The name of the node."`
	Listen string `required:"" placeholder:"ADDR" help:"Where to listen for clients."`
	Data   string `required:"" placeholder:"DIR" type:"path" help:"Folder of the database; made if missing."`
	Cert   string `required:"" placeholder:"FILE" type:"path" help:"Certificate chain for NAME in PEM."`
	Key    string `required:"" placeholder:"FILE" type:"path" help:"Its private key in PEM."`

	KeepKeys bool `help:"Keep session keys that have been unwrapped, for senders who use them again."`

	PeerListen string `placeholder:"ADDR" help:"Where to listen for the other node."`
	Peer       string `placeholder:"NAME=HOST:PORT" help:"The other node, and where it listens for this one."`
	CA         string `name:"ca" type:"path" placeholder:"FILE" help:"Root certificate of the other node's."`
}

func main() {
	// The committer's thread waits for the disk. With one processor the runtime lets nobody else
	// run meanwhile, until it finds out, which may take it as long as the wait.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	var c cli
	kong.Parse(&c, kong.Description("The floor that `tipt bench` compares nodes with. It has no locks on its doors: for measuring only."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "floor: %v\n", err)
		os.Exit(1)
	}
}

// run serves until ctx is done, and tells w where.
func (c *cli) run(ctx context.Context, w io.Writer) (err error) {
	name, err := tipt.ParseNodeName(c.Node)
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return fmt.Errorf("load the certificate: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	key, err := seal.NewNodeKey(string(name), time.Now())
	if err != nil {
		return err
	}
	db, err := openDatabase(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	f := &floor{name: name, key: key, opener: openEach{key}, db: db, wake: make(chan struct{}, 1), users: make(map[string]*user)}
	if c.KeepKeys {
		opener := seal.NewOpener(key)
		defer opener.Close()
		f.opener = opener
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	failed := make(chan error, 3)
	start := func(run func(context.Context) error) {
		tasks.Go(func() { failed <- run(ctx) })
	}
	if c.Peer != "" || c.PeerListen != "" {
		if f.peer, err = newPeer(f, c, config); err != nil {
			return err
		}
		start(f.peer.serve)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	start(f.commit)
	start(func(ctx context.Context) error { return f.accept(ctx, listener, config) })
	fmt.Fprintf(w, "listening on %s\n", listener.Addr())
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}
