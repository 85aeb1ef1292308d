package store

import (
	"time"

	"github.com/tipt/tipt-go"
)

// An Op is one operation of a batch: a pointer to one of the structs of this
// file. The fields after "Result" are set by Commit, whatever was in them; after
// a batch that failed they mean nothing. An operation on a user or a device
// that is not there, or not any more, does nothing, unless it has a result that says so.
type Op interface {
	// Size is about how many bytes of payload the operation writes, for the
	// committer's bound on a batch.
	Size() int
}

// CreateUser makes an account. With Invite it also uses up that invitation;
// only success does.
type CreateUser struct {
	Name     tipt.UserName
	Password string
	Invite   *[32]byte // SHA-256 of the invitation, nil when none is needed
	Time     time.Time

	// Result: exactly one of these is set.
	ID            UserID
	NameTaken     bool // also by a deleted account
	InviteInvalid bool // looked at first
}

// SetPassword replaces a password and revokes the tokens of all devices but
// Keep ("" for all). The devices' places stay.
type SetPassword struct {
	User     UserID
	Password string
	Keep     string
}

// SetDisabled locks an account out, or lets it in again. Its mailbox goes on filling.
type SetDisabled struct {
	User     UserID
	Disabled bool
}

// SetKey sets or, with nil, removes a user's certificate.
type SetKey struct {
	User UserID
	Key  []byte
}

// DeleteUser removes mailbox, devices, key and password; the name stays taken, the
// outbox is still sent, and a message that came before is still a [Duplicate] when it comes again.
type DeleteUser struct {
	User UserID
}

// SignIn makes or renews a device: it creates the device where it is new, notes it as
// seen, stores a token, gives it a place at the oldest message still held where it
// receives for the first time, and drops the devices unseen longest where the
// user would have more than MaxDevices, never its own.
type SignIn struct {
	User       UserID
	Device     string
	TokenHash  []byte // nil keeps what is there
	IfNone     bool   // store TokenHash only where the device has none
	Receive    bool
	Time       time.Time
	Online     []string // devices connected now: dropped only when all are, then the first of this list
	MaxDevices int

	// Result
	NoUser   bool  // the account is gone
	TokenSet bool  // TokenHash was stored
	Place    int64 // where Receive: Seq of the last message taken, 0 for none
	Dropped  []string
}

// RemoveDevice removes a device, its token and its place. An unknown one is no error.
type RemoveDevice struct {
	User   UserID
	Device string
}

// SeeDevice notes when a device was last seen.
type SeeDevice struct {
	User   UserID
	Device string
	Time   time.Time
}

// AddInvite stores a new invitation.
type AddInvite struct {
	Hash [32]byte // SHA-256 of the invitation
	Time time.Time
}

// An Outcome says what became of an Append.
type Outcome uint8

const (
	Stored      Outcome = 1 // it has its Seq
	Duplicate   Outcome = 2 // the same From, User and ID came within tipt.DuplicateRetention; looked at before anything else
	Full        Outcome = 3 // the mailbox is full of messages that no device has taken
	NoUser      Outcome = 4 // no such account, or a deleted one
	NoDuplicate Outcome = 5 // OnlyDuplicate was set, and it is none
)

// Append puts a message into a mailbox. A full mailbox first drops the oldest
// messages that at least one device has taken: as many as it takes, and none where that
// would not be enough.
type Append struct {
	User     UserID
	Kind     MessageKind
	From     string
	ID       tipt.MessageID
	Time     time.Time
	Body     []byte
	MaxCount int   // KindDeliver: quota of the mailbox, messages; 0 for none
	MaxBytes int64 // KindDeliver: quota of the mailbox, bytes of Body; 0 for none

	// OnlyDuplicate has nothing stored: the Outcome is Duplicate, NoUser or NoDuplicate. KindDeliver alone.
	OnlyDuplicate bool

	// Result
	Outcome Outcome
	Seq     int64 // where Stored
}

// Take moves a device's place forward to Seq, never back and never past the last
// message stored, and deletes what every device of the user with a place has taken.
// A device without a place gets none by it.
type Take struct {
	User   UserID
	Device string
	Seq    int64
}

// Expire removes a bounded number of things that are too old: messages stored,
// ids of messages noted, and devices seen before the given times. A mailbox loses its oldest
// messages up to the first one that is not too old; devices go one by one, those unseen longest
// first, as with RemoveDevice. Call it again while More: a round, which looks at everything
// there was when it began, takes several.
type Expire struct {
	Messages   time.Time
	Duplicates time.Time
	Devices    time.Time
	Online     func(UserID, string) bool // these devices are seen now; nil for none. It must not block
	Limit      int                       // of each kind, at least 1

	// Result
	More bool
}

// AddOutbox accepts a sealed message for another node.
type AddOutbox struct {
	Entry         OutboxEntry // ID is ignored
	OnlyDuplicate bool        // add nothing, only look for a duplicate

	// Result
	ID        int64
	Duplicate bool // the outbox still holds one with this User, Node and Ref; ID is that one's
}

// RetryOutbox notes one more failed attempt and when the next is due.
type RetryOutbox struct {
	ID      int64
	Next    time.Time
	Reason  string
	Code    tipt.ErrorCode
	Unknown bool // its outcome, or an earlier one's, is unknown
}

// PauseNode stores the state of a node; one without failures that is not held
// is forgotten.
type PauseNode struct {
	Pause NodePause
}

// RemoveOutbox removes an entry, delivered or returned; Return, where not nil,
// goes into the sender's mailbox in the same transaction.
type RemoveOutbox struct {
	ID     int64
	Return *Append

	// Result
	Gone bool // it was not there; Return was then not appended
}

// Sizes: a fixed share for the row and what is variable.
const rowSize = 128

func (o *CreateUser) Size() int   { return rowSize + len(o.Name) + len(o.Password) }
func (o *SetPassword) Size() int  { return rowSize + len(o.Password) }
func (o *SetDisabled) Size() int  { return rowSize }
func (o *SetKey) Size() int       { return rowSize + len(o.Key) }
func (o *DeleteUser) Size() int   { return rowSize }
func (o *SignIn) Size() int       { return rowSize + len(o.Device) }
func (o *RemoveDevice) Size() int { return rowSize }
func (o *SeeDevice) Size() int    { return rowSize }
func (o *AddInvite) Size() int    { return rowSize }
func (o *Append) Size() int       { return rowSize + len(o.From) + len(o.Body) }
func (o *Take) Size() int         { return rowSize }
func (o *Expire) Size() int       { return rowSize }
func (o *AddOutbox) Size() int    { return rowSize + len(o.Entry.Sealed) }
func (o *RetryOutbox) Size() int  { return rowSize + len(o.Reason) }
func (o *RemoveOutbox) Size() int { return rowSize }
func (o *PauseNode) Size() int    { return rowSize + len(o.Pause.Reason) }
