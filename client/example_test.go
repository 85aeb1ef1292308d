package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/seal"
)

func Example() {
	node, options, stop := startNode()
	defer stop()
	ctx := context.Background()

	c, err := client.Dial(ctx, node, options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Register(ctx, "alice", "correct horse battery", ""); err != nil {
		log.Fatal(err)
	}
	in, err := c.SignIn(ctx, client.Credentials{User: "alice", Password: "correct horse battery"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed in as", in.Address)

	if err := c.Send(ctx, client.Outgoing{To: in.Address, Text: "Note to myself"}); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	err = c.Receive(ctx, func(_ context.Context, m client.Message) error {
		text, _ := m.Text()
		fmt.Printf("%s: %s\n", m.From, text)
		cancel()
		return nil
	})
	fmt.Println(err)
	// Output:
	// signed in as alice@node.example
	// alice@node.example: Note to myself
	// context canceled
}

func ExampleClient_Send() {
	node, options, stop := startNode()
	defer stop()
	ctx := context.Background()
	c := signIn(ctx, node, options, "alice")
	defer c.Close()

	message := client.Outgoing{
		To:   tipt.Address{User: "nobody", Node: node},
		Text: "Is anybody there?",
		ID:   tipt.NewMessageID(), // so that it can be sent again
	}
	err := c.Send(ctx, message)
	switch {
	case errors.Is(err, tipt.ErrNoSuchUser):
		fmt.Println("nobody has that name")
	case errors.Is(err, tipt.ErrNodeTimeout):
		err = c.Send(ctx, message) // arrives once all the same
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// nobody has that name
	// send to nobody@node.example: NO_SUCH_USER: no user nobody here
}

func ExampleClient_Receive() {
	node, options, stop := startNode()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	c := signIn(ctx, node, options, "alice")
	defer c.Close()
	for _, text := range []string{"one", "two", "three"} {
		if err := c.Send(ctx, client.Outgoing{To: tipt.Address{User: "alice", Node: node}, Text: text}); err != nil {
			log.Fatal(err)
		}
	}

	full := true
	err := c.Receive(ctx, func(_ context.Context, m client.Message) error {
		text, ok := m.Text()
		switch {
		case m.Return != nil:
			fmt.Printf("message %s was not delivered: %v\n", m.Return.Ref, m.Return.Err)
		case !ok:
			return client.ErrReject // not wanted, now or later
		case text == "two" && full:
			full = false
			fmt.Println("no room for it now")
			return errors.New("disk full") // it is handed over again
		case text == "three":
			cancel()
		}
		fmt.Println("took", text)
		return nil
	})
	fmt.Println(err)
	// Output:
	// took one
	// no room for it now
	// took two
	// took three
	// context canceled
}

// A user who has published a key gets texts that the nodes cannot read, and knows who wrote them if
// the sender has a key, too.
func Example_endToEnd() {
	node, options, stop := startNode()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())

	withKey := func(user string) *client.Client {
		// Made on one device, kept in a file, and carried to the others by Export and ParseUserKey.
		key, err := seal.NewUserKey(user+"@"+string(node), time.Now())
		if err != nil {
			log.Fatal(err)
		}
		own := *options
		own.Key = key
		c := signIn(ctx, node, &own, user)
		if err := c.SetKey(ctx, key.Certificate()); err != nil {
			log.Fatal(err)
		}
		return c
	}
	alice, bob := withKey("alice"), withKey("bob")
	defer alice.Close()
	defer bob.Close()

	if err := alice.Send(ctx, client.Outgoing{To: tipt.Address{User: "bob", Node: node}, Text: "Burn after reading"}); err != nil {
		log.Fatal(err)
	}
	err := bob.Receive(ctx, func(_ context.Context, m client.Message) error {
		text, _ := m.Text()
		switch {
		case m.Signed:
			fmt.Printf("%s: %s\n", m.From, text)
		case m.SealError != nil:
			fmt.Printf("from %s, unreadable here: %v\n", m.From, m.SealError)
		default:
			fmt.Printf("%s, or so the nodes say: %s\n", m.From, text)
		}
		cancel()
		return nil
	})
	fmt.Println(err)
	// Output:
	// alice@node.example: Burn after reading
	// context canceled
}

// signIn makes an account and signs in.
func signIn(ctx context.Context, node tipt.NodeName, options *client.Options, user string) *client.Client {
	c, err := client.Dial(ctx, node, options)
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Register(ctx, user, "correct horse battery", ""); err != nil {
		log.Fatal(err)
	}
	if _, err := c.SignIn(ctx, client.Credentials{User: user, Password: "correct horse battery"}); err != nil {
		log.Fatal(err)
	}
	return c
}

// startNode runs a node for an example.
func startNode() (node tipt.NodeName, options *client.Options, stop func()) {
	tb := new(exampleTB)
	n := tipttest.Start(tb)
	return n.Name, &client.Options{RootCAs: rootsOf(tb, n.CA), Connect: n.Addr}, tb.end
}

// An exampleTB is what of testing.TB a node needs, for examples, which are given none.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (tb *exampleTB) Helper()                           {}
func (tb *exampleTB) Fatal(args ...any)                 { log.Fatal(args...) }
func (tb *exampleTB) Errorf(format string, args ...any) { log.Fatalf(format, args...) }
func (tb *exampleTB) Cleanup(f func())                  { tb.cleanups = append(tb.cleanups, f) }

func (tb *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "tipt-example-")
	if err != nil {
		log.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			log.Fatal(err)
		}
	})
	return dir
}

func (tb *exampleTB) end() {
	for i := len(tb.cleanups) - 1; i >= 0; i-- {
		tb.cleanups[i]()
	}
}
