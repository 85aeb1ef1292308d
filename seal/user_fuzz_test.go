package seal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// fuzzUser is always the same, so that inputs found by fuzzing keep their meaning.
func fuzzUser(f *testing.F, name string) *UserKey {
	f.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	k, err := ParseUserKey(b, nil)
	if err != nil {
		f.Fatal(err)
	}
	return k
}

// FuzzUserOpenInside is about what an honest integrity check lets through to bob, who keeps alice's certificate. In
// all that can be made of what she signed for him there is nothing else that counts as signed.
func FuzzUserOpenInside(f *testing.F) {
	alice, bob := fuzzUser(f, "alice.key"), fuzzUser(f, "bob.key")
	p := signedBy(f, alice, bob, "hello", nil)
	q := signedBy(f, bob, bob, "hello", nil)
	f.Add(slices.Concat(p.onePass, p.literal, p.signature))
	f.Add(slices.Concat(q.onePass, q.literal, q.signature))
	f.Add(slices.Concat(q.onePass, makeLiteral("other"), p.signature))
	f.Add(slices.Concat(p.literal))
	f.Add(makePadded(9, string(slices.Concat(p.onePass, p.literal, p.signature))))
	f.Add(slices.Concat(makePacket(typePadding, []byte{0}), p.onePass, p.literal, makePacket(typeSignature, []byte{4, 0, 22, 8, 0, 0, 0, 0})))
	kept := userCertificate(f, alice)
	wrapped := sealPackets(f, bob)
	wrapped = wrapped[:len(wrapped)-len(makeEncrypted(f, 2, testSessionKey, nil))]
	f.Fuzz(func(t *testing.T, packets []byte) {
		msg := slices.Concat(wrapped, makeEncrypted(t, 2, testSessionKey, packets))
		var o *Opened
		var err error
		n := allocated(func() { o, err = bob.Open(msg) })
		if limit := openLimit(msg) + 4*maxSignatureSize; n > limit {
			t.Errorf("allocated %d bytes for a message of %d", n, len(msg))
		}
		if err != nil {
			if !errors.Is(err, ErrMessage) || o != nil {
				t.Errorf("%v along with error %v", o, err)
			}
			return
		}
		if err := o.SignedBy(kept, testTime); err == nil && string(o.Plaintext) != "hello" {
			t.Errorf("%q counts as signed", o.Plaintext)
		}
		if err := o.SignedBy(nil, testTime); err == nil {
			t.Error("signed by nobody")
		}
	})
}

// FuzzParseUserKey is about files that are no keys, or not any longer.
func FuzzParseUserKey(f *testing.F) {
	alice, bob := fuzzUser(f, "alice.key"), fuzzUser(f, "bob.key")
	f.Add(alice.Append(nil))
	f.Add(bob.Certificate())
	f.Add([]byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nxVg=\n-----END PGP PRIVATE KEY BLOCK-----\n"))
	to := userCertificate(f, bob)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseUserKey(b, nil)
		if err != nil {
			return
		}
		c, err := ParseCertificate(k.Certificate())
		if err != nil {
			t.Fatalf("its certificate is none: %v", err)
		}
		msg, err := k.Seal(to, []byte("hello"), testTime)
		if err != nil {
			return // it has expired
		}
		o, err := bob.Open(msg)
		if err != nil || string(o.Plaintext) != "hello" {
			t.Errorf("opened to %v, %v", o, err)
		}
		_ = o.SignedBy(c, testTime) // whether it is valid at that time is open
	})
}
