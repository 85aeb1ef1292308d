package seal

import (
	"bytes"
	"container/list"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	tipt "github.com/tipt/tipt-go"
)

// How many session keys an Opener keeps (section 5.2). One takes some 500 bytes
// of memory, 1,700 for an ML-KEM subkey: 10 MB in all, or 35 MB.
const (
	maxKeptSender  = 4      // of one sender: a few devices, a lost connection
	maxKeptOwn     = 16_384 // of this node's users: one for each connection that it takes by default
	maxKeptNode    = 512    // of the users of any other node
	maxKeptForeign = 4_096  // of all of these together
)

// keptLife is how long a session key is kept: no client uses one for longer.
const keptLife = sessionKeyLife

// maxKeptPacket is the size of the longest session key packet that is kept, in
// bytes. Those of a node's subkeys have at most 1,192.
const maxKeptPacket = 1_200

// An Opener opens messages like [NodeKey.Open] and keeps session keys that it
// has unwrapped, so that it need not unwrap one again for the next message that
// it comes with. What it answers does not depend on what it keeps. By the rules
// of section 5.2 a session key is
//
//   - found by all bytes of its packet together with the vouched sender alone;
//     anonymous senders, who could be told apart by nothing, share none;
//   - used for encrypted packets of version 2 alone, and for messages with one
//     session key packet, which names its subkey;
//   - entered when a message that came with it has been opened: who can make
//     such a message knows the key;
//   - dropped an hour later, or when its subkey expires or is revoked (which
//     then still opens for 30 days), when its sender will not use it again, or
//     with the Opener, which goes with the [NodeKey] that a rotation replaces;
//   - bounded in number, for each sender, for each other node, for all of them
//     and for the users of this node. The oldest one makes room.
//
// Keys are wiped when they are dropped, so far as Go permits: the garbage
// collector does not move them, but what the cryptographic packages derive from
// them stays until its memory is used again.
type Opener struct {
	key *NodeKey

	mu      sync.Mutex // guards the following fields
	closed  bool
	senders map[tipt.Address][]*keptKey  // the oldest first
	nodes   map[tipt.NodeName]*list.List // of *keptKey, the oldest first
	foreign list.List                    // those of all nodes but this one
}

// A keptKey is a session key that has been unwrapped. It does not change but
// for being wiped.
type keptKey struct {
	from      tipt.Address
	packet    []byte // all of the session key packet
	key       []byte
	subkey    *decryptionKey
	since     time.Time
	inNode    *list.Element
	inForeign *list.Element // nil for one of this node's users
}

func (k *keptKey) over(now time.Time) bool {
	age := now.Sub(k.since)
	return age < 0 || age >= keptLife || k.subkey.endedAt(now)
}

// NewOpener returns an Opener for what is sealed to the key's certificate.
func NewOpener(k *NodeKey) *Opener {
	return &Opener{
		key:     k,
		senders: make(map[tipt.Address][]*keptKey),
		nodes:   make(map[tipt.NodeName]*list.List),
	}
}

// Open opens a message as [NodeKey.Open] does. from is its vouched sender
// (section 5.4), a user of this node or of another, or the zero Address where
// there is none.
func (o *Opener) Open(msg []byte, from tipt.Address, now time.Time) ([]byte, error) {
	e, err := parseEnvelope(msg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	subkey := o.keepable(e, from, now)
	if subkey == nil {
		return o.key.open(e, now)
	}
	packet := e.keys[0].raw
	if key := o.find(from, packet, now); key != nil {
		defer clear(key)
		return e.open(sessionKey{key: key})
	}
	key, err := unwrapFirst(e.keys, o.key.decryption, now)
	if err != nil {
		return nil, err
	}
	defer clear(key.key)
	plaintext, err := e.open(key)
	if err != nil {
		return nil, err
	}
	o.keep(&keptKey{from: from, packet: bytes.Clone(packet), key: slices.Clone(key.key), subkey: subkey, since: now})
	return plaintext, nil
}

// keepable returns the subkey to which the session key of a message is
// encrypted, or nil when that is not one to keep.
func (o *Opener) keepable(e *envelope, from tipt.Address, now time.Time) *decryptionKey {
	if from.User == "" || e.version() != 2 || len(e.keys) != 1 || len(e.keys[0].raw) > maxKeptPacket {
		return nil
	}
	for i := range o.key.decryption {
		if subkey := &o.key.decryption[i]; e.keys[0].isFor(&subkey.key.PublicKey) && !subkey.endedAt(now) {
			return subkey
		}
	}
	return nil
}

// find returns a copy of a session key that is kept, which the caller wipes,
// or nil.
func (o *Opener) find(from tipt.Address, packet []byte, now time.Time) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.senders[from] {
		if bytes.Equal(k.packet, packet) && !k.over(now) {
			return slices.Clone(k.key)
		}
	}
	return nil
}

// keep enters a session key, for which others may have to make room.
func (o *Opener) keep(k *keptKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	for _, other := range o.senders[k.from] { // over, or entered a moment ago
		if bytes.Equal(other.packet, k.packet) {
			o.dropLocked(other)
			break
		}
	}
	if of := o.senders[k.from]; len(of) == maxKeptSender {
		o.dropLocked(of[0])
	}
	own := string(k.from.Node) == o.key.name
	most := maxKeptNode
	if own {
		most = maxKeptOwn
	}
	if of := o.nodes[k.from.Node]; of != nil && of.Len() == most {
		o.dropLocked(of.Front().Value.(*keptKey))
	}
	if !own {
		if o.foreign.Len() == maxKeptForeign {
			o.dropLocked(o.foreign.Front().Value.(*keptKey))
		}
		k.inForeign = o.foreign.PushBack(k)
	}
	if o.nodes[k.from.Node] == nil {
		o.nodes[k.from.Node] = list.New()
	}
	k.inNode = o.nodes[k.from.Node].PushBack(k)
	o.senders[k.from] = append(o.senders[k.from], k)
}

// dropLocked wipes a session key and forgets it.
func (o *Opener) dropLocked(k *keptKey) {
	clear(k.key)
	if k.inForeign != nil {
		o.foreign.Remove(k.inForeign)
	}
	node := o.nodes[k.from.Node]
	node.Remove(k.inNode)
	if node.Len() == 0 {
		delete(o.nodes, k.from.Node)
	}
	of := o.senders[k.from]
	i := slices.Index(of, k)
	if of = slices.Delete(of, i, i+1); len(of) == 0 {
		delete(o.senders, k.from)
		return
	}
	o.senders[k.from] = of
}

// Sweep drops the session keys whose time is over, which are not used in any
// case but lie in memory. Call it now and then.
func (o *Opener) Sweep(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropAllLocked(func(k *keptKey) bool { return k.over(now) })
	senders := make(map[tipt.Address][]*keptKey, len(o.senders))
	maps.Copy(senders, o.senders) // a map keeps the memory of what was deleted from it
	o.senders = senders
}

// Forget drops the session keys of one sender, who will not use them again.
func (o *Opener) Forget(from tipt.Address) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.senders[from]) > 0 {
		o.dropLocked(o.senders[from][0])
	}
}

// Close drops all session keys. The Opener still opens messages, and keeps none.
func (o *Opener) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.dropAllLocked(func(*keptKey) bool { return true })
}

func (o *Opener) dropAllLocked(drop func(*keptKey) bool) {
	for _, node := range o.nodes {
		for e := node.Front(); e != nil; {
			k := e.Value.(*keptKey)
			e = e.Next() // before k takes it out
			if drop(k) {
				o.dropLocked(k)
			}
		}
	}
}
