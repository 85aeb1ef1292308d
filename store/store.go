// Package store is the contract of a node's durable store: accounts, devices,
// mailboxes and the outbox. A store commits batches of operations, each batch
// atomically and on the disk when [Store.Commit] returns; it has reads besides.
// The [Committer] above it joins the operations of many callers into one
// batch and thus one fsync. The suite in store/storetest states the contract as tests.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/tipt/tipt-go"
)

var (
	// ErrNotFound is returned by reads of one thing that is not there.
	ErrNotFound = errors.New("not found")
	// ErrDiskFull refuses a batch because the disk is full, or so nearly
	// full that only operations that free space are accepted, and what is stored already
	// and comes again. Nothing of the batch is done. It passes when there is room again.
	ErrDiskFull = errors.New("disk full")
	// ErrImpossible wraps the error of an operation that can never be done, such as one
	// that the store does not know. Without it the batch might have been committed.
	ErrImpossible = errors.New("impossible operation")
	// ErrFailed wraps an error after which the store can no longer say what is on
	// the disk (a failed fsync, a corrupt file). The process must end; nothing is retried.
	ErrFailed = errors.New("store failed")
)

// A UserID names a user within one store. It is never reused.
type UserID int64

// A User is an account.
type User struct {
	ID       UserID
	Name     tipt.UserName
	Password string // encoded argon2id hash, as package account writes it
	Key      []byte // OpenPGP certificate, nil for none
	Created  time.Time
	Disabled bool
	Deleted  bool // the name stays taken; no mailbox, no devices
}

// A Device is one installation of a client program of a user.
type Device struct {
	Name      string
	TokenHash []byte // SHA-256 of the token, nil for none (never had one, or revoked)
	Place     int64  // Seq of the last message taken
	HasPlace  bool   // false until its first sign-in that receives
	Created   time.Time
	Seen      time.Time
}

// A MessageKind says what a mailbox entry is sent to the client as.
type MessageKind uint8

const (
	KindDeliver MessageKind = 0 // DELIVER
	KindReturn  MessageKind = 1 // RETURN; outside the quota, never a duplicate
)

// A Message is one entry of a mailbox. Seq grows within a mailbox in the
// order stored, starts at 1 and is never reused, also after the entry is gone.
type Message struct {
	Seq  int64
	Kind MessageKind
	From string // sender's address, "" for an anonymous one or a RETURN
	ID   tipt.MessageID
	Time time.Time // when stored, to the millisecond
	Body []byte    // DELIVER's msg, or the encoded body of RETURN
}

// An OutboxEntry is a sealed message on its way to another node.
type OutboxEntry struct {
	ID       int64 // grows in the order accepted
	User     UserID
	Node     tipt.NodeName
	Ref      *tipt.MessageID
	Sealed   []byte
	Created  time.Time
	Attempts int
	Next     time.Time      // not tried before
	Reason   string         // of the last failure, in words
	Code     tipt.ErrorCode // of the last failure; zero before the first
	Unknown  bool           // an earlier attempt's outcome is unknown
}

// An OutboxQueue sums up what one user has for one node. Next and Reason are
// those of its first entry.
type OutboxQueue struct {
	Node    tipt.NodeName
	User    UserID
	Entries int
	Bytes   int64 // of Sealed
	Next    time.Time
	Reason  string
}

// A NodePause is the state of a node that failed, or that the operator holds.
type NodePause struct {
	Node     tipt.NodeName
	Attempts int       // failed since the last success
	Next     time.Time // not tried before
	Reason   string    // of the last failure, in words
	Held     bool      // not tried at all
}

// A Store keeps everything a node must not lose. All methods may be called
// concurrently. Times are kept to the millisecond, in UTC. After an error that wraps
// ErrFailed every method returns it.
type Store interface {
	// Commit applies the operations in order, as one transaction, and returns
	// when it is on stable storage. Each operation's result fields are then
	// set. An operation that is refused (name taken, mailbox full, …) says so in its
	// result and does not disturb the others; an error means that
	// nothing of the batch was done, or, with ErrFailed, that nobody knows. When Commit
	// has begun it does not look at ctx any more; it keeps nothing of the batch.
	Commit(ctx context.Context, batch []Op) error

	// User returns the account of that name, deleted ones too, or ErrNotFound.
	User(ctx context.Context, name tipt.UserName) (User, error)
	// UserByID is User by number.
	UserByID(ctx context.Context, id UserID) (User, error)
	// Users lists accounts by name, deleted ones too, those after the given one, at most limit.
	Users(ctx context.Context, after tipt.UserName, limit int) ([]User, error)
	// Device returns one device of a user, or ErrNotFound.
	Device(ctx context.Context, user UserID, name string) (Device, error)
	// Devices lists a user's devices by name.
	Devices(ctx context.Context, user UserID) ([]Device, error)
	// Invite returns nil when the invitation with that SHA-256 is unused, else ErrNotFound.
	Invite(ctx context.Context, hash [32]byte) error
	// Messages returns the entries of a mailbox with a Seq above after, in order,
	// at most limit and, but for the first, at most maxBytes of Body together.
	Messages(ctx context.Context, user UserID, after int64, limit, maxBytes int) ([]Message, error)
	// OutboxQueues sums up the outbox, in no particular order.
	OutboxQueues(ctx context.Context) ([]OutboxQueue, error)
	// OutboxHead returns the first entry, by ID, that a user has for a node, or ErrNotFound.
	OutboxHead(ctx context.Context, node tipt.NodeName, user UserID) (OutboxEntry, error)
	// OutboxOlder returns up to limit entries created before a time, in order of ID.
	OutboxOlder(ctx context.Context, than time.Time, limit int) ([]OutboxEntry, error)
	// NodePauses returns the pauses that PauseNode stored, in no particular order.
	NodePauses(ctx context.Context) ([]NodePause, error)

	// Close releases the store. Committed batches are already on the disk.
	Close() error
}
