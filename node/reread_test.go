package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/store"
)

// A heldStore holds reads of mailboxes up while it is held, but for one user's.
type heldStore struct {
	store.Store
	held    chan struct{} // nil, or closed to go on
	but     store.UserID
	reading atomic.Int64 // those that are held up
}

func (s *heldStore) Messages(ctx context.Context, user store.UserID, after int64, limit, maxBytes int) ([]store.Message, error) {
	if s.held != nil && user != s.but {
		s.reading.Add(1)
		<-s.held
	}
	return s.Store.Messages(ctx, user, after, limit, maxBytes)
}

// TestReread: of clients for whom there was no memory, and is again, few read their mailboxes at once, only
// while there is, and others do not wait for them. In the end all get what is theirs.
func TestReread(t *testing.T) {
	const waiting, size = 2 * maxReading, 100_000
	var s heldStore
	over := func(st store.Store) store.Store { s.Store = st; return &s }
	inBubbleOver(t, over, func(t *testing.T, n *Node) {
		var got atomic.Int64
		connect := func(name string) store.UserID {
			if err := n.accounts.Register(t.Context(), tipt.RegisterRequest{User: name, Password: "correct horse"}); err != nil {
				t.Fatal(err)
			}
			client, _ := dialWith(t, n, link.Options{Handler: counter{&got}})
			t.Cleanup(client.CloseNow)
			if err := call(t, client, tipt.RequestHandshake, nil); err != nil {
				t.Fatal(err)
			}
			request := tipt.SignInRequest{User: name, Password: "correct horse", Device: "phone", Receive: true}
			if err := call(t, client, tipt.RequestSignIn, request.Append(nil)); err != nil {
				t.Fatal(err)
			}
			id, err := n.recipient(t.Context(), tipt.UserName(name))
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		write := func(to store.UserID, size int) {
			done := make(chan error, 1)
			message := mailbox.Message{User: to, Kind: store.KindDeliver, From: "bob@node.example", ID: tipt.NewMessageID(), Body: make([]byte, size)}
			if err := n.mailboxes.Append(t.Context(), message, func(_ store.Outcome, err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		taken := n.config.MaxBuffered / 2
		if !n.budget.Reserve(taken) {
			t.Fatal("no memory in the beginning")
		}
		var users []store.UserID
		for i := range waiting {
			users = append(users, connect(fmt.Sprint("user", i)))
			write(users[i], size)
		}
		good := connect("good")
		synctest.Wait()
		if n := got.Load(); n != 0 {
			t.Fatalf("%d messages came though there is no memory for them", n)
		}
		s.held, s.but = make(chan struct{}), good
		n.budget.Release(taken)
		synctest.Wait()
		if n := s.reading.Load(); n != maxRereading {
			t.Errorf("%d read at once, want %d", n, maxRereading)
		}
		write(good, 10)
		synctest.Wait()
		if n := got.Load(); n != 1 {
			t.Errorf("%d messages came, want the one for which nobody has to wait", n)
		}
		if !n.budget.Reserve(taken) {
			t.Fatal("no memory to take")
		}
		close(s.held)
		synctest.Wait()
		if n, came := s.reading.Load(), got.Load(); n != maxRereading || came != 1 {
			t.Errorf("%d have read though there is no memory any more, and %d messages came", n-maxRereading, came)
		}
		n.budget.Release(taken)
		synctest.Wait()
		for _, user := range users {
			write(user, 10)
		}
		synctest.Wait()
		if n := got.Load(); n != 2*waiting+1 {
			t.Errorf("%d messages came in the end, want %d", n, 2*waiting+1)
		}
	})
}

// A counter takes each DELIVER and counts.
type counter struct{ got *atomic.Int64 }

func (c counter) ServeTipt(r *link.Request) {
	c.got.Add(1)
	r.Reply(nil)
}

func (counter) ServeEvent(tipt.Packet) {}
