package seal

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"github.com/google/go-cmp/cmp"

	tipt "github.com/tipt/tipt-go"
)

// Section 5.1, sentence by sentence.
func TestNewNodeKey(t *testing.T) {
	k, err := NewNodeKey("xn--bcher-kva.example", testTime.Add(123*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(k.Certificate()); n > tipt.MaxKeySize {
		t.Errorf("certificate of %d bytes", n)
	}
	e := readEntity(t, k.Certificate())
	if e.PrivateKey != nil {
		t.Error("certificate has a secret primary key")
	}

	type key struct {
		Version                                                 int
		Algorithm                                               packet.PublicKeyAlgorithm
		Curve                                                   packet.Curve
		Created                                                 time.Time
		Certify, Sign, EncryptCommunications, EncryptStorage    bool
		Authenticate, Split, Group, CrossCertified, EverExpires bool
	}
	describe := func(pub *packet.PublicKey, sig *packet.Signature) key {
		curve, err := pub.Curve()
		if err != nil {
			t.Fatal(err)
		}
		if !sig.FlagsValid {
			t.Error("no key flags")
		}
		return key{
			pub.Version, pub.PubKeyAlgo, curve, pub.CreationTime.UTC(),
			sig.FlagCertify, sig.FlagSign, sig.FlagEncryptCommunications, sig.FlagEncryptStorage,
			sig.FlagAuthenticate, sig.FlagSplitKey, sig.FlagGroupKey, sig.EmbeddedSignature != nil,
			sig.KeyLifetimeSecs != nil || sig.SigLifetimeSecs != nil,
		}
	}
	self, err := e.VerifyPrimaryKey(testTime, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []key{describe(e.PrimaryKey, self)}
	for _, subkey := range e.Subkeys {
		binding, err := subkey.Verify(testTime, nil)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, describe(subkey.PublicKey, binding))
	}
	want := []key{
		{Version: 4, Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519, Created: testTime, Certify: true},
		{Version: 4, Algorithm: packet.PubKeyAlgoECDH, Curve: packet.Curve25519, Created: testTime, EncryptCommunications: true, EncryptStorage: true},
		{Version: 4, Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519, Created: testTime, Sign: true, CrossCertified: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}

	var names []string
	for name, identity := range e.Identities {
		names = append(names, name)
		if n := len(identity.SelfCertifications); n != 1 {
			t.Errorf("%d self-signatures", n)
		}
	}
	if diff := cmp.Diff([]string{"xn--bcher-kva.example"}, names); diff != "" {
		t.Errorf("user ids (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint8{uint8(packet.CompressionNone)}, self.PreferredCompression); diff != "" {
		t.Errorf("preferred compression (-want +got):\n%s", diff)
	}
	if !self.SEIPDv1 || !self.SEIPDv2 {
		t.Errorf("features: SEIPD 1 %v, 2 %v", self.SEIPDv1, self.SEIPDv2)
	}
	if first, want := self.PreferredCipherSuites[0], [2]uint8{uint8(packet.CipherAES256), uint8(packet.AEADModeGCM)}; first != want {
		t.Errorf("first cipher suite %v, want %v", first, want)
	}
	if !slices.Contains(self.PreferredCipherSuites, [2]uint8{uint8(packet.CipherAES128), uint8(packet.AEADModeOCB)}) {
		t.Error("the mandatory cipher suite is not among the preferred ones")
	}
}

func TestNewNodeKeyRefusesBadName(t *testing.T) {
	if _, err := NewNodeKey("a <b>", testTime); err == nil {
		t.Error("no error")
	}
}

func TestNodeKeyAppend(t *testing.T) {
	k := newTestKey(t)
	msg := mustSeal(t, certificateOf(t, k), []byte("hello"))
	file := k.Append([]byte("before"))
	secret, ok := bytes.CutPrefix(file, []byte("before"))
	if !ok {
		t.Fatalf("Append wrote over what was there: %q", file[:6])
	}
	again, err := ParseNodeKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Certificate(), k.Certificate()) {
		t.Error("certificate changed")
	}
	if !bytes.Equal(again.Append(nil), secret) {
		t.Error("secret changed")
	}
	want := bytes.Clone(secret)
	clear(secret)
	if !bytes.Equal(again.Append(nil), want) {
		t.Error("the key keeps the memory that it was read from")
	}
	if got, err := again.Open(msg, testTime); err != nil || string(got) != "hello" {
		t.Errorf("the key read again opens to %q, %v", got, err)
	}
}

func TestParseNodeKeyRefuses(t *testing.T) {
	k := newTestKey(t)
	secret := k.Append(nil)
	change := func(f func(*openpgp.Entity) error) []byte {
		e := readEntity(t, secret)
		if err := f(e); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := e.SerializePrivateWithoutSigning(&b, nil); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	damaged := bytes.Clone(secret)
	damaged[60] ^= 1 // in the primary key's secret
	forged := bytes.Clone(secret)
	rest := forged
	for range 3 { // the primary key, its user id, the signature
		p, after, err := nextPacket(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = after
		if p.kind == typeSignature {
			p.head[len(p.head)-1] ^= 1
		}
	}
	for _, tt := range []struct {
		name, text string
		b          []byte
	}{
		{"nothing", "not an OpenPGP packet", nil},
		{"armor", "not an OpenPGP packet", []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n")},
		{"certificate", "starts with a packet of type 6", k.Certificate()},
		{"two keys", "more than one key", slices.Concat(secret, secret)},
		{"something behind", "packet of type 11", slices.Concat(secret, makeLiteral("x"))},
		{"bytes behind", "not an OpenPGP packet", slices.Concat(secret, []byte{0})},
		{"truncated", "truncated", secret[:len(secret)-1]},
		{"damaged", "checksum", damaged},
		{"password", "under a password", change(func(e *openpgp.Entity) error {
			return e.EncryptPrivateKeys([]byte("password"), nil)
		})},
		{"no encryption subkey", "no encryption subkey", change(func(e *openpgp.Entity) error {
			e.Subkeys = e.Subkeys[1:]
			return nil
		})},
		{"subkey of another key", "no valid binding", change(func(e *openpgp.Entity) error {
			e.Subkeys[0] = readEntity(t, newTestKey(t).secret).Subkeys[0]
			return nil
		})},
		{"subkey of another kind", "neither Curve25519 nor ML-KEM", change(func(e *openpgp.Entity) error {
			return e.AddEncryptionSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoECDH, Curve: packet.CurveNistP256})
		})},
		{"certificate too long", "certificate of ", change(func(e *openpgp.Entity) error {
			for range 6 {
				if err := e.AddEncryptionSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoMlkem768X25519}); err != nil {
					return err
				}
			}
			return nil
		})},
		{"bad self-signature", "no primary identity", forged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseNodeKey(tt.b)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got error %v, want one that says %q", err, tt.text)
			}
		})
	}
}
