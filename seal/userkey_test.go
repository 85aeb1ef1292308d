package seal

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	tipt "github.com/tipt/tipt-go"
)

var (
	aliceAddress = tipt.Address{User: "alice", Node: "a.example"}
	bobAddress   = tipt.Address{User: "bob", Node: "b.example"}
)

func newTestUserKey(t testing.TB, address string) *UserKey {
	t.Helper()
	k, err := NewUserKey(address, testTime)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func userCertificate(t testing.TB, k *UserKey) *Certificate {
	t.Helper()
	c, err := ParseCertificate(k.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// changeUserKey returns k after change, which signs what it changes.
func changeUserKey(t testing.TB, k *UserKey, change func(*openpgp.Entity, *packet.Config) error) *UserKey {
	t.Helper()
	changed, err := ParseUserKey(changeSecret(t, k, change), nil)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func changeSecret(t testing.TB, k *UserKey, change func(*openpgp.Entity, *packet.Config) error) []byte {
	t.Helper()
	entity := readEntity(t, k.secret)
	config := &packet.Config{
		Time:      func() time.Time { return testTime },
		Algorithm: packet.PubKeyAlgoEdDSA,
	}
	if err := change(entity, config); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A user's key has the form of a node's, under an address.
func TestNewUserKey(t *testing.T) {
	for _, address := range []string{
		"alice@a.example",
		"(:-)<>\x7f@a.example", // what names may have and the library minds, and more
		strings.Repeat("ü", 32) + "@" + strings.Repeat("a23456789.", 24) + "example",
	} {
		k := newTestUserKey(t, address)
		if err := userCertificate(t, k).CheckNode(address, testTime); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if k.Fingerprint() != userCertificate(t, k).Fingerprint() {
			t.Errorf("%s: fingerprint %s", address, k.Fingerprint())
		}
	}
}

func TestUserKeyAppend(t *testing.T) {
	k := newTestUserKey(t, "alice@a.example")
	secret, ok := bytes.CutPrefix(k.Append([]byte("before")), []byte("before"))
	if !ok {
		t.Fatal("Append wrote over what was there")
	}
	again, err := ParseUserKey(secret, []byte("of no use"))
	if err != nil {
		t.Fatal(err)
	}
	clear(secret) // is not kept
	if !bytes.Equal(again.Certificate(), k.Certificate()) || !bytes.Equal(again.Append(nil), k.Append(nil)) {
		t.Error("the key has changed")
	}
}

func TestUserKeyExport(t *testing.T) {
	k := newTestUserKey(t, "alice@a.example")
	if _, err := k.Export(nil); err == nil {
		t.Error("exported without a passphrase")
	}
	text, err := k.Export([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n")) || !bytes.HasSuffix(text, []byte("-----END PGP PRIVATE KEY BLOCK-----\n")) {
		t.Errorf("exported as %q…", text[:40])
	}
	for _, wrong := range []string{"", "correct house"} {
		if _, err := ParseUserKey(text, []byte(wrong)); !errors.Is(err, ErrPassphrase) {
			t.Errorf("passphrase %q: error %v", wrong, err)
		}
	}
	again, err := ParseUserKey(text, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Append(nil), k.Append(nil)) || !bytes.Equal(again.Certificate(), k.Certificate()) {
		t.Error("the key has changed on the way")
	}
}

func TestParseUserKeyRefuses(t *testing.T) {
	k := newTestUserKey(t, "alice@a.example")
	armored := func(c *UserKey) []byte {
		text, err := userCertificate(t, c).Armor()
		if err != nil {
			t.Fatal(err)
		}
		return []byte(text)
	}
	text, err := k.Export([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		b          []byte
	}{
		{"nothing", "no OpenPGP key", nil},
		{"some text", "no OpenPGP key", []byte("hello\n")},
		{"too long", "at most", make([]byte, maxUserKeySize+1)},
		{"a certificate", "packet of type 6", k.Certificate()},
		{"an armored certificate", "PUBLIC", armored(k)},
		{"two keys", "more than one", k.Append(k.Append(nil))},
		{"half a key", "truncated", k.secret[:len(k.secret)/2+1]},
		{"half the armor", "user key: ", text[:len(text)/2]},
		{"revoked", "revoked", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			return e.Revoke(packet.KeyCompromised, "", c)
		})},
		{"no encryption subkey", "no encryption subkey", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			e.Subkeys = e.Subkeys[1:]
			return nil
		})},
		{"no signing subkey", "no key that signs", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			e.Subkeys = e.Subkeys[:1]
			return nil
		})},
		{"signing subkey revoked", "no key that signs", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			return e.Subkeys[1].Revoke(packet.KeyRetired, "", c)
		})},
		{"another curve", "neither Curve25519", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP256
			return e.AddEncryptionSubkey(c)
		})},
		{"another algorithm", "key algorithm 19", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP256
			return e.AddSigningSubkey(c)
		})},
		{"RSA", "RSA", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			c.Algorithm = packet.PubKeyAlgoRSA
			return e.AddSigningSubkey(c)
		})},
		{"another version", "version 6", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			v6, err := openpgp.NewEntityWithoutId(&packet.Config{V6Keys: true})
			if err == nil {
				e.Subkeys = append(e.Subkeys, v6.Subkeys...)
			}
			return err
		})},
		{"a long certificate", "8192", changeSecret(t, k, func(e *openpgp.Entity, c *packet.Config) error {
			var err error
			for range 60 {
				err = errors.Join(err, e.AddSigningSubkey(c))
			}
			return err
		})},
	} {
		if _, err := ParseUserKey(tt.b, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that says %q", tt.name, err, tt.want)
		}
	}
}

// The newest key that signs is taken, as long as it has not expired.
func TestUserKeySignsWithNewestSubkey(t *testing.T) {
	k := newTestUserKey(t, "alice@a.example")
	bob := newTestUserKey(t, "bob@b.example")
	year := uint32(365 * 24 * 3600)
	k = changeUserKey(t, k, func(e *openpgp.Entity, c *packet.Config) error {
		c.Time = func() time.Time { return testTime.Add(time.Hour) }
		c.KeyLifetimeSecs = year
		return e.AddSigningSubkey(c)
	})
	signer := func(now time.Time) uint64 {
		t.Helper()
		msg, err := k.Seal(userCertificate(t, bob), []byte("hello"), now)
		if err != nil {
			t.Fatal(err)
		}
		o, err := bob.Open(msg)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.SignedBy(userCertificate(t, k), now); err != nil {
			t.Errorf("at %v: %v", now, err)
		}
		return *o.signature.IssuerKeyId
	}
	if got := signer(testTime.Add(2 * time.Hour)); got != k.signing[0].key.KeyId {
		t.Errorf("signed by %x, want the newest, %x", got, k.signing[0].key.KeyId)
	}
	if got := signer(testTime.Add(366 * 24 * time.Hour)); got != k.signing[1].key.KeyId {
		t.Errorf("signed by %x after the newest expired, want %x", got, k.signing[1].key.KeyId)
	}

	// Where everything has expired nothing is signed.
	k = changeUserKey(t, k, func(e *openpgp.Entity, c *packet.Config) error {
		identity := e.Identities["alice@a.example"]
		self := identity.SelfCertifications[0].Packet
		self.KeyLifetimeSecs = &year
		return self.SignUserId(identity.Name, e.PrimaryKey, e.PrivateKey, c)
	})
	_, err := k.Seal(userCertificate(t, bob), nil, testTime.Add(366*24*time.Hour))
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("error %v", err)
	}
}

// A device with a slow clock does not date a signature before the key was made.
func TestUserKeyWithSlowClock(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	o := mustOpen(t, bob, mustSign(t, alice, bob, "hello", testTime.Add(-time.Minute)))
	if !o.SignedAt.Equal(testTime) {
		t.Errorf("signed at %v, want %v", o.SignedAt, testTime)
	}
}

func TestCertificateIsOf(t *testing.T) {
	addID := func(ids ...string) func(*openpgp.Entity, *packet.Config) error {
		return func(e *openpgp.Entity, c *packet.Config) error {
			clear(e.Identities)
			var err error
			for _, id := range ids {
				err = errors.Join(err, e.AddUserId(id, "", "", c))
			}
			return err
		}
	}
	for _, tt := range []struct {
		ids          []string
		alice, bobby bool
	}{
		{[]string{"alice@a.example"}, true, false},
		{[]string{"ALICE@A.example."}, true, false},
		{[]string{"bob@b.example", "alice@a.example"}, true, true},
		{[]string{"Alice", "alice@a.example"}, true, false},
		{[]string{"Alice"}, true, true},
		{[]string{"Alice alice@a.example"}, true, true},
		{[]string{"carol@c.example", "Alice"}, false, false},
	} {
		entity := readEntity(t, newTestUserKey(t, "old@a.example").secret)
		config := keyConfig(testTime)
		if err := addID(tt.ids...)(entity, config); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := entity.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		c, err := ParseCertificate(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := c.IsOf(aliceAddress); got != tt.alice {
			t.Errorf("%q may be alice's: %v, want %v", tt.ids, got, tt.alice)
		}
		if got := c.IsOf(bobAddress); got != tt.bobby {
			t.Errorf("%q may be bob's: %v, want %v", tt.ids, got, tt.bobby)
		}
	}

	// A user id that the owner of the key has not signed says nothing.
	mallory, alice := newTestUserKey(t, "mallory@m.example"), newTestUserKey(t, "alice@a.example")
	packets := packetsOf(t, alice.Certificate())
	foreign := packetsOf(t, mallory.Certificate())
	// The signature of her own user id, behind mallory's.
	forged := slices.Concat(packets[0], foreign[1], packets[2], bytes.Join(packets[1:], nil))
	c, err := ParseCertificate(forged)
	if err != nil {
		t.Fatal(err)
	}
	if mallory := (tipt.Address{User: "mallory", Node: "m.example"}); c.IsOf(mallory) || !c.IsOf(aliceAddress) {
		t.Error("a user id without a valid self-signature counts")
	}
}

// packetsOf returns the packets of a certificate.
func packetsOf(t *testing.T, b []byte) [][]byte {
	t.Helper()
	var all [][]byte
	for len(b) > 0 {
		p, rest, err := nextPacket(b)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p.raw)
		b = rest
	}
	return all
}

func TestCertificateNames(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	msg := mustSeal(t, userCertificate(t, bob), []byte("hello"))
	for _, tt := range []struct {
		what string
		of   *UserKey
		msg  []byte
		want bool
	}{
		{"the recipient's", bob, msg, true},
		{"another", alice, msg, false},
		{"no message", bob, []byte("hello"), false},
		{"nothing", bob, nil, false},
	} {
		if got := userCertificate(t, tt.of).Names(tt.msg); got != tt.want {
			t.Errorf("%s: %v", tt.what, got)
		}
	}
}
