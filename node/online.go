package node

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// online knows which connections are signed in, by user.
type online struct {
	mu    sync.Mutex // guards the following fields
	users map[store.UserID][]*session

	// revoked counts, by hash of the user's name, how often credentials lost
	// their force. A sign-in whose count changed between the check of its
	// credentials and its place here was overtaken by a revocation. Names that
	// share a counter only cause a needless repetition.
	revoked [256]uint32
}

var revokedSeed = maphash.MakeSeed()

func revokedIndex(name tipt.UserName) int {
	return int(maphash.String(revokedSeed, string(name)) % uint64(len(online{}.revoked)))
}

// revocations returns the count that join compares.
func (o *online) revocations(name tipt.UserName) uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.revoked[revokedIndex(name)]
}

// join enters a connection that has just signed in and returns those that it
// replaces (section 4, SIGN_IN): a receiving one of the same device where s
// receives, and all of the device where a password was used as well. It
// returns ok false when s is too late or one too many.
func (o *online) join(s *session, as signedInAs, byPassword bool, revocations uint32) (replaced []*session, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.revoked[revokedIndex(as.name)] != revocations {
		return nil, false
	}
	stay := make([]*session, 0, len(o.users[as.user])+1)
	sendOnly := 0
	for _, other := range o.users[as.user] {
		same := as.receives && other.account.device == as.device
		if same && (other.account.receives || byPassword) {
			replaced = append(replaced, other)
			continue
		}
		if !other.account.receives {
			sendOnly++
		}
		stay = append(stay, other)
	}
	if !as.receives && sendOnly >= tipt.MaxSendOnly {
		return nil, false
	}
	o.users[as.user] = append(stay, s)
	return replaced, true
}

// leave removes a connection that ended.
func (o *online) leave(s *session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rest := slices.DeleteFunc(o.users[s.account.user], func(other *session) bool { return other == s })
	if len(rest) == 0 {
		delete(o.users, s.account.user)
		return
	}
	o.users[s.account.user] = rest
}

// revoke makes sign-ins that are under way with the user's old credentials
// fail, and removes and returns the connections that which chooses.
func (o *online) revoke(user store.UserID, name tipt.UserName, which func(signedInAs) bool) []*session {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.revoked[revokedIndex(name)]++
	var gone []*session
	var stay []*session
	for _, s := range o.users[user] {
		if which(s.account) {
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
	var names []string
	for _, s := range o.users[user] {
		if !slices.Contains(names, s.account.device) {
			names = append(names, s.account.device)
		}
	}
	return names
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
