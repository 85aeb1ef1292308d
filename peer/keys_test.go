package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// A keyServer is the other end of the fetches of a test: each takes a second.
type keyServer struct {
	mu      sync.Mutex // guards the following fields
	key     *seal.NodeKey
	err     error
	fetches int
	now     int // under way
	most    int
}

func (s *keyServer) fetch(ctx context.Context, _ tipt.NodeName) (*seal.Certificate, error) {
	s.mu.Lock()
	s.fetches++
	s.now++
	s.most = max(s.most, s.now)
	key, err := s.key, s.err
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now--
	}()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, &Failure{Destination: true, Err: ctx.Err()}
	}
	if err != nil {
		return nil, err
	}
	return seal.ParseCertificate(key.Certificate())
}

// set says what is served from now on.
func (s *keyServer) set(key *seal.NodeKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.err = key, err
}

func (s *keyServer) wantFetches(t *testing.T, what string, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetches != want {
		t.Errorf("%s: %d fetches, want %d", what, s.fetches, want)
	}
}

// testKeys runs a test with a cache in a bubble. The other node has a key.
func testKeys(t *testing.T, f func(t *testing.T, k *Keys, s *keyServer)) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{key: newNodeKey(t, other)}
		k := newKeys(s.fetch)
		f(t, k, s)
		k.Close()
	})
}

// get gets a certificate and checks whose it is.
func get(t *testing.T, k *Keys, fresh bool, want *seal.NodeKey) {
	t.Helper()
	cert, err := k.Get(t.Context(), other, fresh)
	if err != nil {
		t.Errorf("get: %v", err)
		return
	}
	if !bytes.Equal(cert.Bytes(), want.Certificate()) {
		t.Error("another certificate")
	}
}

var (
	errDown = errors.New("is down")
	downNow = &Failure{Destination: true, Err: errDown}
)

func TestKeysShareAFetch(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		var waiting sync.WaitGroup
		// The one who begins it leaves; the others get it.
		waiting.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, err := k.Get(ctx, other, false)
			if f := wantFailure(t, err); f.Unknown || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("one who left: %+v", f)
			}
		})
		synctest.Wait()
		for i := range 10 * maxWaitingNode {
			waiting.Go(func() {
				switch i % 10 {
				default:
					get(t, k, false, s.key)
				case 1:
					get(t, k, true, s.key)
				case 2:
					if _, err := k.Signing(t.Context(), other, s.key.SigningKeyID()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		waiting.Wait()
		s.wantFetches(t, "many at once", 1)
	})
}

func TestKeysAreKeptAnHour(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		old, fresh := s.key, newNodeKey(t, other)
		get(t, k, false, old)
		s.set(fresh, nil)
		time.Sleep(keyLife - time.Second)
		get(t, k, false, old)
		s.wantFetches(t, "within the hour", 1)
		time.Sleep(time.Second)
		get(t, k, false, fresh)
		s.wantFetches(t, "after it", 2)

		// An old one is not used for want of a new one.
		s.set(nil, downNow)
		time.Sleep(keyLife)
		if _, err := k.Get(t.Context(), other, false); !errors.Is(err, errDown) {
			t.Errorf("the node is down: %v", err)
		}
		s.wantFetches(t, "the node is down", 3)
	})
}

func TestFreshKeys(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		first, second := s.key, newNodeKey(t, other)
		get(t, k, true, first)
		s.set(second, nil)
		time.Sleep(keyPause - time.Second)
		get(t, k, true, first) // a fetch was tried within the last minute
		s.wantFetches(t, "within a minute", 1)
		time.Sleep(time.Second)
		get(t, k, true, second)
		s.wantFetches(t, "after a minute", 2)

		// A fetch that failed counts as well; the cached one is still good.
		time.Sleep(keyPause)
		s.set(nil, downNow)
		if _, err := k.Get(t.Context(), other, true); !errors.Is(err, errDown) {
			t.Errorf("the node is down: %v", err)
		}
		get(t, k, true, second)
		get(t, k, false, second)
		s.wantFetches(t, "the node is down", 3)
	})
}

func TestNoKeyForAMinute(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		key := s.key
		s.set(nil, downNow)
		if _, err := k.Get(t.Context(), other, false); !errors.Is(err, errDown) {
			t.Errorf("the node is down: %v", err)
		}
		s.set(key, nil)
		time.Sleep(20 * time.Second)
		for _, fresh := range []bool{false, true} {
			_, err := k.Get(t.Context(), other, fresh)
			coded, ok := errors.AsType[*tipt.Error](err)
			if !ok || coded.Code != tipt.ErrNodeUnreachable || coded.Wait != 40*time.Second || !strings.Contains(coded.Message, "is down") {
				t.Errorf("fresh %t: %#v", fresh, err)
			}
		}
		s.wantFetches(t, "within a minute", 1)
		time.Sleep(40 * time.Second)
		get(t, k, false, key)
	})
}

// Users are told to come back when the node is asked again, and nothing of how this machine looks names up.
func TestUserIsToldOfNoKey(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		ask := func() *tipt.Error {
			t.Helper()
			_, err := k.Get(t.Context(), other, false)
			var f *Failure
			if errors.As(err, &f) {
				return f.Coded()
			}
			coded, ok := errors.AsType[*tipt.Error](err)
			if !ok {
				t.Fatal(err)
			}
			return coded
		}
		s.set(nil, &Failure{Destination: true, Err: &net.DNSError{Err: "no such host", Name: string(other), Server: "10.0.0.53:53", IsNotFound: true}})
		want := &tipt.Error{Code: tipt.ErrNodeUnreachable, Message: "there is no node of that name", Wait: keyPause}
		if diff := cmp.Diff(want, ask()); diff != "" {
			t.Error("asked once", diff)
		}
		time.Sleep(20 * time.Second)
		want = &tipt.Error{
			Code: tipt.ErrNodeUnreachable, Wait: 40 * time.Second,
			Message: "the key of " + string(other) + " was asked for a moment ago: there is no node of that name",
		}
		if diff := cmp.Diff(want, ask()); diff != "" {
			t.Error("asked again", diff)
		}
		time.Sleep(40 * time.Second)
		s.set(nil, &Failure{Destination: true, Status: 503, RetryAfter: time.Hour, Err: errDown})
		if coded := ask(); coded.Wait != time.Hour {
			t.Errorf("it asks for an hour, and the user is told %v", coded.Wait)
		}
		time.Sleep(time.Hour)
		s.set(nil, &Failure{Status: 404, Err: errDown})
		if coded := ask(); coded.Code != tipt.ErrNodeRefused || coded.Wait != 0 {
			t.Errorf("it refuses, and the user is told %v", coded)
		}
		// Where there are too many it was not tried.
		k.mu.Lock()
		for i := range maxFetches {
			k.fetches[tipt.NodeName(fmt.Sprintf("n%d.example", i))] = &fetch{done: make(chan struct{})}
		}
		k.mu.Unlock()
		time.Sleep(time.Hour)
		if coded := ask(); coded.Wait != time.Second {
			t.Errorf("too many at once, and the user is told %v", coded.Wait)
		}
	})
}

func TestSigningKeys(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		first := s.key
		signs := func(key *seal.NodeKey) {
			t.Helper()
			public, err := k.Signing(t.Context(), other, key.SigningKeyID())
			if err != nil {
				t.Errorf("signing: %v", err)
				return
			}
			v := Vouch{From: alice, KeyID: key.SigningKeyID()}
			v.signature = key.Sign(v.base(own))
			if err := v.Verify(own, public); err != nil {
				t.Error(err)
			}
		}
		signs(first)
		signs(first)
		s.wantFetches(t, "a known one", 1)

		// A rotation is seen at once, but for the minute after a fetch.
		second, err := first.Rotate(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.set(second, nil)
		_, err = k.Signing(t.Context(), other, second.SigningKeyID())
		if f := wantFailure(t, err); f.RetryAfter != keyPause || !strings.Contains(err.Error(), "lacks the key") {
			t.Errorf("within a minute: %+v", f)
		}
		time.Sleep(keyPause)
		signs(second)
		signs(first) // has its grace
		s.wantFetches(t, "after the rotation", 2)

		// One that nobody has costs a fetch a minute, and those who are known none.
		unknown := newNodeKey(t, other).SigningKeyID()
		for i := range 3 {
			time.Sleep(keyPause)
			var failure *Failure
			if _, err := k.Signing(t.Context(), other, unknown); !errors.Is(err, seal.ErrNoSigningKey) || errors.As(err, &failure) {
				t.Errorf("unknown key: %v", err)
			}
			_, err := k.Signing(t.Context(), other, unknown)
			wantFailure(t, err)
			signs(second)
			s.wantFetches(t, "an unknown one", 3+i)
		}

		// So does a node that is down: what is known of it holds for its hour.
		s.set(nil, downNow)
		time.Sleep(keyPause)
		if _, err := k.Signing(t.Context(), other, unknown); !errors.Is(err, errDown) {
			t.Errorf("down: %v", err)
		}
		_, err = k.Signing(t.Context(), other, unknown)
		if f := wantFailure(t, err); f.RetryAfter != keyPause || !errors.Is(err, errDown) {
			t.Errorf("down a moment ago: %+v", f)
		}
		signs(second)
		s.wantFetches(t, "down", 6)
		time.Sleep(keyLife)
		if _, err := k.Signing(t.Context(), other, second.SigningKeyID()); !errors.Is(err, errDown) {
			t.Errorf("down for an hour: %v", err)
		}
	})
}

// TestSigningKeyKinds has keys that are in the certificate and may not sign: they are
// refused without a fetch.
func TestSigningKeyKinds(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		get(t, k, false, s.key)
		for kind, id := range subkeys(t, s.key) {
			if id == s.key.SigningKeyID() {
				continue
			}
			var failure *Failure
			if _, err := k.Signing(t.Context(), other, id); err == nil || errors.As(err, &failure) || errors.Is(err, seal.ErrNoSigningKey) {
				t.Errorf("%s: %v", kind, err)
			}
		}
		s.wantFetches(t, "wrong kinds", 1)
	})
}

// TestKeysBounds has somebody who claims to be ever other nodes.
func TestKeysBounds(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		get(t, k, false, s.key)
		claim := func(i int) tipt.NodeName { return tipt.NodeName(fmt.Sprintf("n%d.example", i)) }
		s.mu.Lock()
		s.err, s.most = downNow, 0
		s.mu.Unlock()

		var claims sync.WaitGroup
		for i := range 2 * maxFetches {
			claims.Go(func() {
				_, err := k.Signing(t.Context(), claim(i), "x")
				if f := wantFailure(t, err); !errors.Is(err, errDown) && f.RetryAfter != time.Second {
					t.Errorf("%+v", f)
				}
			})
		}
		synctest.Wait()
		if s.most != maxClaimed {
			t.Errorf("%d fetches for claims, want %d", s.most, maxClaimed)
		}
		// Users ask nevertheless.
		var users sync.WaitGroup
		for i := range 2 * maxFetches {
			users.Go(func() {
				if _, err := k.Get(t.Context(), "user-"+claim(i), false); err == nil {
					t.Error("got a certificate")
				}
			})
		}
		claims.Wait()
		users.Wait()
		if s.most != maxFetches {
			t.Errorf("%d fetches at once, want %d", s.most, maxFetches)
		}
		s.wantFetches(t, "all", 1+maxFetches)

		for i := range 2 * maxKeys {
			k.note(claim(i), &fetch{err: downNow})
		}
		if len(k.nodes) > maxKeys {
			t.Errorf("%d nodes are remembered", len(k.nodes))
		}
		fetched := s.fetches
		get(t, k, false, s.key) // among all that rubbish
		s.wantFetches(t, "one that is good", fetched)

		// Of those that are good, the ones in use stay.
		cert, err := seal.ParseCertificate(s.key.Certificate())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 * maxKeys {
			time.Sleep(time.Millisecond)
			k.note(claim(i), &fetch{cert: cert})
			k.known(other, time.Now())
		}
		if len(k.nodes) != maxKeys || k.nodes[other] == nil {
			t.Errorf("%d nodes are remembered", len(k.nodes))
		}
	})
}

// TestKnownNodeAmongClaims has somebody claim to be as many nodes as are fetched for that, none
// of which answers, while a node signs whose certificate has grown old.
func TestKnownNodeAmongClaims(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		get(t, k, false, s.key)
		time.Sleep(keyLife)
		s.set(s.key, downNow)
		var claims sync.WaitGroup
		for i := range maxClaimed {
			claims.Go(func() {
				_, err := k.Signing(t.Context(), tipt.NodeName(fmt.Sprintf("n%d.example", i)), "x")
				wantFailure(t, err)
			})
		}
		synctest.Wait()
		s.set(s.key, nil)
		if _, err := k.Signing(t.Context(), third, "x"); !errors.Is(err, errBusyFetching) {
			t.Errorf("one more claim: %v", err)
		}
		if _, err := k.Signing(t.Context(), other, s.key.SigningKeyID()); err != nil {
			t.Errorf("a node that is known: %v", err)
		}
		claims.Wait()
	})
}

// TestWaitingForKeys has somebody claim to be nodes that take their time, more often than may wait.
func TestWaitingForKeys(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		get(t, k, false, s.key)
		time.Sleep(keyLife)
		var mu sync.Mutex
		var calls sync.WaitGroup
		signing := func(node tipt.NodeName, n int) (waited, refused *int) {
			waited, refused = new(int), new(int)
			for range n {
				calls.Go(func() {
					began := time.Now()
					_, err := k.Signing(t.Context(), node, s.key.SigningKeyID())
					mu.Lock()
					defer mu.Unlock()
					if !errors.Is(err, errBusyFetching) {
						*waited++
						return
					}
					*refused++
					if f := wantFailure(t, err); f.RetryAfter != time.Second || time.Since(began) != 0 {
						t.Errorf("refused after %v: %+v", time.Since(began), f)
					}
				})
			}
			synctest.Wait()
			return waited, refused
		}
		want := func(what string, wants int, waited, refused *int, of int) {
			t.Helper()
			if *waited != wants || *refused != of-wants {
				t.Errorf("%s: %d waited and %d were refused, want %d of %d to wait", what, *waited, *refused, wants, of)
			}
		}
		one, oneNot := signing("one.example", 2*maxWaitingNode)
		two, twoNot := signing("two.example", maxWaitingNode)
		rest, restNot := signing("three.example", maxWaitingNode)
		known, knownNot := signing(other, 2*maxWaitingNode)
		calls.Wait()
		want("one", maxWaitingNode, one, oneNot, 2*maxWaitingNode)
		want("two", maxWaitingNode, two, twoNot, maxWaitingNode)
		want("half of all are strangers", maxWaiting/2-2*maxWaitingNode, rest, restNot, maxWaitingNode)
		want("a node that is known", maxWaitingNode, known, knownNot, 2*maxWaitingNode)
		if k.waits != 0 || len(k.waiting) != 0 {
			t.Errorf("%d wait for %v", k.waits, k.waiting)
		}
	})
}

func TestKeysClose(t *testing.T) {
	testKeys(t, func(t *testing.T, k *Keys, s *keyServer) {
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := k.Get(t.Context(), other, false)
			wantFailure(t, err)
		})
		synctest.Wait()
		began := time.Now()
		k.Close()
		waiting.Wait()
		_, err := k.Get(t.Context(), "third.example", false)
		if f := wantFailure(t, err); !strings.Contains(f.Error(), "stopping") || time.Since(began) != 0 {
			t.Errorf("after Close: %v, %v", f, time.Since(began))
		}
		s.wantFetches(t, "all", 1)
	})
}
