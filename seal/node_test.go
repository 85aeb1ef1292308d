package seal

import (
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func TestCheckNode(t *testing.T) {
	key := newTestKey(t)
	rotated, err := key.Rotate(testTime.Add(24 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	// changed is the key's certificate after a change of its self-signature or its subkeys.
	changed := func(change func(e *openpgp.Entity, self *packet.Signature)) []byte {
		entity := readEntity(t, key.secret)
		identity := entity.Identities["node.example"]
		self := identity.SelfCertifications[0].Packet
		change(entity, self)
		config := &packet.Config{Time: func() time.Time { return testTime }}
		if err := self.SignUserId(identity.Name, entity.PrimaryKey, entity.PrivateKey, config); err != nil {
			t.Fatal(err)
		}
		return serialize(t, entity)
	}
	without := func(is func(openpgp.Subkey, *packet.Signature) bool) []byte {
		return changed(func(e *openpgp.Entity, _ *packet.Signature) {
			var kept []openpgp.Subkey
			for _, subkey := range e.Subkeys {
				if !is(subkey, subkey.Bindings[0].Packet) {
					kept = append(kept, subkey)
				}
			}
			e.Subkeys = kept
		})
	}
	mlkemAlone := changed(func(e *openpgp.Entity, _ *packet.Signature) {
		config := keyConfig(testTime)
		config.Algorithm = packet.PubKeyAlgoMlkem768X25519
		if err := e.AddEncryptionSubkey(config); err != nil {
			t.Fatal(err)
		}
		var kept []openpgp.Subkey
		for _, subkey := range e.Subkeys {
			if subkey.PublicKey.PubKeyAlgo != packet.PubKeyAlgoECDH {
				kept = append(kept, subkey)
			}
		}
		e.Subkeys = kept
	})
	self := func(change func(*packet.Signature)) []byte {
		return changed(func(_ *openpgp.Entity, s *packet.Signature) { change(s) })
	}
	tests := []struct {
		name        string
		certificate []byte
		node        string
		after       time.Duration
		want        string // part of the error; "" for none
	}{
		{"new", key.Certificate(), "node.example", 0, ""},
		{"rotated", rotated.Certificate(), "node.example", 25 * time.Hour, ""},
		{"with ML-KEM", withMLKEM(t, key).Certificate(), "node.example", 0, ""},
		{"before it was made", key.Certificate(), "node.example", -time.Hour, "primary key is not valid"},
		{"of another name", key.Certificate(), "other.example", 0, "user id is not other.example"},
		{"RSA", newUserCertificate(t, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048}), "node.example", 0, "no EdDSA"},
		{"version 6", newUserCertificate(t, packet.Config{V6Keys: true, Algorithm: packet.PubKeyAlgoEd25519}), "node.example", 0, "no EdDSA"},
		{"primary key that signs", self(func(s *packet.Signature) { s.FlagSign = true }), "node.example", 0, "certifying alone"},
		{"primary key that certifies nothing", self(func(s *packet.Signature) { s.FlagCertify = false }), "node.example", 0, "certifying alone"},
		{"compression", self(func(s *packet.Signature) { s.PreferredCompression = []byte{0, 1} }), "node.example", 0, "Uncompressed"},
		{"no preference", self(func(s *packet.Signature) { s.PreferredCompression = nil }), "node.example", 0, "Uncompressed"},
		{"SEIPD 1 alone", withoutAEAD(t, key).Certificate(), "node.example", 0, "SEIPD"},
		{"no signing subkey", without(isSigningSubkey), "node.example", 0, "for signing alone"},
		{"no encryption subkey", without(isEncryptionSubkey), "node.example", 0, "for encryption"},
		{"ML-KEM alone", mlkemAlone, "node.example", 0, "for encryption"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseCertificate(tt.certificate)
			if err != nil {
				t.Fatal(err)
			}
			err = c.CheckNode(tt.node, testTime.Add(tt.after))
			if tt.want == "" && err != nil {
				t.Errorf("error %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}
