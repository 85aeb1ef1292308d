package account

import (
	"sync"

	"github.com/tipt/tipt-go/store"
)

// userLocks are locks, one for each user that somebody holds or waits for. They
// are held over a commit, never over a hash.
type userLocks struct {
	mu    sync.Mutex // guards the following field, with the users of each lock
	locks map[store.UserID]*userLock
}

type userLock struct {
	sync.Mutex
	users int // who hold it or wait for it
}

// lock locks a user and returns what unlocks it.
func (l *userLocks) lock(user store.UserID) (unlock func()) {
	l.mu.Lock()
	one := l.locks[user]
	if one == nil {
		if l.locks == nil {
			l.locks = make(map[store.UserID]*userLock)
		}
		one = new(userLock)
		l.locks[user] = one
	}
	one.users++
	l.mu.Unlock()
	one.Lock()
	return func() {
		one.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.locks, user)
		}
	}
}
