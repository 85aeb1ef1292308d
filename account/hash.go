package account

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/tipt/tipt-go"
)

// A HashCost is what hashing a password with argon2id costs. Fields that are zero have
// the default.
type HashCost struct {
	Memory  uint32 // KiB, at least 8 and at most 256 MiB; 19 MiB by default
	Time    uint32 // passes, at most 16; 2 by default
	Threads uint8  // at most 16; 1 by default
}

func (c HashCost) orDefault() HashCost {
	return HashCost{
		Memory:  cmp.Or(c.Memory, 19<<10),
		Time:    cmp.Or(c.Time, 2),
		Threads: cmp.Or(c.Threads, 1),
	}
}

// An Evaluator evaluates argon2id: where, and how it shares the processors with everything else, is
// its own matter. Accounts ask for so many at once as [HashesAtOnce] says, and wait for each
// whatever becomes of the client, or hanging up would be a way to guess without being counted.
type Evaluator interface {
	// Argon2id returns what the function [Argon2id] does. It keeps neither password nor salt.
	Argon2id(password, salt []byte, cost HashCost, size int) []byte
}

// Argon2id evaluates argon2id here and now: size bytes for a password and a salt. No field
// of cost is zero.
func Argon2id(password, salt []byte, cost HashCost, size int) []byte {
	return argon2.IDKey(password, salt, cost.Time, cost.Memory, cost.Threads, uint32(size))
}

// inProcess is the Evaluator of those who have no other.
type inProcess struct{}

func (inProcess) Argon2id(password, salt []byte, cost HashCost, size int) []byte {
	return Argon2id(password, salt, cost, size)
}

const (
	saltSize = 16
	hashSize = 32

	// Bounds on what a stored hash may ask for.
	maxHashMemory  = 256 << 10 // KiB
	maxHashTime    = 16
	maxHashThreads = 16
	maxHashSize    = 64 // of salt and hash each

	maxHashing = 8 // hashes computed at once: 152 MiB at the default cost

	// How many callers wait for each hash that is being computed: about a second
	// at the default cost.
	waitingPerWorker = 32
	// What those beyond are told to wait.
	overloadWait = time.Second
)

var errHashForm = errors.New("the stored hash is not of the form $argon2id$v=19$m=…,t=…,p=…$salt$hash within its bounds")

// A hasher computes and verifies hashes: several at once, but on half of the processors at most.
// The others are for what takes no password; else everybody would wait for those who guess,
// as Go takes a processor from a hash only after 10 ms. An Evaluator that gives way has no more of them:
// processors share caches and the way to the memory, which know no priorities.
type hasher struct {
	evaluator Evaluator
	cost      HashCost
	slots     chan struct{} // holds a value for each caller between acquire and release
	waiting   atomic.Int64
	evaluated atomic.Int64
}

func newHasher(e Evaluator, cost HashCost) *hasher {
	return &hasher{evaluator: e, cost: cost, slots: make(chan struct{}, HashesAtOnce())}
}

// HashesAtOnce is how many hashes Accounts have computed at once: on half of the processors, 8 at most.
func HashesAtOnce() int { return hashesAtOnce(runtime.GOMAXPROCS(0)) }

// hashesAtOnce is how many hashes are computed at once on so many processors.
func hashesAtOnce(processors int) int { return min(max(1, processors/2), maxHashing) }

// acquire waits for the right to compute one hash at a time, until release. It
// is BUSY when too many wait already.
func (h *hasher) acquire(ctx context.Context) (release func(), err error) {
	release = func() { <-h.slots }
	select {
	case h.slots <- struct{}{}:
		return release, nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.maxWaiting() {
		return nil, tooManyPasswords()
	}
	select {
	case h.slots <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
}

// maxWaiting is how many may wait.
func (h *hasher) maxWaiting() int64 { return int64(waitingPerWorker * cap(h.slots)) }

// full is BUSY when acquire would be now.
func (h *hasher) full() error {
	if h.waiting.Load() >= h.maxWaiting() {
		return tooManyPasswords()
	}
	return nil
}

func tooManyPasswords() error {
	return &tipt.Error{Code: tipt.ErrBusy, Message: "too many passwords to look at", Wait: overloadWait}
}

// hash returns the encoded hash of a password with a new salt.
func (h *hasher) hash(ctx context.Context, pass string) (string, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	p := passwordHash{cost: h.cost, salt: randomBytes(saltSize)}
	p.sum = h.evaluate(p, pass, hashSize)
	return p.String(), nil
}

// matches reports whether a password is that of a hash, after evaluating argon2id
// once. The caller has acquired h.
func (h *hasher) matches(p passwordHash, pass string) bool {
	return subtle.ConstantTimeCompare(h.evaluate(p, pass, len(p.sum)), p.sum) == 1
}

func (h *hasher) evaluate(p passwordHash, pass string, size int) []byte {
	h.evaluated.Add(1)
	password := []byte(pass)
	defer clear(password)
	return h.evaluator.Argon2id(password, p.salt, p.cost, size)
}

// A passwordHash is the argon2id hash of a password.
type passwordHash struct {
	cost HashCost
	salt []byte
	sum  []byte
}

// unmatchable returns a hash of no known password.
func unmatchable(cost HashCost) passwordHash {
	return passwordHash{cost: cost, salt: randomBytes(saltSize), sum: randomBytes(hashSize)}
}

// String returns the PHC string format.
func (p passwordHash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.Memory, p.cost.Time, p.cost.Threads,
		base64.RawStdEncoding.EncodeToString(p.salt), base64.RawStdEncoding.EncodeToString(p.sum))
}

// parseHash takes exactly what String returns, within the bounds above.
func parseHash(encoded string) (passwordHash, error) {
	fields := strings.Split(encoded, "$")
	if len(fields) != 6 {
		return passwordHash{}, errHashForm
	}
	var p passwordHash
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.cost.Memory, &p.cost.Time, &p.cost.Threads); err != nil {
		return passwordHash{}, errHashForm
	}
	var saltErr, sumErr error
	p.salt, saltErr = base64.RawStdEncoding.DecodeString(fields[4])
	p.sum, sumErr = base64.RawStdEncoding.DecodeString(fields[5])
	switch {
	case saltErr != nil || sumErr != nil,
		len(p.salt) < 8 || len(p.salt) > maxHashSize,
		len(p.sum) < 16 || len(p.sum) > maxHashSize,
		p.cost.Memory < 8 || p.cost.Memory > maxHashMemory,
		p.cost.Time < 1 || p.cost.Time > maxHashTime,
		p.cost.Threads < 1 || p.cost.Threads > maxHashThreads,
		p.String() != encoded: // another version, spaces, leading zeros, …
		return passwordHash{}, errHashForm
	}
	return p, nil
}
