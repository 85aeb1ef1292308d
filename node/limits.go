package node

import (
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/limit"
	"github.com/tipt/tipt-go/peer"
	"github.com/tipt/tipt-go/store"
)

// Limits bound what one user, and one other node, can have this node do, so that
// a stolen account or a hostile node cannot fill the disk. Zero is no bound. They are
// counted in memory: a restart begins anew, but for what lies in the outbox.
type Limits struct {
	UserMessages     int64 // FORWARDs a minute
	UserBytes        int64 // of FORWARDs, a day
	UserKeys         int64 // GET_NODE_KEYs a minute
	UserDestinations int64 // nodes a user has not written to before, a day

	PeerMessages   int64 // messages from one node, a minute
	PeerBytes      int64 // of messages from one node, a day
	PeerRecipients int64 // users that node has not written to before, a day

	Outbox peer.OutboxLimits
}

// DefaultLimits are those of `tiptd serve`.
func DefaultLimits() Limits {
	return Limits{
		UserMessages:     600,
		UserBytes:        1 << 30,
		UserKeys:         60,
		UserDestinations: 200,
		PeerMessages:     6_000,
		PeerBytes:        10 << 30,
		PeerRecipients:   1_000,
		Outbox: peer.OutboxLimits{
			UserEntries: 10_000, UserBytes: 256 << 20,
			NodeEntries: 100_000, NodeBytes: 4 << 30,
		},
	}
}

// limits keeps the counts.
type limits struct {
	userMessages, userBytes, userKeys *limit.Rates[store.UserID]
	userDestinations                  *limit.Circles[store.UserID]
	peerMessages, peerBytes           *limit.Rates[tipt.NodeName]
	peerRecipients                    *limit.Circles[tipt.NodeName]
}

func newLimits(l Limits) limits {
	const day = 24 * time.Hour
	return limits{
		userMessages:     limit.NewRates[store.UserID](l.UserMessages, time.Minute),
		userBytes:        limit.NewRates[store.UserID](l.UserBytes, day),
		userKeys:         limit.NewRates[store.UserID](l.UserKeys, time.Minute),
		userDestinations: limit.NewCircles[store.UserID](l.UserDestinations),
		peerMessages:     limit.NewRates[tipt.NodeName](l.PeerMessages, time.Minute),
		peerBytes:        limit.NewRates[tipt.NodeName](l.PeerBytes, day),
		peerRecipients:   limit.NewCircles[tipt.NodeName](l.PeerRecipients),
	}
}

// trim gives back the memory of counts that say nothing any more.
func (l *limits) trim() {
	now := time.Now()
	for _, r := range []*limit.Rates[store.UserID]{l.userMessages, l.userBytes, l.userKeys} {
		r.Trim(now)
	}
	for _, r := range []*limit.Rates[tipt.NodeName]{l.peerMessages, l.peerBytes} {
		r.Trim(now)
	}
}

// forward charges a FORWARD to its user.
func (l *limits) forward(user store.UserID, size int) error {
	now := time.Now()
	if wait := l.userMessages.Take(user, 1, now); wait > 0 {
		return tooMuch("too many messages a minute", wait)
	}
	if wait := l.userBytes.Take(user, int64(size), now); wait > 0 {
		return tooMuch("too many bytes a day", wait)
	}
	return nil
}

// destination charges a node that a user may not have written to before.
func (l *limits) destination(user store.UserID, node tipt.NodeName) error {
	if wait := l.userDestinations.Meet(user, string(node), time.Now()); wait > 0 {
		return tooMuch("too many new nodes a day", wait)
	}
	return nil
}

// key charges a GET_NODE_KEY.
func (l *limits) key(user store.UserID) error {
	if wait := l.userKeys.Take(user, 1, time.Now()); wait > 0 {
		return tooMuch("too many keys of nodes a minute", wait)
	}
	return nil
}

// recipient charges a user to whom another node may not have sent anything before.
func (l *limits) recipient(node tipt.NodeName, user tipt.UserName) error {
	if wait := l.peerRecipients.Meet(node, string(user), time.Now()); wait > 0 {
		return tooMuch("too many new recipients a day", wait)
	}
	return nil
}

// peer charges a request to the node that forwards it.
func (l *limits) peer(node tipt.NodeName, size int) (wait time.Duration) {
	now := time.Now()
	if wait := l.peerMessages.Take(node, 1, now); wait > 0 {
		return wait
	}
	return l.peerBytes.Take(node, int64(size), now)
}

func tooMuch(text string, wait time.Duration) error {
	return &tipt.Error{Code: tipt.ErrBusy, Message: text, Wait: wait}
}
