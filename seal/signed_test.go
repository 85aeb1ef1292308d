package seal

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	tipt "github.com/tipt/tipt-go"
)

func mustSign(t testing.TB, from, to *UserKey, text string, now time.Time) []byte {
	t.Helper()
	msg, err := from.Seal(userCertificate(t, to), []byte(text), now)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func mustOpen(t testing.TB, k *UserKey, msg []byte) *Opened {
	t.Helper()
	o, err := k.Open(msg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestSignedMessage(t *testing.T) {
	alice, bob, carol := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example"), newTestUserKey(t, "carol@c.example")
	for _, size := range []int{0, 1, 300, chunkSize - 28, chunkSize, 70_000, 1_000_000} {
		text := string(bytes.Repeat([]byte("x"), size))
		msg := mustSign(t, alice, bob, text, testTime)
		o := mustOpen(t, bob, msg)
		if string(o.Plaintext) != text || !o.SignedAt.Equal(testTime) {
			t.Errorf("%d bytes: opened to %d, signed at %v", size, len(o.Plaintext), o.SignedAt)
		}
		if err := o.SignedBy(userCertificate(t, alice), testTime); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err := o.SignedBy(userCertificate(t, alice), testTime); err != nil {
			t.Errorf("%d bytes, asked again: %v", size, err)
		}
		for _, c := range []*Certificate{userCertificate(t, carol), userCertificate(t, bob), nil} {
			if err := o.SignedBy(c, testTime); !errors.Is(err, ErrNoSigningKey) {
				t.Errorf("%d bytes: signed by somebody else: %v", size, err)
			}
		}
		if _, err := carol.Open(msg); !errors.Is(err, ErrCannotOpen) {
			t.Errorf("%d bytes: opened by another: %v", size, err)
		}
	}
}

func TestUnsignedMessage(t *testing.T) {
	bob := newTestUserKey(t, "bob@b.example")
	o := mustOpen(t, bob, mustSeal(t, userCertificate(t, bob), []byte("hello")))
	if string(o.Plaintext) != "hello" || !o.SignedAt.IsZero() {
		t.Errorf("opened to %q, signed at %v", o.Plaintext, o.SignedAt)
	}
	for _, c := range []*Certificate{nil, userCertificate(t, bob)} {
		if err := o.SignedBy(c, testTime); !errors.Is(err, ErrUnsigned) {
			t.Errorf("error %v", err)
		}
	}
}

func TestUserKeyOpensWithExpiredSubkeys(t *testing.T) {
	bob := newTestUserKey(t, "bob@b.example")
	msg := mustSeal(t, userCertificate(t, bob), []byte("hello"))
	second := uint32(1)
	for name, change := range map[string]func(*openpgp.Entity, *packet.Config) error{
		"expired": func(e *openpgp.Entity, c *packet.Config) error {
			binding := e.Subkeys[0].Bindings[0].Packet
			binding.KeyLifetimeSecs = &second
			return binding.SignKey(e.Subkeys[0].PublicKey, e.PrivateKey, c)
		},
		"revoked": func(e *openpgp.Entity, c *packet.Config) error {
			return e.Subkeys[0].Revoke(packet.KeySuperseded, "", c)
		},
	} {
		changed := changeUserKey(t, bob, change)
		if o := mustOpen(t, changed, msg); string(o.Plaintext) != "hello" {
			t.Errorf("%s: opened to %q", name, o.Plaintext)
		}
		later := testTime.Add(time.Hour)
		if _, err := userCertificate(t, changed).Seal(nil, later); !errors.Is(err, ErrCannotSeal) {
			t.Errorf("%s: sealed to it: %v", name, err)
		}
		if _, err := bob.Seal(userCertificate(t, changed), nil, later); !errors.Is(err, ErrCannotSeal) {
			t.Errorf("%s: signed and sealed to it: %v", name, err)
		}
	}
}

// signedPackets are those inside a message of alice's, which the test may put together otherwise.
type signedPackets struct{ onePass, literal, signature []byte }

func signedBy(t testing.TB, k *UserKey, to *UserKey, text string, change func(*packet.Signature)) signedPackets {
	t.Helper()
	key := k.signing[0].key
	sig := &packet.Signature{
		SigType:            packet.SigTypeBinary,
		PubKeyAlgo:         key.PubKeyAlgo,
		Hash:               crypto.SHA256,
		CreationTime:       testTime,
		IssuerKeyId:        &key.KeyId,
		IntendedRecipients: []*packet.Recipient{{KeyVersion: 4, Fingerprint: to.primary.Fingerprint}},
	}
	if change != nil {
		change(sig)
	}
	hash := sig.Hash.New()
	hash.Write([]byte(text))
	random := false // which the library cannot add to what is signed by SHA-1
	if err := sig.Sign(hash, key, &packet.Config{NonDeterministicSignaturesViaNotation: &random}); err != nil {
		t.Fatal(err)
	}
	var s, o bytes.Buffer
	if err := sig.Serialize(&s); err != nil {
		t.Fatal(err)
	}
	onePass := packet.OnePassSignature{Version: 3, SigType: sig.SigType, Hash: sig.Hash, PubKeyAlgo: sig.PubKeyAlgo, KeyId: key.KeyId, IsLast: true}
	if err := onePass.Serialize(&o); err != nil {
		t.Fatal(err)
	}
	return signedPackets{o.Bytes(), makeLiteral(text), s.Bytes()}
}

// sealPackets makes a message to bob of packets.
func sealPackets(t testing.TB, to *UserKey, packets ...[]byte) []byte {
	t.Helper()
	var wrapped bytes.Buffer
	if err := packet.SerializeEncryptedKeyAEAD(&wrapped, &to.decryption[0].key.PublicKey, packet.CipherAES256, true, testSessionKey, nil); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(wrapped.Bytes(), makeEncrypted(t, 2, testSessionKey, slices.Concat(packets...)))
}

// What is around the literal packet is a signature of one form or the message is refused.
func TestSignedForm(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	p := signedBy(t, alice, bob, "hello", nil)
	q := signedBy(t, alice, bob, "other", nil)
	long := make([]byte, 512)
	marker, padding := makePacket(typeMarker, []byte("PGP")), makePacket(typePadding, []byte{1, 2, 3})
	for _, tt := range []struct {
		name    string
		packets [][]byte
		refused string // "": it counts as signed
	}{
		{"as it should be", [][]byte{p.onePass, p.literal, p.signature}, ""},
		{"with padding everywhere", [][]byte{padding, p.onePass, marker, p.literal, padding, p.signature, padding}, ""},
		{"in a packet that pads", [][]byte{makePadded(9, string(slices.Concat(p.onePass, p.literal, p.signature)))}, ""},
		{"no one-pass packet", [][]byte{p.literal, p.signature}, "signature packet"},
		{"the signature before", [][]byte{p.signature, p.literal}, "signature packet"},
		{"no signature", [][]byte{p.onePass, p.literal}, "without a signature"},
		{"no literal packet", [][]byte{p.onePass, p.signature}, "signature packet"},
		{"nothing but a one-pass packet", [][]byte{p.onePass}, "no literal packet"},
		{"two one-pass packets", [][]byte{p.onePass, p.onePass, p.literal, p.signature, p.signature}, "signature packet"},
		{"two signatures", [][]byte{p.onePass, p.literal, p.signature, p.signature}, "signature packet"},
		{"two literal packets", [][]byte{p.onePass, p.literal, q.literal, p.signature}, "second literal"},
		{"one behind", [][]byte{p.onePass, p.literal, p.signature, q.literal}, "second literal"},
		{"one before", [][]byte{q.literal, p.onePass, p.literal, p.signature}, "signature packet"},
		{"two messages", [][]byte{p.onePass, p.literal, p.signature, q.onePass, q.literal, q.signature}, "signature packet"},
		{"the literal packet padded", [][]byte{p.onePass, makePadded(9, string(p.literal)), p.signature}, "compressed"},
		{"padded twice", [][]byte{makePadded(9, string(makePadded(9, string(slices.Concat(p.onePass, p.literal, p.signature)))))}, "compressed"},
		{"compressed", [][]byte{makePacket(typeCompressed, []byte{0}, p.onePass, p.literal, p.signature)}, "compressed"},
		{"a signature in pieces", [][]byte{p.onePass, p.literal, slices.Concat([]byte{0xc0 | typeSignature, 0xe9}, long, []byte{0})}, "in pieces"},
		{"encrypted again", [][]byte{mustSeal(t, userCertificate(t, bob), []byte("hello"))}, "packet of type 1"},
	} {
		o, err := bob.Open(sealPackets(t, bob, tt.packets...))
		if tt.refused != "" {
			if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("%s: error %v, want one that says %q", tt.name, err, tt.refused)
			}
			continue
		}
		if err == nil {
			err = o.SignedBy(userCertificate(t, alice), testTime)
		}
		if err != nil || string(o.Plaintext) != "hello" {
			t.Errorf("%s: opened to %q, %v", tt.name, o.Plaintext, err)
		}
	}

	// A node takes none of it.
	node := newTestKey(t)
	msg := slices.Concat(makeSessionKey(t, node, 6, testSessionKey, false), makeEncrypted(t, 2, testSessionKey, slices.Concat(p.onePass, p.literal, p.signature)))
	if _, err := node.Open(msg, testTime); !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), "signature packet") {
		t.Errorf("a node opened a signed message: %v", err)
	}
}

// Signatures that are there and do not count, whoever's certificate is kept.
func TestSignatureDoesNotCount(t *testing.T) {
	alice, bob, carol := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example"), newTestUserKey(t, "carol@c.example")
	hour := uint32(3600)
	fingerprintOf := func(k *UserKey) *packet.Recipient {
		return &packet.Recipient{KeyVersion: 4, Fingerprint: k.primary.Fingerprint}
	}
	good := signedBy(t, alice, bob, "hello", nil)
	flipped := slices.Clone(good.signature)
	flipped[len(flipped)-3] ^= 1
	for _, tt := range []struct {
		name   string
		change func(*packet.Signature)
		sig    []byte
		at     time.Duration // when it is judged
		want   string        // "": it counts
	}{
		{"as it should be", nil, nil, 0, ""},
		{"for two", func(s *packet.Signature) {
			s.IntendedRecipients = append([]*packet.Recipient{fingerprintOf(carol)}, s.IntendedRecipients...)
		}, nil, 0, ""},
		{"for another", func(s *packet.Signature) { s.IntendedRecipients = []*packet.Recipient{fingerprintOf(carol)} }, nil, 0, "another recipient"},
		{"for its signer", func(s *packet.Signature) { s.IntendedRecipients = []*packet.Recipient{fingerprintOf(alice)} }, nil, 0, "another recipient"},
		{"for a subkey", func(s *packet.Signature) { s.IntendedRecipients[0].Fingerprint = bob.decryption[0].key.Fingerprint }, nil, 0, "another recipient"},
		{"for a key of version 6", func(s *packet.Signature) {
			s.IntendedRecipients[0] = &packet.Recipient{KeyVersion: 6, Fingerprint: append(slices.Clone(bob.primary.Fingerprint), make([]byte, 12)...)}
		}, nil, 0, "another recipient"},
		{"for nobody", func(s *packet.Signature) { s.IntendedRecipients = nil }, nil, 0, "another recipient"},
		{"of a text", func(s *packet.Signature) { s.SigType = packet.SigTypeText }, nil, 0, "type 0x01"},
		{"of nothing", func(s *packet.Signature) { s.SigType = 0x02 }, nil, 0, "type 0x02"},
		{"of a key", func(s *packet.Signature) { s.SigType = packet.SigTypeDirectSignature }, nil, 0, "type 0x1f"},
		{"by SHA-1", func(s *packet.Signature) { s.Hash = crypto.SHA1 }, nil, 0, "SHA-1"},
		{"with a critical notation", func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "unheard@of.example", IsCritical: true}}
		}, nil, 0, "critical notation"},
		{"with a notation", func(s *packet.Signature) { s.Notations = []*packet.Notation{{Name: "unheard@of.example"}} }, nil, 0, ""},
		{"from the future", func(s *packet.Signature) { s.CreationTime = testTime.Add(maxAhead + time.Second) }, nil, 0, "from the future"},
		{"from the near future", func(s *packet.Signature) { s.CreationTime = testTime.Add(maxAhead) }, nil, 0, ""},
		{"that has expired", func(s *packet.Signature) { s.SigLifetimeSecs = &hour }, nil, 2 * time.Hour, "expired"},
		{"that has not expired", func(s *packet.Signature) { s.SigLifetimeSecs = &hour }, nil, time.Minute, ""},
		{"older than the key", func(s *packet.Signature) { s.CreationTime = testTime.Add(-2 * time.Hour) }, nil, 0, ""}, // who can sign can date it anyhow
		{"with a wrong byte", nil, flipped, 0, "signature"},
		{"of something else", nil, signedBy(t, alice, bob, "other", nil).signature, 0, "signature"},
		{"of garbage", nil, makePacket(typeSignature, []byte("garbage")), 0, "signature"},
		{"of nothing at all", nil, makePacket(typeSignature), 0, "signature"},
		{"of a version that nobody knows", nil, makePacket(typeSignature, append([]byte{9}, flipped[3:]...)), 0, "signature"},
		{"far too long", nil, makePacket(typeSignature, make([]byte, maxSignatureSize)), 0, "bytes"},
	} {
		p := signedBy(t, alice, bob, "hello", tt.change)
		if tt.sig != nil {
			p.signature = tt.sig
		}
		o := mustOpen(t, bob, sealPackets(t, bob, p.onePass, p.literal, p.signature))
		if string(o.Plaintext) != "hello" {
			t.Errorf("%s: opened to %q", tt.name, o.Plaintext)
		}
		err := o.SignedBy(userCertificate(t, alice), testTime.Add(tt.at))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("signature %s: %v, want %q", tt.name, err, tt.want)
		}
		if errors.Is(err, ErrUnsigned) {
			t.Errorf("signature %s: taken for none", tt.name)
		}
	}
}

// Whom a signature is for is said by what it covers. Beside that anybody can write.
func TestIntendedRecipientThatIsNotSigned(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	p := signedBy(t, alice, bob, "hello", func(s *packet.Signature) { s.IntendedRecipients = nil })
	raw, _, err := nextPacket(p.signature)
	if err != nil {
		t.Fatal(err)
	}
	// A signature of version 4: four bytes, the part that is signed, the part that is not.
	at := 6 + int(binary.BigEndian.Uint16(raw.head[4:]))
	subpacket := append([]byte{1 + 1 + 20, 35, 4}, bob.primary.Fingerprint...)
	body := slices.Concat(raw.head[:at], binary.BigEndian.AppendUint16(nil, binary.BigEndian.Uint16(raw.head[at:])+uint16(len(subpacket))), subpacket, raw.head[at+2:])
	o := mustOpen(t, bob, sealPackets(t, bob, p.onePass, p.literal, makePacket(typeSignature, body)))
	if err := countsFor(o).SignedBy(userCertificate(t, alice), testTime); err != nil {
		t.Errorf("the signature itself: %v", err)
	}
	if err := o.SignedBy(userCertificate(t, alice), testTime); err == nil || !strings.Contains(err.Error(), "nobody in particular") {
		t.Errorf("signed: %v", err)
	}
}

// countsFor returns what was opened without the want of an intended recipient.
func countsFor(o *Opened) *Opened {
	signature := *o
	signature.against = nil
	return &signature
}

// A message that is put into an envelope of somebody else's is not by him, nor for another.
func TestSignedMessageForwarded(t *testing.T) {
	alice, bob, carol := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example"), newTestUserKey(t, "carol@c.example")
	p := signedBy(t, alice, bob, "I quit", nil)
	// bob has it and seals it for carol.
	o := mustOpen(t, carol, sealPackets(t, carol, p.onePass, p.literal, p.signature))
	if err := o.SignedBy(userCertificate(t, alice), testTime); err == nil {
		t.Error("what alice signed for bob counts as signed for carol")
	}
	// Somebody on the way says that it is carol's.
	o = mustOpen(t, bob, sealPackets(t, bob, p.onePass, p.literal, p.signature))
	if err := o.SignedBy(userCertificate(t, carol), testTime); err == nil {
		t.Error("what alice signed counts as signed by carol")
	}
	if c := userCertificate(t, alice); c.IsOf(tipt.Address{User: "carol", Node: "c.example"}) {
		t.Error("alice's certificate can be had for carol's")
	}
}

// Which keys of the kept certificate make signatures that count, and when.
func TestSigningKeyOfCertificate(t *testing.T) {
	const day = 24 * time.Hour
	bob := newTestUserKey(t, "bob@b.example")
	week := uint32(7 * day / time.Second)
	subkeyExpires := func(e *openpgp.Entity, c *packet.Config) error {
		binding := e.Subkeys[1].Bindings[0].Packet
		binding.KeyLifetimeSecs = &week
		return errors.Join(binding.EmbeddedSignature.CrossSignKey(e.Subkeys[1].PublicKey, e.PrimaryKey, e.Subkeys[1].PrivateKey, c), binding.SignKey(e.Subkeys[1].PublicKey, e.PrivateKey, c))
	}
	primaryExpires := func(e *openpgp.Entity, c *packet.Config) error {
		identity := e.Identities["alice@a.example"]
		self := identity.SelfCertifications[0].Packet
		self.KeyLifetimeSecs = &week
		return self.SignUserId(identity.Name, e.PrimaryKey, e.PrivateKey, c)
	}
	revoke := func(reason packet.ReasonForRevocation) func(*openpgp.Entity, *packet.Config) error {
		return func(e *openpgp.Entity, c *packet.Config) error {
			c.Time = func() time.Time { return testTime.Add(7 * day) }
			return e.Subkeys[1].Revoke(reason, "", c)
		}
	}
	resigned := func(e *openpgp.Entity, c *packet.Config) error {
		c.Time = func() time.Time { return testTime.Add(7 * day) }
		identity := e.Identities["alice@a.example"]
		self, binding := identity.SelfCertifications[0].Packet, e.Subkeys[1].Bindings[0].Packet
		self.CreationTime, binding.CreationTime = c.Now(), c.Now()
		return errors.Join(self.SignUserId(identity.Name, e.PrimaryKey, e.PrivateKey, c), binding.SignKey(e.Subkeys[1].PublicKey, e.PrivateKey, c))
	}
	notForSigning := func(e *openpgp.Entity, c *packet.Config) error {
		binding := e.Subkeys[1].Bindings[0].Packet
		binding.FlagSign, binding.FlagAuthenticate, binding.EmbeddedSignature = false, true, nil
		return binding.SignKey(e.Subkeys[1].PublicKey, e.PrivateKey, c)
	}
	withoutCross := func(e *openpgp.Entity, c *packet.Config) error {
		binding := e.Subkeys[1].Bindings[0].Packet
		binding.EmbeddedSignature = nil
		return binding.SignKey(e.Subkeys[1].PublicKey, e.PrivateKey, c)
	}
	withoutSubkey := func(e *openpgp.Entity, c *packet.Config) error {
		e.Subkeys = e.Subkeys[:1]
		return nil
	}
	for _, tt := range []struct {
		name      string
		change    func(*openpgp.Entity, *packet.Config) error // of the certificate that is kept
		signed    time.Duration
		judged    time.Duration
		want      string
		lacksAKey bool
	}{
		{"subkey expires", subkeyExpires, day, day, "", false},
		{"subkey has expired since", subkeyExpires, day, 9 * day, "", false},
		{"subkey had expired", subkeyExpires, 8 * day, 9 * day, "not valid", false},
		{"certificate expires", primaryExpires, day, day, "", false},
		{"certificate has expired since", primaryExpires, day, 9 * day, "", false},
		{"certificate had expired", primaryExpires, 8 * day, 9 * day, "not valid", false},
		{"subkey was replaced since", revoke(packet.KeySuperseded), day, 9 * day, "", false},
		{"subkey had been replaced", revoke(packet.KeySuperseded), 8 * day, 9 * day, "not valid", false},
		{"subkey was stolen", revoke(packet.KeyCompromised), day, 9 * day, "not valid", false},
		{"subkey was revoked without a word", revoke(packet.NoReason), day, 9 * day, "not valid", false},
		{"certificate was signed anew since", resigned, day, 9 * day, "", false},
		{"subkey does not sign", notForSigning, day, day, "not for signing", false},
		{"subkey is not cross-certified", withoutCross, day, day, "not valid", false},
		{"subkey is not there", withoutSubkey, day, day, "no such subkey", true},
	} {
		alice := newTestUserKey(t, "alice@a.example")
		var kept bytes.Buffer
		if err := readEntity(t, changeSecret(t, alice, tt.change)).Serialize(&kept); err != nil {
			t.Fatal(err)
		}
		c, err := ParseCertificate(kept.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		o := mustOpen(t, bob, mustSign(t, alice, bob, "hello", testTime.Add(tt.signed)))
		err = o.SignedBy(c, testTime.Add(tt.judged))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if errors.Is(err, ErrNoSigningKey) != tt.lacksAKey {
			t.Errorf("%s: %v: the certificate lacks the key: %v", tt.name, err, !tt.lacksAKey)
		}
	}
}

// GnuPG's primary keys sign messages themselves.
func TestSignedByPrimaryKey(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	signing := changeUserKey(t, alice, func(e *openpgp.Entity, c *packet.Config) error {
		e.Subkeys = e.Subkeys[:1]
		identity := e.Identities["alice@a.example"]
		self := identity.SelfCertifications[0].Packet
		self.FlagSign = true
		return self.SignUserId(identity.Name, e.PrimaryKey, e.PrivateKey, c)
	})
	o := mustOpen(t, bob, mustSign(t, signing, bob, "hello", testTime))
	if err := o.SignedBy(userCertificate(t, signing), testTime); err != nil {
		t.Error(err)
	}
	if err := o.SignedBy(userCertificate(t, alice), testTime); err == nil || !strings.Contains(err.Error(), "not for signing") {
		t.Errorf("by a primary key that only certifies: %v", err)
	}
}

// Every byte of a message is covered by its integrity check.
func TestSignedMessageIsNotMalleable(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	msg := mustSign(t, alice, bob, "hello", testTime)
	for i := range msg {
		changed := slices.Clone(msg)
		changed[i] ^= 1
		if o, err := bob.Open(changed); err == nil {
			t.Errorf("byte %d changed: opened to %q", i, o.Plaintext)
		}
		if _, err := bob.Open(msg[:i]); err == nil {
			t.Errorf("opened the first %d bytes", i)
		}
	}
}

func TestUserKeysAtOnce(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	a, b := userCertificate(t, alice), userCertificate(t, bob)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			text := fmt.Sprint(i)
			msg, err := alice.Seal(b, []byte(text), testTime)
			if err != nil {
				t.Error(err)
				return
			}
			o, err := bob.Open(msg)
			if err != nil {
				t.Error(err)
				return
			}
			if err := o.SignedBy(a, testTime); err != nil || string(o.Plaintext) != text || !a.IsOf(aliceAddress) {
				t.Errorf("opened to %q, %v", o.Plaintext, err)
			}
		})
	}
	wg.Wait()
}

// A text of [tipt.MaxSealedTextSize] bytes fits, whatever the recipient's certificate asks for.
func TestMaxSealedTextSize(t *testing.T) {
	alice, bob := newTestUserKey(t, "alice@a.example"), newTestUserKey(t, "bob@b.example")
	long := strings.Repeat("x", tipt.MaxSealedTextSize)
	text := tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: long, Time: testTime}}.Append(nil)
	for name, change := range map[string]func(*openpgp.Entity, *packet.Config) error{
		"version 2": func(*openpgp.Entity, *packet.Config) error { return nil },
		"version 1": takeAEAD,
		"ML-KEM": func(e *openpgp.Entity, c *packet.Config) error {
			c.Algorithm = packet.PubKeyAlgoMlkem768X25519
			return e.AddEncryptionSubkey(c)
		},
	} {
		k := changeUserKey(t, bob, change)
		sealed := mustSign(t, alice, k, string(text), testTime)
		body := tipt.Content{Type: tipt.ContentSealed, Sealed: sealed}.Append(nil)
		// A recipient's RSA key, and a signature by one, take less than 2,100 bytes more than these.
		if len(body)+2_100 > tipt.MaxMessageSize {
			t.Errorf("%s: %d bytes", name, len(body))
		}
		if o := mustOpen(t, k, sealed); !bytes.Equal(o.Plaintext, text) {
			t.Errorf("%s: opened to %d bytes", name, len(o.Plaintext))
		}
	}
}
