package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A node serves whom fill has made, by token and by password, and has what it has put into mailboxes.
func TestFill(t *testing.T) {
	n := tipttest.Start(t)
	n.Stop()
	c := cli{Data: n.Dir, File: filepath.Join(t.TempDir(), "accounts"), Accounts: 12, Messages: 25, Mailbox: 10, Outbox: 3, Size: 300}
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}

	s, err := sqlite.Open(n.Dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	users, err := s.Users(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	full := make(map[int]int) // mailboxes by what is in them
	for _, u := range users {
		messages, err := s.Messages(t.Context(), u.ID, 0, 100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		full[len(messages)]++
		for _, m := range messages {
			if len(m.Body) != 300 {
				t.Errorf("a message of %d bytes", len(m.Body))
			}
		}
	}
	// One more made the hash.
	if len(users) != 13 || full[10] != 2 || full[5] != 1 || full[0] != 10 {
		t.Errorf("%d users, mailboxes by content %v", len(users), full)
	}
	queues, err := s.OutboxQueues(t.Context())
	if err != nil || len(queues) != 3 || queues[0].Entries != 1 || queues[0].Bytes != 300 {
		t.Errorf("outbox %+v, %v", queues, err)
	}
	pauses, err := s.NodePauses(t.Context())
	if err != nil || len(pauses) != 3 || time.Until(pauses[0].Next) < time.Hour {
		t.Errorf("pauses %+v, %v", pauses, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	n.Again(t, func(c *node.Config) { c.Registration = tipt.RegistrationClosed })
	o := bench.Options{
		Node:     bench.Node{URL: "wss://" + string(n.Name), Connect: n.Addr, Accounts: c.File},
		Roots:    n.Pool(),
		Patience: 30 * time.Second,
	}
	if r, err := bench.Pairs(t.Context(), o, bench.Load{Pairs: 6, Outstanding: 2, Size: 100, Messages: 60}); err != nil || r.Mistakes.Any() {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := bench.Storm(t.Context(), o, bench.Crush{Clients: 2, Parallel: 2, Password: true}); err != nil || r.Mistakes.Any() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestMistaken(t *testing.T) {
	for _, c := range []cli{
		{Accounts: 0, Mailbox: 1, Size: 1},
		{Accounts: 1, Mailbox: 1, Size: 1, Messages: 2},
		{Accounts: 1, Mailbox: 0, Size: 1},
	} {
		c.Data, c.File = filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "accounts")
		if err := c.run(t.Context()); err == nil {
			t.Errorf("%+v: no error", c)
		}
		if _, err := os.Stat(c.Data); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%+v: something was made: %v", c, err)
		}
	}
}
