package seal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	tipt "github.com/tipt/tipt-go"
)

// Senders of the tests. The keys' own node is node.example.
var (
	alice  = tipt.Address{User: "alice", Node: "a.example"}
	nobody tipt.Address
)

// all returns the session keys that are kept, and fails where the lists of them differ.
func (o *Opener) all(t testing.TB) []*keptKey {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []*keptKey
	foreign := 0
	for from, of := range o.senders {
		if len(of) == 0 {
			t.Errorf("nothing kept for %v", from)
		}
		for _, k := range of {
			if k.from != from || len(k.key) == 0 || bytes.Equal(k.key, make([]byte, len(k.key))) {
				t.Errorf("kept for %v: %x of %v", from, k.key, k.from)
			}
			if string(from.Node) != o.key.name {
				foreign++
			}
		}
		all = append(all, of...)
	}
	inNodes := 0
	for node, of := range o.nodes {
		if of.Len() == 0 {
			t.Errorf("nothing kept for %v", node)
		}
		inNodes += of.Len()
	}
	if inNodes != len(all) || o.foreign.Len() != foreign {
		t.Errorf("%d session keys, %d by node, %d of other nodes where there are %d", len(all), inNodes, o.foreign.Len(), foreign)
	}
	return all
}

// usesKept reports whether a message is opened with a session key that is kept, by spoiling
// those for as long as it takes.
func (o *Opener) usesKept(t testing.TB, msg []byte, from tipt.Address, now time.Time) bool {
	t.Helper()
	kept := o.all(t)
	for _, k := range kept {
		k.key[0] ^= 1
	}
	_, err := o.Open(msg, from, now)
	for _, k := range kept {
		if !bytes.Equal(k.key, make([]byte, len(k.key))) { // not wiped
			k.key[0] ^= 1
		}
	}
	return err != nil
}

func wantOpen(t testing.TB, o *Opener, msg []byte, from tipt.Address, want string, now time.Time) {
	t.Helper()
	if got, err := o.Open(msg, from, now); err != nil || string(got) != want {
		t.Fatalf("opened to %q, %v, want %q", got, err, want)
	}
}

func wantKept(t testing.TB, o *Opener, want int) {
	t.Helper()
	if got := len(o.all(t)); got != want {
		t.Errorf("%d session keys are kept, want %d", got, want)
	}
}

func TestOpenerUsesSessionKeyAgain(t *testing.T) {
	for _, name := range []string{"version 2", "ML-KEM"} {
		t.Run(name, func(t *testing.T) {
			k := testKeys(t)[name]
			s := certificateOf(t, k).NewSealer()
			o := NewOpener(k)
			for i := range 3 {
				text := fmt.Sprint("message ", i)
				msg, _ := sealWith(t, s, text, testTime)
				if got := o.usesKept(t, msg, alice, testTime); got != (i > 0) {
					t.Errorf("message %d opened with a kept session key: %v", i, got)
				}
				wantOpen(t, o, msg, alice, text, testTime)
				wantKept(t, o, 1)
			}
		})
	}
}

// Section 5.2: found only by all bytes of the packet ...
func TestOpenerFindsByAllBytes(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	msg, sessionKey := sealWith(t, certificateOf(t, k).NewSealer(), "hello", testTime)
	wantOpen(t, o, msg, alice, "hello", testTime)
	for i := range sessionKey {
		for bit := range 8 {
			changed := bytes.Clone(msg)
			changed[i] ^= 1 << bit
			if got, err := o.Open(changed, alice, testTime); err == nil {
				t.Fatalf("byte %d, bit %d changed: opened to %q", i, bit, got)
			}
		}
	}
	wantKept(t, o, 1)
	// Another spelling of the same packet opens, but not with what is kept.
	p, rest, err := nextPacket(msg)
	if err != nil {
		t.Fatal(err)
	}
	respelled := slices.Concat(makePacket(typeSessionKey, p.head), rest)
	if o.usesKept(t, respelled, alice, testTime) {
		t.Error("found by another spelling")
	}
	wantOpen(t, o, respelled, alice, "hello", testTime)
}

// ... together with the vouched sender.
func TestOpenerFindsBySender(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	msg, _ := sealWith(t, certificateOf(t, k).NewSealer(), "hello", testTime)
	wantOpen(t, o, msg, alice, "hello", testTime)
	senders := []tipt.Address{
		{User: "bob", Node: alice.Node}, {User: alice.User, Node: "b.example"}, {User: alice.User, Node: "node.example"},
	}
	for i, from := range senders {
		if o.usesKept(t, msg, from, testTime) {
			t.Errorf("%v finds what %v has entered", from, alice)
		}
		wantKept(t, o, 2+i)
		if !o.usesKept(t, msg, from, testTime) {
			t.Errorf("%v does not find what it has entered", from)
		}
	}
}

func TestOpenerKeepsNothingOfAnonymousSenders(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	msg, _ := sealWith(t, certificateOf(t, k).NewSealer(), "hello", testTime)
	for _, from := range []tipt.Address{nobody, {Node: "a.example"}} {
		wantOpen(t, o, msg, from, "hello", testTime)
		wantKept(t, o, 0)
	}
}

func TestOpenerKeepsNothingOfVersion1(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	literal := makeLiteral("hello")
	ours3 := makeSessionKey(t, k, 3, testSessionKey, false)
	ours6 := makeSessionKey(t, k, 6, testSessionKey, false)
	data1 := makeEncrypted(t, 1, testSessionKey, literal)
	data2 := makeEncrypted(t, 2, testSessionKey, literal)
	for range 2 {
		wantOpen(t, o, slices.Concat(ours3, data1), alice, "hello", testTime)
		wantKept(t, o, 0)
	}
	wantOpen(t, o, slices.Concat(ours6, data2), alice, "hello", testTime)
	got, err := o.Open(slices.Concat(ours6, data1), alice, testTime)
	checkRefused(t, got, err, ErrMessage)
	// Not even if somebody had entered the one's packet.
	o.keep(&keptKey{from: alice, packet: ours3, key: bytes.Clone(testSessionKey), subkey: &k.decryption[0], since: testTime})
	if o.usesKept(t, slices.Concat(ours3, data1), alice, testTime) {
		t.Error("a kept session key is used for an encrypted packet of version 1")
	}
}

// A message with several session keys, or one for nobody by name, is opened by itself.
func TestOpenerKeepsOnlyOneNamedSessionKey(t *testing.T) {
	k := newTestKey(t)
	ours := makeSessionKey(t, k, 6, testSessionKey, false)
	other := makeSessionKey(t, k, 6, bytes.Repeat([]byte{7}, 32), false)
	theirs := makeSessionKey(t, newTestKey(t), 6, testSessionKey, false)
	hidden := makeSessionKey(t, k, 6, testSessionKey, true)
	data := makeEncrypted(t, 2, testSessionKey, makeLiteral("hello"))
	for _, tt := range []struct {
		name string
		msg  []byte
		want error
	}{
		{"for us and others", slices.Concat(ours, theirs, data), nil},
		{"for others and us", slices.Concat(theirs, ours, data), nil},
		{"twice for us", slices.Concat(ours, ours, data), nil},
		{"another first", slices.Concat(other, ours, data), ErrMessage},
		{"hidden", slices.Concat(hidden, data), nil},
		{"hidden and ours", slices.Concat(hidden, ours, data), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for warm := range 2 {
				o := NewOpener(k)
				if warm == 1 {
					wantOpen(t, o, slices.Concat(ours, data), alice, "hello", testTime)
				}
				for range 2 {
					if _, err := o.Open(tt.msg, alice, testTime); !errors.Is(err, tt.want) {
						t.Errorf("error %v, want %v", err, tt.want)
					}
				}
				if tt.want == nil && o.usesKept(t, tt.msg, alice, testTime) {
					t.Error("opened with a kept session key")
				}
				wantKept(t, o, warm)
			}
		})
	}
}

func TestOpenerKeepsNothingBeforeTheMessageIsSound(t *testing.T) {
	k := newTestKey(t)
	ours := makeSessionKey(t, k, 6, testSessionKey, false)
	data := makeEncrypted(t, 2, testSessionKey, makeLiteral("hello"))
	for i := len(ours); i < len(ours)+len(data); i++ {
		o := NewOpener(k)
		msg := slices.Concat(ours, data)
		msg[i] ^= 1
		if _, err := o.Open(msg, alice, testTime); err == nil {
			t.Fatalf("byte %d changed, and opened", i)
		}
		wantKept(t, o, 0)
	}
	o := NewOpener(k)
	if _, err := o.Open(slices.Concat(ours, makeEncrypted(t, 2, bytes.Repeat([]byte{7}, 32), makeLiteral("hello"))), alice, testTime); !errors.Is(err, ErrMessage) {
		t.Errorf("error %v", err)
	}
	if _, err := o.Open(slices.Concat(ours, makeEncrypted(t, 2, testSessionKey, nil)), alice, testTime); !errors.Is(err, ErrMessage) {
		t.Errorf("error %v", err)
	}
	wantKept(t, o, 0)
}

// A session key is dropped when its subkey ends, which still opens for 30 days.
func TestOpenerDropsWithSubkey(t *testing.T) {
	const day = 24 * time.Hour
	end := testTime.Add(time.Minute)
	revoked := func(e *openpgp.Entity, c *packet.Config) error {
		c.Time = func() time.Time { return end }
		return e.Subkeys[0].Revoke(packet.KeySuperseded, "", c)
	}
	expired := func(e *openpgp.Entity, c *packet.Config) error {
		binding := e.Subkeys[0].Bindings[0].Packet
		lifetime := uint32(end.Sub(e.Subkeys[0].PublicKey.CreationTime) / time.Second)
		binding.KeyLifetimeSecs = &lifetime
		return binding.SignKey(e.Subkeys[0].PublicKey, e.PrivateKey, c)
	}
	for name, change := range map[string]func(*openpgp.Entity, *packet.Config) error{"revoked": revoked, "expired": expired} {
		t.Run(name, func(t *testing.T) {
			old := newTestKey(t)
			k := changeKey(t, old, change)
			o := NewOpener(k)
			msg, sessionKey := sealWith(t, certificateOf(t, old).NewSealer(), "hello", testTime)
			wantOpen(t, o, msg, alice, "hello", testTime)
			if !o.usesKept(t, msg, alice, end.Add(-time.Second)) {
				t.Error("not kept until the end")
			}
			if o.usesKept(t, msg, alice, end) {
				t.Error("kept beyond the end")
			}
			key := o.all(t)[0].key
			secret := bytes.Clone(key)
			o.Sweep(end.Add(-time.Second))
			wantKept(t, o, 1)
			o.Sweep(end)
			wantKept(t, o, 0)
			if !bytes.Equal(key, make([]byte, 32)) {
				t.Error("dropped and not wiped")
			}
			wantOpen(t, o, msg, alice, "hello", end.Add(30*day-time.Second))
			wantKept(t, o, 0)
			// One that is young does not outlast the subkey either.
			o.keep(&keptKey{from: alice, packet: sessionKey, key: secret, subkey: &k.decryption[0], since: end.Add(30 * day)})
			if _, err := o.Open(msg, alice, end.Add(30*day)); !errors.Is(err, ErrCannotOpen) {
				t.Errorf("after 30 days: %v", err)
			}
		})
	}
}

func TestOpenerKeepsForAnHour(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	msg, _ := sealWith(t, certificateOf(t, k).NewSealer(), "hello", testTime)
	wantOpen(t, o, msg, alice, "hello", testTime)
	key := o.all(t)[0].key
	for _, tt := range []struct {
		at   time.Duration
		want bool
	}{{30 * time.Minute, true}, {time.Hour - 1, true}, {-1, false}, {time.Hour, false}} {
		o := NewOpener(k)
		wantOpen(t, o, msg, alice, "hello", testTime)
		if got := o.usesKept(t, msg, alice, testTime.Add(tt.at)); got != tt.want {
			t.Errorf("after %v kept: %v, want %v", tt.at, got, tt.want)
		}
	}
	o.Sweep(testTime.Add(time.Hour - 1))
	wantKept(t, o, 1)
	o.Sweep(testTime.Add(time.Hour))
	wantKept(t, o, 0)
	if !bytes.Equal(key, make([]byte, 32)) {
		t.Error("dropped and not wiped")
	}
	// Entered again when it comes again, in place of the one that is over.
	wantOpen(t, o, msg, alice, "hello", testTime)
	wantOpen(t, o, msg, alice, "hello", testTime.Add(time.Hour))
	wantKept(t, o, 1)
	if !o.usesKept(t, msg, alice, testTime.Add(90*time.Minute)) {
		t.Error("not entered again")
	}
}

func TestOpenerForget(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	bob := tipt.Address{User: "bob", Node: alice.Node}
	var keys [][]byte
	for _, from := range []tipt.Address{bob, alice, alice} {
		msg, _ := sealWith(t, certificateOf(t, k).NewSealer(), "hello", testTime)
		wantOpen(t, o, msg, from, "hello", testTime)
	}
	for _, kept := range o.senders[alice] {
		keys = append(keys, kept.key)
	}
	o.Forget(alice)
	for _, key := range keys {
		if !bytes.Equal(key, make([]byte, 32)) {
			t.Error("dropped and not wiped")
		}
	}
	if wantKept(t, o, 1); len(keys) != 2 || len(o.senders[bob]) != 1 {
		t.Errorf("kept of %v: %d, before %d; of %v: %d", alice, len(o.senders[alice]), len(keys), bob, len(o.senders[bob]))
	}
}

func TestOpenerClose(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	msg, _ := sealWith(t, certificateOf(t, k).NewSealer(), "hello", testTime)
	wantOpen(t, o, msg, alice, "hello", testTime)
	key := o.all(t)[0].key
	o.Close()
	if !bytes.Equal(key, make([]byte, 32)) {
		t.Error("dropped and not wiped")
	}
	wantOpen(t, o, msg, alice, "hello", testTime)
	wantKept(t, o, 0)
}

func TestOpenerConcurrently(t *testing.T) {
	k := newTestKey(t)
	o := NewOpener(k)
	var opening sync.WaitGroup
	for worker := range 4 {
		s := certificateOf(t, k).NewSealer()
		opening.Go(func() {
			for i := range 50 {
				text := fmt.Sprint(worker, i)
				msg, err := s.Seal([]byte(text), testTime)
				if err != nil {
					t.Error(err)
					return
				}
				// Some enter the same at once, some make the others' wiped.
				for _, from := range []tipt.Address{user("a.example", worker), alice} {
					if got, err := o.Open(msg, from, testTime); err != nil || string(got) != text {
						t.Errorf("opened to %q, %v, want %q", got, err, text)
					}
				}
				if i%10 == 9 {
					s.Close()
					s = s.Certificate().NewSealer()
					o.Sweep(testTime.Add(time.Duration(i) * 2 * time.Minute))
				}
			}
		})
	}
	opening.Wait()
	o.all(t)
}
