package node

import (
	"slices"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// online knows which connections are signed in or just being, by user.
type online struct {
	mu    sync.Mutex // guards the following field
	users map[store.UserID][]*session
}

// enter lets a connection in whose credentials are right, and returns the devices
// of its user that were connected by then, as devices does. It refuses with BUSY one
// too many that does not receive (section 4, SIGN_IN).
func (o *online) enter(s *session, as signedInAs) ([]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sendOnly := 0
	for _, other := range o.users[as.user] {
		if !other.account.receives {
			sendOnly++
		}
	}
	if !as.receives && sendOnly >= tipt.MaxSendOnly {
		return nil, &tipt.Error{
			Code:    tipt.ErrBusy,
			Message: "too many connections of this user only send",
			Wait:    time.Second,
		}
	}
	names := o.devicesLocked(as.user)
	o.users[as.user] = append(o.users[as.user], s)
	return names, nil
}

// replace takes out and returns the connections that s, which has signed in, replaces
// (section 4, SIGN_IN): a receiving one of the same device where s receives, and
// all of the device where a password was used as well.
func (o *online) replace(s *session, byPassword bool) (replaced []*session) {
	if !s.account.receives {
		return nil
	}
	return o.remove(s.account.user, func(other *session) bool {
		return other != s && other.account.device == s.account.device && (other.account.receives || byPassword)
	})
}

// leave takes a connection out that ended, or did not sign in after all.
func (o *online) leave(s *session) {
	o.remove(s.account.user, func(other *session) bool { return other == s })
}

// remove takes out and returns the connections of a user that which chooses.
func (o *online) remove(user store.UserID, which func(*session) bool) (gone []*session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	stay := make([]*session, 0, len(o.users[user]))
	for _, s := range o.users[user] {
		if which(s) {
			gone = append(gone, s)
		} else {
			stay = append(stay, s)
		}
	}
	if len(stay) == 0 {
		delete(o.users, user)
	} else {
		o.users[user] = stay
	}
	return gone
}

// devices lists the devices of a user that are connected now, the one longest
// signed in first.
func (o *online) devices(user store.UserID) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.devicesLocked(user)
}

func (o *online) devicesLocked(user store.UserID) []string {
	var names []string
	for _, s := range o.users[user] {
		if !slices.Contains(names, s.account.device) {
			names = append(names, s.account.device)
		}
	}
	return names
}

// deliveries returns those of a device, which go on or are just ending.
func (o *online) deliveries(user store.UserID, device string) (of []*delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.users[user] {
		if s.account.device != device {
			continue
		}
		s.mu.Lock()
		if s.delivery != nil {
			of = append(of, s.delivery)
		}
		s.mu.Unlock()
	}
	return of
}

// connected reports whether a device is connected, receiving or not.
func (o *online) connected(user store.UserID, device string) bool {
	return slices.Contains(o.devices(user), device)
}

// receives reports whether a device receives now.
func (o *online) receives(user store.UserID, device string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.users[user], func(s *session) bool {
		return s.account.receives && s.account.device == device
	})
}
