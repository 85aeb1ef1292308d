// Command fill fills the store of a node that does not run: accounts, which all have the same
// password and each a token, and messages that nobody has taken. `tipt bench` then finds a node
// as it is after years, and the accounts in a file.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

// cli is the command line.
type cli struct {
	Data     string `required:"" placeholder:"DIR" type:"path" help:"The data folder; made if missing."`
	File     string `required:"" placeholder:"FILE" type:"path" help:"Where to write the accounts, for tipt bench --accounts."`
	Accounts int    `default:"1000" placeholder:"N" help:"Accounts (${default})."`
	Messages int    `placeholder:"N" help:"Messages, in the mailboxes of the last accounts of the file."`
	Mailbox  int    `default:"1000" placeholder:"N" help:"Messages in one mailbox (${default})."`
	Outbox   int    `placeholder:"N" help:"Messages of the last account in the outbox, each to another node, which failed and is to be tried in a day."`
	Size     int    `default:"200" placeholder:"BYTES" help:"Size of a message (${default})."`
}

// password is that of all accounts: what is measured is not how long it takes to guess it.
const password = "a password for benchmarks"

// batch is how many operations are committed together: many, since nobody waits for one.
const batch = 20_000

func main() {
	var c cli
	kong.Parse(&c, kong.Description("Fill the store of a node that does not run with accounts and messages."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := c.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "fill: %v\n", err)
		os.Exit(1)
	}
}

func (c *cli) run(ctx context.Context) (err error) {
	if c.Accounts < 1 || c.Messages < 0 || c.Outbox < 0 || c.Mailbox < 1 || c.Size < 1 || c.Size > tipt.MaxMessageSize {
		return errors.New("there must be at least 1 account, 1 message in a mailbox and 1 byte in a message")
	}
	if boxes := (c.Messages + c.Mailbox - 1) / c.Mailbox; boxes > c.Accounts {
		return fmt.Errorf("%d messages, %d in a mailbox, need %d accounts", c.Messages, c.Mailbox, boxes)
	}
	s, err := sqlite.Open(c.Data, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	file, err := os.OpenFile(c.File, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash, err := hashed(ctx, s)
	if err != nil {
		return err
	}
	f := filler{store: s, now: time.Now()}
	w := bufio.NewWriter(file)
	users, err := f.accounts(ctx, c.Accounts, hash, w)
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.messages(ctx, users, c.Messages, c.Mailbox, c.Size); err != nil {
		return err
	}
	return f.outbox(ctx, users[len(users)-1], c.Outbox, c.Size)
}

// hashed returns the hash of the password, which it gets by registering somebody with it.
func hashed(ctx context.Context, s store.Store) (string, error) {
	committer := store.NewCommitter(s, store.CommitterOptions{})
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- committer.Run(running) }()
	name := "fill-" + rand.Text()[:8]
	err := account.New(s, committer, account.Options{Node: "node.example", NoLimits: true}).
		Register(ctx, tipt.RegisterRequest{User: name, Password: password})
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return "", err
	}
	mapped, err := tipt.ParseUserName(name)
	if err != nil {
		return "", err
	}
	u, err := s.User(ctx, mapped)
	return u.Password, err
}

// A filler fills a store.
type filler struct {
	store store.Store
	now   time.Time
}

// commit commits operations, unless ctx has ended.
func (f *filler) commit(ctx context.Context, ops []store.Op) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return f.store.Commit(ctx, ops)
}

// accounts makes accounts, writes them to a file, and returns them.
func (f *filler) accounts(ctx context.Context, n int, hash string, w *bufio.Writer) ([]store.UserID, error) {
	prefix := "fill-" + rand.Text()[:8]
	users := make([]store.UserID, 0, n)
	var line []byte
	for len(users) < n {
		ops := make([]store.Op, 0, batch)
		var made []*store.CreateUser
		for range min(batch, n-len(users)) {
			name, err := tipt.ParseUserName(fmt.Sprintf("%s-%d", prefix, len(users)+len(made)))
			if err != nil {
				return nil, err
			}
			user := &store.CreateUser{Name: name, Password: hash, Time: f.now}
			made, ops = append(made, user), append(ops, user)
		}
		if err := f.commit(ctx, ops); err != nil {
			return nil, err
		}
		ops = ops[:0]
		for _, user := range made {
			if user.NameTaken {
				return nil, fmt.Errorf("there is a user %s already", user.Name)
			}
			token := make([]byte, tipt.TokenSize)
			rand.Read(token)
			hash := sha256.Sum256(token)
			ops = append(ops, &store.SignIn{
				User: user.ID, Device: "bench", TokenHash: hash[:], Receive: true, Time: f.now, MaxDevices: tipt.MaxDevices,
			})
			var err error
			line, err = bench.AppendAccount(line[:0], bench.Account{User: string(user.Name), Device: "bench", Token: token, Password: password})
			if err != nil {
				return nil, err
			}
			if _, err := w.Write(line); err != nil {
				return nil, err
			}
			users = append(users, user.ID)
		}
		if err := f.commit(ctx, ops); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// messages puts messages into the mailboxes of the last users.
func (f *filler) messages(ctx context.Context, users []store.UserID, n, mailbox, size int) error {
	body := make([]byte, size)
	rand.Read(body)
	ops := make([]store.Op, 0, batch)
	for i := range n {
		ops = append(ops, &store.Append{
			User: users[len(users)-1-i/mailbox], Kind: store.KindDeliver, From: "sender@node.example",
			ID: tipt.NewMessageID(), Time: f.now, Body: body,
		})
		if len(ops) == batch || i == n-1 {
			if err := f.commit(ctx, ops); err != nil {
				return err
			}
			ops = ops[:0]
		}
	}
	return nil
}

// outbox puts messages of a user into the outbox, for nodes that do not answer.
func (f *filler) outbox(ctx context.Context, user store.UserID, n, size int) error {
	ops := make([]store.Op, 0, batch)
	for i := range n {
		to, err := tipt.ParseNodeName(fmt.Sprintf("node-%d.example", i))
		if err != nil {
			return err
		}
		ops = append(ops,
			&store.AddOutbox{Entry: store.OutboxEntry{User: user, Node: to, Sealed: make([]byte, size), Created: f.now}},
			&store.PauseNode{Pause: store.NodePause{Node: to, Attempts: 1, Next: f.now.Add(24 * time.Hour), Reason: "filled"}})
		if len(ops) >= batch || i == n-1 {
			if err := f.commit(ctx, ops); err != nil {
				return err
			}
			ops = ops[:0]
		}
	}
	return nil
}
