package account

import (
	"context"
	"fmt"
	"sync"

	"github.com/tipt/tipt-go/store"
)

// userLocks are locks, one for each user that somebody holds or waits for. They
// are held over a commit, never over a hash.
type userLocks struct {
	mu    sync.Mutex // guards the following field and what is in it
	locks map[store.UserID]*userLock
}

type userLock struct {
	held  chan struct{} // holds a value while somebody holds the lock
	users int           // who hold it or wait for it
}

// lock locks a user and returns what unlocks it.
func (l *userLocks) lock(ctx context.Context, user store.UserID) (unlock func(), err error) {
	one := l.use(user)
	select {
	case one.held <- struct{}{}:
		return func() {
			<-one.held
			l.leave(user, one)
		}, nil
	case <-ctx.Done():
		l.leave(user, one)
		return nil, fmt.Errorf("wait for another change of the account: %w", ctx.Err())
	}
}

func (l *userLocks) use(user store.UserID) *userLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.locks[user]
	if one == nil {
		if l.locks == nil {
			l.locks = make(map[store.UserID]*userLock)
		}
		one = &userLock{held: make(chan struct{}, 1)}
		l.locks[user] = one
	}
	one.users++
	return one
}

func (l *userLocks) leave(user store.UserID, one *userLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(l.locks, user)
	}
}
