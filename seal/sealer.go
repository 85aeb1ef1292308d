package seal

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// sessionKeyLife is how long one session key is used (section 5.2).
const sessionKeyLife = time.Hour

// maxSessionKeyUses is how many messages one session key is used for. Far more
// would be safe (docs/threat-model.md, "Session keys used again"): an hour ends
// most of them earlier, and to stop here costs one more public-key operation in
// a million.
const maxSessionKeyUses = 1 << 20

// A Sealer seals the messages of one connection to one certificate. Where the
// certificate's features name encrypted packets of version 2, they share a
// session key and its encrypted form, as section 5.2 allows: for an hour by the
// clock of the nows it is given, for 1,048,576 messages, and for one subkey,
// then another takes its place. The key of each message is still its own,
// derived from the session key and 32 random bytes. Where the features name
// version 1 alone, each message has a session key of its own.
//
// Close it with the connection.
type Sealer struct {
	certificate *Certificate

	mu     sync.Mutex // guards the following fields
	closed bool
	to     recipient
	reused sessionKeyPair // without bytes while there is none
	since  time.Time      // when reused was made
	uses   int            // messages sealed with it
}

// NewSealer returns a Sealer to the certificate.
func (c *Certificate) NewSealer() *Sealer { return &Sealer{certificate: c} }

// Certificate returns what the Sealer seals to.
func (s *Sealer) Certificate() *Certificate { return s.certificate }

// Seal seals plaintext like [Certificate.Seal]. A now with a monotonic reading
// makes the hour of a session key one that nobody who sets the clock can stretch.
func (s *Sealer) Seal(plaintext []byte, now time.Time) ([]byte, error) {
	to, err := s.certificate.recipientAt(now)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate %s: %w", ErrCannotSeal, s.certificate.fingerprint, err)
	}
	pair, err := s.take(to, now)
	if err != nil {
		return nil, fmt.Errorf("seal: certificate %s: %w", s.certificate.fingerprint, err)
	}
	defer clear(pair.key)
	msg, err := to.sealWith(pair, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal: certificate %s: %w", s.certificate.fingerprint, err)
	}
	return msg, nil
}

// take returns a copy of the session key for one message, which the caller wipes.
func (s *Sealer) take(to recipient, now time.Time) (sessionKeyPair, error) {
	if !to.aead { // no salt tells one message's key from the next one's
		return to.newSessionKey()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return to.newSessionKey()
	}
	age := now.Sub(s.since)
	if s.reused.key == nil || s.to != to || s.uses == maxSessionKeyUses || age < 0 || age >= sessionKeyLife {
		s.forgetLocked()
		pair, err := to.newSessionKey()
		if err != nil {
			return sessionKeyPair{}, err
		}
		s.to, s.reused, s.since, s.uses = to, pair, now, 0
	}
	s.uses++
	return sessionKeyPair{key: slices.Clone(s.reused.key), packet: s.reused.packet}, nil
}

// Close forgets the session key. What is sealed afterwards has one of its own.
func (s *Sealer) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.forgetLocked()
}

// forgetLocked wipes the session key. Messages being sealed have copies.
func (s *Sealer) forgetLocked() {
	clear(s.reused.key)
	s.reused = sessionKeyPair{}
}
