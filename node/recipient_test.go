package node

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// A directory is a store of users alone.
type directory struct {
	store.Store
	users map[tipt.UserName]store.UserID
	reads int
}

func (d *directory) User(_ context.Context, name tipt.UserName) (store.User, error) {
	d.reads++
	id, ok := d.users[name]
	if !ok {
		return store.User{}, store.ErrNotFound
	}
	return store.User{ID: id, Name: name}, nil
}

func TestRecipients(t *testing.T) {
	d := &directory{users: make(map[tipt.UserName]store.UserID)}
	n := &Node{config: Config{Store: d}}
	const users = maxRecipients + 10
	for i := range users {
		name := tipt.UserName(fmt.Sprint("user", i))
		if _, err := n.recipient(t.Context(), name); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%s before it is registered: error %v", name, err)
		}
		d.users[name] = store.UserID(i + 1)
		for range 3 {
			if id, err := n.recipient(t.Context(), name); err != nil || id != store.UserID(i+1) {
				t.Fatalf("%s is %d, %v", name, id, err)
			}
		}
	}
	if d.reads != 2*users {
		t.Errorf("%d reads, want %d", d.reads, 2*users)
	}
	if len(n.known.ids) != maxRecipients {
		t.Errorf("%d are remembered, want %d", len(n.known.ids), maxRecipients)
	}
	n.known.forget()
	if id, err := n.recipient(t.Context(), "user0"); err != nil || id != 1 || len(n.known.ids) != 1 {
		t.Errorf("after all were forgotten user0 is %d, %v, and %d are remembered", id, err, len(n.known.ids))
	}
}
