package peer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/seal"
)

const (
	// keyLife is how long a certificate is used before it is fetched again.
	keyLife = time.Hour
	// keyPause is how long a node is not asked again after it was.
	keyPause = time.Minute
	// maxKeys is how many nodes' certificates are kept: 8 KiB each at most, and
	// the parsed form.
	maxKeys = 4096
	// maxFetches is how many certificates are fetched at once. Anybody can claim to be any node
	// and have its certificate fetched, slowly; no more than maxClaimed at once are for
	// claims of nodes that had none yet.
	maxFetches = 256
	maxClaimed = maxFetches / 2
	// maxWaiting is how many requests of other nodes wait for certificates at once, and
	// maxWaitingNode how many that claim to be of one node: over HTTP/2 each may hold a MiB
	// of its body by then. Half of them are for nodes that had no certificate yet.
	maxWaiting     = 512
	maxWaitingNode = maxRequests
)

// Keys keeps the certificates of other nodes. Many callers that want the same
// one share a fetch. Close it.
type Keys struct {
	fetch func(context.Context, tipt.NodeName) (*seal.Certificate, error)

	// Fetches go on for others when the caller that began one leaves, until Close.
	alive    context.Context
	stop     context.CancelFunc
	fetching sync.WaitGroup

	mu      sync.Mutex // guards the following fields
	closed  bool
	nodes   map[tipt.NodeName]*knownKey
	fetches map[tipt.NodeName]*fetch
	waiting map[tipt.NodeName]int // calls of Signing that wait for a fetch
	waits   int                   // all of waiting
}

// A fetch is under way until done is closed; then the rest is set.
type fetch struct {
	done chan struct{}
	cert *seal.Certificate
	err  error
}

// A knownKey is what is known of a node's certificate.
type knownKey struct {
	cert    *seal.Certificate // nil when it could not be fetched
	fetched time.Time         // cert
	tried   time.Time         // the last fetch, failed or not
	err     error             // of the last fetch
	used    time.Time
}

// NewKeys returns an empty cache that fetches with c.
func NewKeys(c *Client) *Keys {
	return newKeys(c.PublicKey)
}

func newKeys(fetchKey func(context.Context, tipt.NodeName) (*seal.Certificate, error)) *Keys {
	k := &Keys{
		fetch:   fetchKey,
		nodes:   make(map[tipt.NodeName]*knownKey),
		fetches: make(map[tipt.NodeName]*fetch),
		waiting: make(map[tipt.NodeName]int),
	}
	k.alive, k.stop = context.WithCancel(context.Background())
	return k
}

// Close ends the fetches under way and waits for them.
func (k *Keys) Close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.stop()
	k.fetching.Wait()
}

// Get returns a node's certificate for GET_NODE_KEY. With fresh it is one that was
// fetched now, unless a fetch was tried within the last minute: then it is the
// cached one. The error is a [*Failure], which where the node is not reached asks for
// the wait until the next fetch, or a [*tipt.Error] NODE_UNREACHABLE with that wait where
// no fetch is allowed yet.
func (k *Keys) Get(ctx context.Context, node tipt.NodeName, fresh bool) (*seal.Certificate, error) {
	now := time.Now()
	known := k.known(node, now)
	wait := known.tried.Add(keyPause).Sub(now)
	valid := known.cert != nil && now.Sub(known.fetched) < keyLife
	switch {
	case valid && (!fresh || wait > 0):
		return known.cert, nil
	case wait > 0:
		return nil, &tipt.Error{
			Code:    tipt.ErrNodeUnreachable,
			Message: fmt.Sprintf("the key of %s was asked for a moment ago: %s", node, forUser(known.err)),
			Wait:    wait,
		}
	}
	cert, err := k.refresh(ctx, node, maxFetches)
	failure, ok := errors.AsType[*Failure](err)
	if !ok || failure.Code() != tipt.ErrNodeUnreachable {
		return cert, err
	}
	// Where it was tried just now, it is not tried again sooner.
	now = time.Now()
	later := *failure // which others share
	later.RetryAfter = max(later.RetryAfter, k.known(node, now).tried.Add(keyPause).Sub(now))
	return nil, &later
}

// forUser is the text of a fetch's error for a user of this node.
func forUser(err error) string {
	if failure, ok := errors.AsType[*Failure](err); ok {
		return failure.public()
	}
	return err.Error()
}

// Signing returns the key by which a node signed, for [Vouch.Verify]. When the
// certificate at hand lacks it, the certificate is fetched anew, at most once a minute
// (section 5.4). The error is a [*Failure] when the certificate cannot be had now,
// and any other when the certificate has no such valid key.
func (k *Keys) Signing(ctx context.Context, node tipt.NodeName, keyID string) (ed25519.PublicKey, error) {
	now := time.Now()
	known := k.known(node, now)
	if known.cert != nil && now.Sub(known.fetched) < keyLife {
		key, err := known.cert.SigningKey(keyID, fault.Now())
		if !errors.Is(err, seal.ErrNoSigningKey) {
			return key, err
		}
	}
	if wait := known.tried.Add(keyPause).Sub(now); wait > 0 {
		if known.err != nil {
			return nil, &Failure{RetryAfter: wait, Err: fmt.Errorf("the certificate of %s was asked for a moment ago: %w", node, known.err)}
		}
		return nil, &Failure{RetryAfter: wait, Err: fmt.Errorf("the certificate of %s was fetched a moment ago and lacks the key %s", node, keyID)}
	}
	fetches, waits := maxFetches, maxWaiting
	if known.cert == nil {
		fetches, waits = maxClaimed, maxWaiting/2
	}
	if !k.enter(node, waits) {
		return nil, &Failure{RetryAfter: time.Second, Err: errBusyFetching}
	}
	defer k.leave(node)
	cert, err := k.refresh(ctx, node, fetches)
	if err != nil {
		return nil, err
	}
	return cert.SigningKey(keyID, fault.Now())
}

// enter counts one more who waits for a node's certificate, unless there are so many, or
// too many of that node.
func (k *Keys) enter(node tipt.NodeName, most int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waits >= most || k.waiting[node] >= maxWaitingNode {
		return false
	}
	k.waits++
	k.waiting[node]++
	return true
}

func (k *Keys) leave(node tipt.NodeName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waits--
	if k.waiting[node]--; k.waiting[node] == 0 {
		delete(k.waiting, node)
	}
}

// known returns what is known of a node, and notes that it was asked for.
func (k *Keys) known(node tipt.NodeName, now time.Time) knownKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := k.nodes[node]
	if known == nil {
		return knownKey{}
	}
	known.used = now
	return *known
}

// refresh fetches a node's certificate, unless so many are being fetched, or waits for
// the fetch of it that is under way.
func (k *Keys) refresh(ctx context.Context, node tipt.NodeName, most int) (*seal.Certificate, error) {
	f := k.join(node, most)
	select {
	case <-f.done:
		return f.cert, f.err
	case <-ctx.Done():
		return nil, &Failure{Err: fmt.Errorf("wait for the key of %s: %w", node, ctx.Err())}
	}
}

var errBusyFetching = errors.New("too many certificates are being fetched or waited for, or this node is stopping")

// join returns the fetch of a node's certificate that is under way, having
// begun it if there was none.
func (k *Keys) join(node tipt.NodeName, most int) *fetch {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.fetches[node]; f != nil {
		return f
	}
	f := &fetch{done: make(chan struct{})}
	if k.closed || len(k.fetches) >= most {
		f.err = &Failure{RetryAfter: time.Second, Err: errBusyFetching}
		close(f.done)
		return f
	}
	k.fetches[node] = f
	k.fetching.Go(func() {
		f.cert, f.err = k.fetch(k.alive, node)
		k.note(node, f)
		close(f.done)
	})
	return f
}

func (k *Keys) note(node tipt.NodeName, f *fetch) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.fetches, node)
	now := time.Now()
	known := k.nodes[node]
	if known == nil {
		k.makeRoomLocked()
		known = &knownKey{used: now}
		k.nodes[node] = known
	}
	known.tried, known.err = now, f.err
	if f.err == nil {
		known.cert, known.fetched = f.cert, now
	}
}

// makeRoomLocked forgets one node where there are as many as may be: of a few that the
// map's order picks, one whose certificate could not be fetched, else the one
// asked for longest ago. Exact order is not worth a list.
func (k *Keys) makeRoomLocked() {
	if len(k.nodes) < maxKeys {
		return
	}
	const few = 16
	var worst tipt.NodeName
	looked := 0
	for node, known := range k.nodes {
		if worst == "" || known.worse(k.nodes[worst]) {
			worst = node
		}
		if looked++; looked == few {
			break
		}
	}
	delete(k.nodes, worst)
}

// worse reports whether k is the first of the two to be forgotten.
func (k *knownKey) worse(than *knownKey) bool {
	if (k.cert == nil) != (than.cert == nil) {
		return k.cert == nil
	}
	return k.used.Before(than.used)
}
