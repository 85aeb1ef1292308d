package main_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// A front is an address that stays while the node behind it comes and goes.
type front struct {
	listener net.Listener
	behind   atomic.Pointer[string]
	conns    sync.WaitGroup
}

func newFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{listener: listener}
	f.conns.Go(f.run)
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		f.conns.Wait()
	})
	return f
}

func (f *front) run() {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		f.conns.Go(func() { f.serve(client) })
	}
}

// serve carries a connection on. It ends on both sides when it does on one.
func (f *front) serve(client net.Conn) {
	defer client.Close()
	node, err := net.Dial("tcp", *f.behind.Load())
	if err != nil {
		return // there is none just now
	}
	defer node.Close()
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{client: node, node: client} {
		both.Go(func() {
			defer client.Close()
			defer node.Close()
			_, _ = io.Copy(to, from) // a connection that breaks is what is tested
		})
	}
	both.Wait()
}

// The client library sits out the kills of its node by itself: each message that Send was called
// for comes once, in the order of the calls.
func TestKillWithClients(t *testing.T) {
	const kills, writers = 3, 3
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	f := newFront(t)
	f.behind.Store(&p.Addr)
	register(t, d, p.Addr, "ada", "bob", "cyd")
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	connect := func(user string) *client.Client {
		t.Helper()
		block, _ := pem.Decode(d.CA.CertPEM())
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Dial(ctx, d.Name, &client.Options{
			RootCAs: []*x509.Certificate{root},
			Connect: f.listener.Addr().String(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if _, err := c.SignIn(ctx, client.Credentials{User: user, Password: password}); err != nil {
			t.Fatal(err)
		}
		return c
	}

	bob := connect("bob")
	var mu sync.Mutex // guards the following two
	sent, came := make(map[string]int), make(map[string]int)
	counted := make(chan struct{}, 1) // holds one when came has grown
	receiving, stopReceiving := context.WithCancel(ctx)
	var receiver, senders sync.WaitGroup
	receiver.Go(func() {
		err := bob.Receive(receiving, func(_ context.Context, m client.Message) error {
			text, _ := m.Text()
			writer, number, _ := strings.Cut(text, " ")
			mu.Lock()
			defer mu.Unlock()
			if came[writer]++; number != fmt.Sprint(came[writer]) || !strings.HasPrefix(m.From, writer[:3]) {
				t.Errorf("message %q of %s, want number %d of %s", text, m.From, came[writer], writer)
			}
			select {
			case counted <- struct{}{}:
			default:
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("receive: %v", err)
		}
	})
	defer receiver.Wait()
	defer stopReceiving()

	enough := make(chan struct{})
	to := tipt.Address{User: "bob", Node: d.Name}
	for _, user := range []string{"ada", "cyd"} {
		c := connect(user)
		for i := range writers {
			writer := fmt.Sprintf("%s/%d", user, i)
			senders.Go(func() {
				for number := 1; ; number++ {
					select {
					case <-enough:
						return
					default:
					}
					text := fmt.Sprintf("%s %d", writer, number)
					if err := c.Send(ctx, client.Outgoing{To: to, Text: text, Queue: number%2 == 0}); err != nil {
						t.Errorf("send %q: %v", text, err)
						return
					}
					mu.Lock()
					sent[writer] = number
					mu.Unlock()
				}
			})
		}
	}
	for range kills {
		for range 1 + rand.IntN(200) {
			select {
			case <-counted:
			case <-ctx.Done():
				t.Fatalf("nothing comes any more:\n%s", p.Log())
			}
		}
		time.Sleep(rand.N(20 * time.Millisecond)) // so that the kill may come at any moment
		p.Kill()
		p = d.Start(t)
		f.behind.Store(&p.Addr)
	}
	close(enough)
	senders.Wait()
	missing := func() string {
		mu.Lock()
		defer mu.Unlock()
		for writer, n := range sent {
			if came[writer] < n {
				return fmt.Sprintf("%d of %d messages of %s came", came[writer], n, writer)
			}
		}
		return ""
	}
	for missing() != "" {
		select {
		case <-counted:
		case <-ctx.Done():
			t.Fatal(missing())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("sent and received: %v", sent)
	if len(sent) != 2*writers {
		t.Errorf("%d writers sent something, want %d", len(sent), 2*writers)
	}
}
