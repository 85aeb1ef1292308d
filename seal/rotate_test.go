package seal

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func mustNodeKey(t *testing.T, now time.Time) *NodeKey {
	t.Helper()
	key, err := NewNodeKey("node.example", now)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestRotate(t *testing.T) {
	made := time.Now().Add(-100 * 24 * time.Hour).Truncate(time.Second)
	for _, rotated := range []time.Time{made, made.Add(50 * 24 * time.Hour)} {
		old := mustNodeKey(t, made)
		key, err := old.Rotate(rotated)
		if err != nil {
			t.Fatal(err)
		}
		if key, err = ParseNodeKey(key.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if key.Name() != old.Name() {
			t.Errorf("name %q", key.Name())
		}
		before, after := certificateOf(t, old), certificateOf(t, key)
		if before.Fingerprint() != after.Fingerprint() {
			t.Error("another primary key")
		}

		// What was sealed to the old certificate opens for 30 days.
		stale, err := before.Seal([]byte("stale"), rotated)
		if err != nil {
			t.Fatal(err)
		}
		last := rotated.Add(oldKeyRetention - time.Second)
		if plain, err := key.Open(stale, last); err != nil || !bytes.Equal(plain, []byte("stale")) {
			t.Errorf("old message on the last day: %q, %v", plain, err)
		}
		if _, err := key.Open(stale, rotated.Add(oldKeyRetention+2*time.Second)); !errors.Is(err, ErrCannotOpen) {
			t.Errorf("old message after 30 days: %v", err)
		}
		// What is sealed to the new one is not for the old subkey.
		fresh, err := after.Seal([]byte("fresh"), rotated)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := key.Open(fresh, rotated.Add(time.Hour)); err != nil || string(plain) != "fresh" {
			t.Errorf("new message: %q, %v", plain, err)
		}
		if _, err := old.Open(fresh, rotated.Add(time.Hour)); !errors.Is(err, ErrCannotOpen) {
			t.Errorf("new message, old key: %v", err)
		}

		// Signatures by the old subkey hold until what was on its way has arrived.
		oldID, newID := old.SigningKeyID(), key.SigningKeyID()
		if oldID == newID {
			t.Error("the signing subkey is the old one")
		}
		if _, err := after.SigningKey(oldID, rotated.Add(signingGrace-clockSkew-time.Second)); err != nil {
			t.Errorf("old signing subkey within its grace: %v", err)
		}
		if _, err := after.SigningKey(oldID, rotated.Add(signingGrace+time.Second)); err == nil {
			t.Error("old signing subkey after its grace")
		}
		if _, err := after.SigningKey(newID, rotated); err != nil {
			t.Errorf("new signing subkey: %v", err)
		}
	}
}

func TestRotateOften(t *testing.T) {
	made := time.Now().Add(-1000 * 24 * time.Hour)
	key := mustNodeKey(t, made)
	size := 0
	for i := range 40 {
		var err error
		if key, err = key.Rotate(made.Add(time.Duration(i+1) * 10 * 24 * time.Hour)); err != nil {
			t.Fatalf("rotation %d: %v", i+1, err)
		}
		if i == 10 {
			size = len(key.Certificate())
		}
	}
	// A signature is now and then a byte shorter; a subkey takes more than 100.
	if n := len(key.Certificate()); n > size+50 {
		t.Errorf("the certificate grew from %d to %d bytes: what ended long ago is still there", size, n)
	}
}

func TestAddMLKEM(t *testing.T) {
	now := time.Now()
	plain := mustNodeKey(t, now.Add(-time.Hour))
	key, err := plain.AddMLKEM(now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.AddMLKEM(now); !errors.Is(err, ErrHasMLKEM) {
		t.Errorf("a second one: %v", err)
	}
	for _, rotate := range []bool{false, true} {
		if rotate {
			if key, err = key.Rotate(now); err != nil {
				t.Fatal(err)
			}
		}
		cert := certificateOf(t, key)
		best, err := cert.recipientAt(now)
		if err != nil {
			t.Fatal(err)
		}
		if !best.key.IsPQ() {
			t.Errorf("rotated %v: messages are sealed to another subkey", rotate)
		}
		sealed, err := cert.Seal([]byte("x"), now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := key.Open(sealed, now); err != nil {
			t.Error(err)
		}
		// Who knows the old certificate alone goes on as before.
		if sealed, err = certificateOf(t, plain).Seal([]byte("x"), now); err != nil {
			t.Fatal(err)
		}
		if _, err := key.Open(sealed, now); err != nil {
			t.Errorf("rotated %v: sealed to the certificate before: %v", rotate, err)
		}
	}
}
