package node

import (
	"context"
	"sync"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// maxRecipients is how many recipients' ids are remembered, in some 100 bytes each.
const maxRecipients = 1 << 16

// recipients remembers the ids of users, which every message needs. What it says is
// never out of date: a name belongs to one account for ever, also when that is deleted.
type recipients struct {
	mu  sync.Mutex // guards the following field
	ids map[tipt.UserName]store.UserID
}

// recipient returns the id of the user of that name, who may be deleted, or
// [store.ErrNotFound].
func (n *Node) recipient(ctx context.Context, name tipt.UserName) (store.UserID, error) {
	r := &n.known
	r.mu.Lock()
	id, known := r.ids[name]
	r.mu.Unlock()
	if known {
		return id, nil
	}
	user, err := n.config.Store.User(ctx, name)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = make(map[tipt.UserName]store.UserID)
	}
	for any := range r.ids { // any one makes room
		if len(r.ids) < maxRecipients {
			break
		}
		delete(r.ids, any)
	}
	r.ids[name] = user.ID
	return user.ID, nil
}

// forget gives the memory back. What is asked for next is looked up again.
func (r *recipients) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = nil
}
