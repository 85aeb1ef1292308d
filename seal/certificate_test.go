package seal

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	tipt "github.com/tipt/tipt-go"
)

func TestParseCertificate(t *testing.T) {
	k := newTestKey(t)
	b := k.Certificate()
	want := hex.EncodeToString(readEntity(t, b).PrimaryKey.Fingerprint)
	c, err := ParseCertificate(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !bytes.Equal(c.Bytes(), k.Certificate()) {
		t.Error("Bytes is not what was parsed")
	}
	clear(c.Bytes())
	if !bytes.Equal(c.Bytes(), k.Certificate()) {
		t.Error("Bytes hands out its own memory")
	}
	if c.Fingerprint() != want || len(want) != 40 {
		t.Errorf("fingerprint %s, want %s", c.Fingerprint(), want)
	}
}

// newUserCertificate makes the certificate of somebody else's program.
func newUserCertificate(t *testing.T, config packet.Config) []byte {
	t.Helper()
	config.Time = func() time.Time { return testTime }
	e, err := openpgp.NewEntity("Zoë", "", "zoe@example.org", &config)
	if err != nil {
		t.Fatal(err)
	}
	return serialize(t, e)
}

func serialize(t *testing.T, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What SET_KEY takes is wider than what section 5.1 gives nodes.
func TestParseCertificateOfUsers(t *testing.T) {
	for name, config := range map[string]packet.Config{
		"RSA":                    {Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048},
		"P-256":                  {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256},
		"Curve25519":             {Algorithm: packet.PubKeyAlgoEdDSA},
		"RFC 9580":               {Algorithm: packet.PubKeyAlgoEd25519, V6Keys: true, AEADConfig: &packet.AEADConfig{}},
		"RFC 9580, Ed448":        {Algorithm: packet.PubKeyAlgoEd448, V6Keys: true},
		"SHA-512, ZLIB, AES-192": {Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512, DefaultCompressionAlgo: packet.CompressionZLIB, DefaultCipher: packet.CipherAES192},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := ParseCertificate(newUserCertificate(t, config))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Seal([]byte("hello"), testTime); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	k := newTestKey(t)
	good := k.Certificate()
	filled := func(n int) []byte {
		return slices.Concat(good, makePacket(typePadding, make([]byte, n-len(good)-6)))
	}
	if _, err := ParseCertificate(filled(tipt.MaxKeySize)); err != nil {
		t.Errorf("certificate of the greatest size: %v", err)
	}
	primary, rest, err := nextPacket(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		b          []byte
	}{
		{"nothing", "not an OpenPGP packet", nil},
		{"too long", "8193 bytes", filled(tipt.MaxKeySize + 1)},
		{"too long to be read", "1000000 bytes", make([]byte, 1_000_000)},
		{"armor", "not an OpenPGP packet", []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")},
		{"secret key", "starts with a packet of type 5", k.Append(nil)},
		{"secret subkey", "secret key packet", slices.Concat(good, makePacket(typeSecretSubkey, []byte{4}))},
		{"secret primary key behind", "secret key packet", slices.Concat(good, k.Append(nil))},
		{"two certificates", "more than one key", slices.Concat(good, newTestKey(t).Certificate())},
		{"the same twice", "more than one key", slices.Concat(good, good)},
		{"a subkey first", "starts with a packet of type 14", slices.Concat(makePacket(typePublicSubkey, primary.head), rest)},
		{"primary key alone", "without any identities", primary.raw},
		{"message", "starts with a packet of type 1", mustSeal(t, certificateOf(t, k), nil)},
		{"literal behind", "packet of type 11", slices.Concat(good, makeLiteral("x"))},
		{"compressed behind", "compressed packet", slices.Concat(good, makePacket(typeCompressed, []byte{0}))},
		{"bytes behind", "not an OpenPGP packet", slices.Concat(good, []byte("x"))},
		{"packet in pieces", "packet in pieces", slices.Concat(good, []byte{0xc0 | typeUserID, 0xe9}, make([]byte, 512), []byte{0})},
		{"truncated", "truncated", good[:len(good)-1]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseCertificate(tt.b)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got error %v, want one that says %q", err, tt.text)
			}
		})
	}
}

func TestSealRefusesCertificate(t *testing.T) {
	const day = 24 * time.Hour
	secret := newTestKey(t).secret
	config := &packet.Config{Time: func() time.Time { return testTime }}
	for _, tt := range []struct {
		name, text string
		at         time.Time
		change     func(*openpgp.Entity) error
	}{
		{"made an hour from now", "no valid self signature", testTime.Add(-time.Hour), func(*openpgp.Entity) error { return nil }},
		{"revoked", "revoked", testTime, func(e *openpgp.Entity) error {
			return e.Revoke(packet.KeySuperseded, "", config)
		}},
		{"expired", "expired", testTime.Add(day), func(e *openpgp.Entity) error {
			identity := e.Identities["node.example"]
			self := identity.SelfCertifications[0].Packet
			lifetime := uint32(3600)
			self.KeyLifetimeSecs = &lifetime
			return self.SignUserId(identity.Name, e.PrimaryKey, e.PrivateKey, config)
		}},
		{"subkey revoked", "no valid encryption subkey", testTime, func(e *openpgp.Entity) error {
			return e.Subkeys[0].Revoke(packet.KeySuperseded, "", config)
		}},
		{"subkey expired", "no valid encryption subkey", testTime.Add(day), func(e *openpgp.Entity) error {
			binding := e.Subkeys[0].Bindings[0].Packet
			lifetime := uint32(3600)
			binding.KeyLifetimeSecs = &lifetime
			return binding.SignKey(e.Subkeys[0].PublicKey, e.PrivateKey, config)
		}},
		{"no encryption subkey", "no valid encryption subkey", testTime, func(e *openpgp.Entity) error {
			e.Subkeys = e.Subkeys[1:]
			return nil
		}},
		{"subkey for signing", "no valid encryption subkey", testTime, func(e *openpgp.Entity) error {
			binding := e.Subkeys[0].Bindings[0].Packet
			binding.FlagEncryptCommunications, binding.FlagEncryptStorage, binding.FlagAuthenticate = false, false, true
			return binding.SignKey(e.Subkeys[0].PublicKey, e.PrivateKey, config)
		}},
		{"subkey of another", "no valid encryption subkey", testTime, func(e *openpgp.Entity) error {
			e.Subkeys[0] = readEntity(t, newTestKey(t).secret).Subkeys[0]
			return nil
		}},
		{"forged self-signature", "no valid self signature", testTime, func(e *openpgp.Entity) error {
			e.Identities["node.example"].SelfCertifications[0].Packet.HashSuffix[8] ^= 1 // its creation time
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := readEntity(t, secret)
			if err := tt.change(e); err != nil {
				t.Fatal(err)
			}
			c, err := ParseCertificate(serialize(t, e))
			if err != nil {
				t.Fatal(err)
			}
			msg, err := c.Seal([]byte("hello"), tt.at)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got error %v, want one that says %q", err, tt.text)
			}
			if msg != nil {
				t.Error("got a message along with the error")
			}
		})
	}
}

// A clock behind that of the node that has just made its key is no hindrance.
func TestSealWithSlowClock(t *testing.T) {
	c := certificateOf(t, newTestKey(t))
	if _, err := c.Seal([]byte("hello"), testTime.Add(-clockSkew)); err != nil {
		t.Error(err)
	}
}

// The modulus of such keys may be as long as a certificate, and a certificate
// full of signatures would take seconds to verify.
func TestSealRefusesSlowKeys(t *testing.T) {
	for _, bits := range []uint{1024, 8193, 60_000} {
		c := certificateOf(t, newTestKey(t))
		modulus := new(big.Int).Lsh(big.NewInt(1), bits-1)
		rsa := slices.Concat([]byte{4, 0, 0, 0, 0, byte(packet.PubKeyAlgoRSA), byte(bits >> 8), byte(bits)}, modulus.Bytes(), []byte{0, 17, 1, 0, 1})
		p, err := packet.Read(bytes.NewReader(makePacket(typePublicKey, rsa)))
		if err != nil {
			t.Fatal(err)
		}
		c.entity.PrimaryKey = p.(*packet.PublicKey)
		if _, err := c.Seal(nil, testTime); err == nil || !strings.Contains(err.Error(), "RSA key of") {
			t.Errorf("%d bits: error %v", bits, err)
		}
	}
	c := certificateOf(t, newTestKey(t))
	c.entity.PrimaryKey.PubKeyAlgo = packet.PubKeyAlgoDSA
	if _, err := c.Seal(nil, testTime); err == nil || errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), "key algorithm 17") {
		t.Errorf("DSA: error %v", err)
	}
}
