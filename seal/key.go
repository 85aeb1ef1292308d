package seal

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	tipt "github.com/tipt/tipt-go"
)

// oldKeyRetention is how long a subkey still opens messages after it expired or
// was revoked (section 5.1).
const oldKeyRetention = 30 * 24 * time.Hour

// A NodeKey is a node's secret key with its certificate (section 5.1).
type NodeKey struct {
	name        string // user id
	secret      []byte // transferable secret key
	certificate []byte // transferable public key
	decryption  []decryptionKey
	signing     signingKey
}

// A decryptionKey is an encryption subkey's secret half.
type decryptionKey struct {
	key   *packet.PrivateKey
	ended time.Time // when it expires or was revoked; zero: never
}

func (d *decryptionKey) opensAt(now time.Time) bool {
	return d.ended.IsZero() || now.Before(d.ended.Add(oldKeyRetention))
}

func (d *decryptionKey) endedAt(now time.Time) bool {
	return !d.ended.IsZero() && !now.Before(d.ended)
}

// NewNodeKey makes a key for the node called name, valid from now on without
// end: a version 4 Ed25519 primary key that certifies and does nothing else, an
// Ed25519 signing subkey and a Curve25519 encryption subkey, in the forms that
// GnuPG 2.2, Sequoia and OpenPGP.js can all use.
func NewNodeKey(name string, now time.Time) (*NodeKey, error) {
	config := keyConfig(now)
	entity, err := openpgp.NewEntity(name, "", "", config)
	if err != nil {
		return nil, fmt.Errorf("seal: new key: %w", err)
	}
	if err := finishEntity(entity, config); err != nil {
		return nil, err
	}
	return nodeKeyOf(entity, config)
}

// finishEntity makes of the library's new key one of section 5.1. The library gives the primary
// key the right to sign: take it away, and the self-signature has to be made anew.
func finishEntity(entity *openpgp.Entity, config *packet.Config) error {
	for _, identity := range entity.Identities {
		for _, self := range identity.SelfCertifications {
			self.Packet.FlagSign = false
			if err := self.Packet.SignUserId(identity.Name, entity.PrimaryKey, entity.PrivateKey, config); err != nil {
				return fmt.Errorf("seal: new key: certifying the primary key: %w", err)
			}
		}
	}
	if err := entity.AddSigningSubkey(config); err != nil {
		return fmt.Errorf("seal: new key: signing subkey: %w", err)
	}
	return nil
}

func nodeKeyOf(entity *openpgp.Entity, config *packet.Config) (*NodeKey, error) {
	var secret bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&secret, config); err != nil {
		return nil, fmt.Errorf("seal: new key: %w", err)
	}
	return ParseNodeKey(secret.Bytes())
}

// keyConfig is how the parts of a key are made at now.
func keyConfig(now time.Time) *packet.Config {
	return &packet.Config{
		Time:          func() time.Time { return now },
		Algorithm:     packet.PubKeyAlgoEdDSA,
		Curve:         packet.Curve25519,
		DefaultCipher: packet.CipherAES256,
		// Advertises version 2 of encrypted packets. GCM, which has hardware
		// under it, takes a fifth of the time that OCB, its mandatory
		// alternative, takes.
		AEADConfig: &packet.AEADConfig{DefaultMode: packet.AEADModeGCM},
	}
}

// Name returns the user id of the certificate: the node's name.
func (k *NodeKey) Name() string { return k.name }

// ParseNodeKey reads what [NodeKey.Append] wrote. It does not keep b.
func ParseNodeKey(b []byte) (*NodeKey, error) {
	if err := checkKeyPackets(b, typeSecretKey, typeSecretSubkey); err != nil {
		return nil, fmt.Errorf("seal: node key: %w", err)
	}
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("seal: node key: %w", err)
	}
	if _, err := entity.PrimarySelfSignature(time.Time{}, nil); err != nil {
		return nil, fmt.Errorf("seal: node key: %w", err)
	}
	if len(entity.Identities) != 1 {
		return nil, fmt.Errorf("seal: node key: %d user ids, want the node's name alone", len(entity.Identities))
	}
	k := &NodeKey{secret: slices.Clone(b)}
	for _, identity := range entity.Identities {
		k.name = identity.UserId.Id
	}
	if k.decryption, err = decryptionKeys(entity); err != nil {
		return nil, fmt.Errorf("seal: node key: %w", err)
	}
	if k.signing, err = newestSigningKey(entity); err != nil {
		return nil, fmt.Errorf("seal: node key: %w", err)
	}
	var certificate bytes.Buffer
	if err := entity.Serialize(&certificate); err != nil {
		return nil, fmt.Errorf("seal: node key: certificate: %w", err)
	}
	if certificate.Len() > tipt.MaxKeySize {
		return nil, fmt.Errorf("seal: node key: certificate of %d bytes, at most %d are allowed", certificate.Len(), tipt.MaxKeySize)
	}
	k.certificate = certificate.Bytes()
	return k, nil
}

// decryptionKeys returns the encryption subkeys, also those that expired or
// were revoked.
func decryptionKeys(entity *openpgp.Entity) ([]decryptionKey, error) {
	var keys []decryptionKey
	for _, subkey := range entity.Subkeys {
		binding, err := subkey.LatestValidBindingSignature(time.Time{}, nil)
		if err != nil {
			return nil, fmt.Errorf("subkey %x: %w", subkey.PublicKey.Fingerprint, err)
		}
		if !encrypts(binding) {
			continue
		}
		if subkey.PrivateKey.Encrypted || subkey.PrivateKey.Dummy() {
			return nil, fmt.Errorf("subkey %x: its secret is not there, or under a password", subkey.PublicKey.Fingerprint)
		}
		if !opens(subkey.PublicKey) {
			return nil, fmt.Errorf("subkey %x: neither Curve25519 nor ML-KEM-768+X25519", subkey.PublicKey.Fingerprint)
		}
		d := decryptionKey{key: subkey.PrivateKey}
		d.ended = endOf(subkey.PublicKey, binding)
		for _, revocation := range subkey.Revocations {
			if entity.PrimaryKey.VerifySubkeyRevocationSignature(revocation.Packet, subkey.PublicKey) != nil {
				continue
			}
			if at := revocation.Packet.CreationTime; d.ended.IsZero() || at.Before(d.ended) {
				d.ended = at
			}
		}
		keys = append(keys, d)
	}
	if len(keys) == 0 {
		return nil, errors.New("no encryption subkey")
	}
	return keys, nil
}

// endOf is when a key with that self-signature expires; zero: never.
func endOf(key *packet.PublicKey, self *packet.Signature) time.Time {
	if l := self.KeyLifetimeSecs; l != nil && *l != 0 {
		return key.CreationTime.Add(time.Duration(*l) * time.Second)
	}
	return time.Time{}
}

// opens tells the two kinds of encryption subkey that section 5.1 gives a node.
func opens(key *packet.PublicKey) bool {
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoECDH:
		curve, err := key.Curve()
		return err == nil && curve == packet.Curve25519
	case packet.PubKeyAlgoMlkem768X25519:
		return true
	}
	return false
}

// Append appends the key, secrets and all, to b: an un-armored transferable
// secret key without a password, meant for a file that its owner alone can read.
func (k *NodeKey) Append(b []byte) []byte { return append(b, k.secret...) }

// Certificate returns the key's certificate, un-armored, at most
// [tipt.MaxKeySize] bytes, the same for as long as the key is.
func (k *NodeKey) Certificate() []byte { return slices.Clone(k.certificate) }

func encrypts(binding *packet.Signature) bool {
	return binding.FlagsValid && (binding.FlagEncryptCommunications || binding.FlagEncryptStorage)
}

// checkKeyPackets checks that b is one transferable key: a primary packet, and
// behind it nothing but subkeys of the same kind, user ids and signatures.
func checkKeyPackets(b []byte, primary, subkey byte) error {
	for first := true; first || len(b) > 0; first = false {
		p, rest, err := nextPacket(b)
		if err != nil {
			return err
		}
		b = rest
		switch {
		case first && p.kind != primary:
			return fmt.Errorf("starts with a packet of type %d", p.kind)
		case first:
		case p.kind == primary:
			return errors.New("more than one key")
		case p.tail != nil:
			return errors.New("packet in pieces")
		case p.kind == subkey, p.kind == typeSignature, p.kind == typeUserID, p.kind == typeUserAttribute, p.skipped():
		default:
			return p.refused()
		}
	}
	return nil
}
