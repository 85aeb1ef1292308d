package main

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/internal/devca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts floors under names, which reach each other where there are two, and returns them with
// the roots that verify them.
func start(t *testing.T, names ...string) ([]bench.Node, *x509.CertPool) {
	t.Helper()
	ca, err := devca.New()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	root := write("ca.pem", ca.CertPEM())
	var listening, peering []string
	for range names {
		listening, peering = append(listening, free(t)), append(peering, free(t))
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	var nodes []bench.Node
	for i, name := range names {
		cert, key, err := ca.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		c := cli{
			Node: name, Listen: listening[i], Data: filepath.Join(dir, name), CA: root,
			Cert: write(name+".pem", cert), Key: write(name+".key", key),
		}
		if len(names) == 2 {
			c.PeerListen, c.Peer = peering[i], names[1-i]+"="+peering[1-i]
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := c.run(ctx, w); err != nil {
				t.Error(err)
			}
		})
		b := make([]byte, 100)
		n, err := r.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), "listening on ") {
			t.Fatalf("%q, %v", b[:n], err)
		}
		r.Close()
		w.Close()
		nodes = append(nodes, bench.Node{URL: "wss://" + name, Connect: listening[i]})
	}
	return nodes, ca.Pool()
}

// free returns an address at which nothing listens.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// TestFloor puts floors under each load: they make no mistakes either.
func TestFloor(t *testing.T) {
	one, roots := start(t, "node.example")
	two, twoRoots := start(t, "a.example", "b.example")
	load := bench.Load{Pairs: 4, Outstanding: 8, Size: 200, Messages: 600}
	waiting, reusing := load, load
	waiting.Wait, reusing.Reuse = true, true
	for name, run := range map[string]func(context.Context, bench.Options) (*bench.Report, error){
		"pairs":   func(ctx context.Context, o bench.Options) (*bench.Report, error) { return bench.Pairs(ctx, o, load) },
		"waiting": func(ctx context.Context, o bench.Options) (*bench.Report, error) { return bench.Pairs(ctx, o, waiting) },
		"reusing": func(ctx context.Context, o bench.Options) (*bench.Report, error) { return bench.Pairs(ctx, o, reusing) },
		// Twice as many as one connection may have unanswered lie in a mailbox.
		"mailbox": func(ctx context.Context, o bench.Options) (*bench.Report, error) { return bench.Mailbox(ctx, o, load) },
		"storm": func(ctx context.Context, o bench.Options) (*bench.Report, error) {
			return bench.Storm(ctx, o, bench.Crush{Clients: 10, Parallel: 4})
		},
		"idle": func(ctx context.Context, o bench.Options) (*bench.Report, error) {
			return bench.Idle(ctx, o, bench.Rest{Connections: 10, Size: 20_000})
		},
		"forward": func(ctx context.Context, o bench.Options) (*bench.Report, error) {
			o.Node, o.Roots = two[0], twoRoots
			return bench.Forward(ctx, o, two[1], load)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := run(t.Context(), bench.Options{Node: one[0], Roots: roots, Patience: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if n, counted := r.Figures.Get("messages"); counted && n != 600 || r.Mistakes.Any() {
				t.Errorf("%+v", r)
			}
		})
	}
}
