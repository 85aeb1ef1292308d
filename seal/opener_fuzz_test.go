package seal

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// checkVerdict opens a message in each way, with and without a session key that is kept, and
// fails where one finds something else than the others.
func checkVerdict(t testing.TB, k *NodeKey, msg []byte, now time.Time) {
	t.Helper()
	want, wantErr := k.Open(msg, now)
	check := func(how string, got []byte, err error) {
		t.Helper()
		if !bytes.Equal(got, want) || (got == nil) != (want == nil) || (err == nil) != (wantErr == nil) ||
			err != nil && err.Error() != wantErr.Error() {
			t.Errorf("%s: opened to %d bytes, %v, want %d bytes, %v", how, len(got), err, len(want), wantErr)
		}
	}
	o := NewOpener(k)
	// Each session key in the message is known, as if others that came with it had been sound.
	for rest := msg; len(rest) > 0; {
		p, behind, err := nextPacket(rest)
		if err != nil {
			break
		}
		rest = behind
		w, err := parseWrappedKey(p)
		if p.kind != typeSessionKey || err != nil || w.version != 6 {
			continue
		}
		for i := range k.decryption {
			subkey := &k.decryption[i]
			key, err := w.unwrap(subkey.key)
			if err != nil || !w.isFor(&subkey.key.PublicKey) {
				continue
			}
			o.keep(&keptKey{from: alice, packet: bytes.Clone(w.raw), key: slices.Clone(key.key), subkey: subkey, since: now})
			break
		}
	}
	before := bytes.Clone(msg)
	got, err := o.Open(msg, alice, now)
	check("with a kept session key", got, err)
	got, err = o.Open(msg, user("b.example", 1), now)
	check("of somebody else", got, err)
	got, err = o.Open(msg, user("b.example", 1), now)
	check("again", got, err)
	got, err = o.Open(msg, nobody, now)
	check("of nobody", got, err)
	if !bytes.Equal(msg, before) {
		t.Error("the message was changed")
	}
}

func TestOpenerVerdicts(t *testing.T) {
	k := withMLKEM(t, newTestKey(t))
	for _, msg := range testMessages(t, k) {
		checkVerdict(t, k, msg, testTime)
		checkVerdict(t, k, msg, testTime.Add(-time.Hour))
	}
	for _, r := range refusals(t, k) {
		t.Run(r.name, func(t *testing.T) { checkVerdict(t, k, r.msg, testTime) })
	}
}

// FuzzOpener asserts that what an Opener keeps changes no verdict.
func FuzzOpener(f *testing.F) {
	k := fuzzKey(f)
	for _, msg := range testMessages(f, k) {
		f.Add(msg)
	}
	for _, r := range refusals(f, k) {
		if len(r.msg) < 4096 {
			f.Add(r.msg)
		}
	}
	s := certificateOf(f, k).NewSealer()
	for range 2 {
		msg, err := s.Seal([]byte("hello"), testTime)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) { checkVerdict(t, k, msg, testTime) })
}

// FuzzOpenerInside is about messages that are sealed with a session key that is kept.
func FuzzOpenerInside(f *testing.F) {
	k := fuzzKey(f)
	literal := makeLiteral("hello")
	f.Add(literal, []byte(nil))
	f.Add(slices.Concat(literal, literal), []byte{0})
	f.Add(makePacket(typeCompressed, []byte{0}, literal), []byte(nil))
	wrapped := makeSessionKey(f, k, 6, testSessionKey, false)
	f.Fuzz(func(t *testing.T, packets, behind []byte) {
		checkVerdict(t, k, slices.Concat(wrapped, makeEncrypted(t, 2, testSessionKey, packets), behind), testTime)
	})
}
