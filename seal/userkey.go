package seal

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ProtonMail/go-crypto/openpgp/s2k"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	tipt "github.com/tipt/tipt-go"
)

// ErrPassphrase is ParseUserKey's error for a key that is locked: no passphrase was
// given, or not the right one.
var ErrPassphrase = errors.New("seal: the key is locked, and the passphrase is missing or wrong")

// maxUserKeySize is the size of the longest file that ParseUserKey reads, in bytes: a
// certificate of the greatest size with its secrets, armored, and a comment.
const maxUserKeySize = 64 << 10

// A UserKey is a user's secret key with its certificate, for sealing from end to
// end (section 8). All devices of the user have the same one.
type UserKey struct {
	fingerprint string
	primary     *packet.PublicKey
	secret      []byte // transferable secret key without a passphrase
	certificate []byte // transferable public key
	decryption  []decryptionKey
	signing     []messageSigner // the newest first
}

// A messageSigner is the secret half of a subkey, or of the primary key, that signs messages.
type messageSigner struct {
	key   *packet.PrivateKey
	ended time.Time // when it expires; zero: never
}

// NewUserKey makes a key for the user with that address, which becomes its user id. It has
// the form of a node's key (section 5.1): valid from now on without end, a version 4
// Ed25519 primary key that certifies and does nothing else, an Ed25519 signing subkey
// and a Curve25519 encryption subkey.
func NewUserKey(address string, now time.Time) (*UserKey, error) {
	config := keyConfig(now)
	entity, err := openpgp.NewEntity("", "", "", config)
	if err != nil {
		return nil, fmt.Errorf("seal: new key: %w", err)
	}
	setUserID(entity, address)
	if err := finishEntity(entity, config); err != nil {
		return nil, err
	}
	var secret bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&secret, config); err != nil {
		return nil, fmt.Errorf("seal: new key: %w", err)
	}
	return ParseUserKey(secret.Bytes(), nil)
}

// setUserID gives a new key its user id, whose self-signature then has to be made anew. The
// library would refuse characters that the names of users may have.
func setUserID(entity *openpgp.Entity, id string) {
	for old, identity := range entity.Identities {
		delete(entity.Identities, old)
		identity.Name, identity.UserId = id, &packet.UserId{Id: id}
		entity.Identities[id] = identity
		return
	}
}

// ParseUserKey reads what [UserKey.Append] or [UserKey.Export] wrote, or a key of
// another OpenPGP program: one transferable secret key of version 4, un-armored or
// armored, at most 65,536 bytes. The passphrase may be nil where the key is not locked, and the
// error is ErrPassphrase where it is and that is not its passphrase. A key of another program must be made of
// Ed25519, Curve25519 and ML-KEM-768+X25519 alone, and have something that signs and something that
// encrypts; its certificate has at most [tipt.MaxKeySize] bytes. It does not keep b.
func ParseUserKey(b, passphrase []byte) (*UserKey, error) {
	if len(b) > maxUserKeySize {
		return nil, fmt.Errorf("seal: user key: %d bytes, at most %d are read", len(b), maxUserKeySize)
	}
	b, err := dearmor(b)
	if err != nil {
		return nil, fmt.Errorf("seal: user key: %w", err)
	}
	if err := checkUserKeyPackets(b); err != nil {
		return nil, fmt.Errorf("seal: user key: %w", err)
	}
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("seal: user key: %w", err)
	}
	secret := bytes.NewBuffer(slices.Clone(b))
	if locked(entity) {
		if err := unlock(entity, passphrase); err != nil {
			return nil, err
		}
		secret.Reset()
		if err := entity.SerializePrivateWithoutSigning(secret, nil); err != nil {
			return nil, fmt.Errorf("seal: user key: %w", err)
		}
	}
	k, err := userKeyOf(entity)
	if err != nil {
		return nil, fmt.Errorf("seal: user key: %w", err)
	}
	k.secret = secret.Bytes()
	return k, nil
}

// checkUserKeyPackets checks that b is one secret key of version 4 with algorithms that we use. Others the
// library would compute with before we could say no, for as long as the numbers in them make it.
func checkUserKeyPackets(b []byte) error {
	if err := checkKeyPackets(b, typeSecretKey, typeSecretSubkey); err != nil {
		return err
	}
	for len(b) > 0 {
		p, rest, err := nextPacket(b)
		if err != nil {
			return err
		}
		b = rest
		if p.kind != typeSecretKey && p.kind != typeSecretSubkey {
			continue
		}
		// Version, time, algorithm.
		if len(p.head) < 6 {
			return errTruncated
		}
		if p.head[0] != 4 {
			return fmt.Errorf("of version %d, not 4", p.head[0])
		}
		switch algorithm := packet.PublicKeyAlgorithm(p.head[5]); algorithm {
		case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoECDH, packet.PubKeyAlgoMlkem768X25519:
		case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSAEncryptOnly, packet.PubKeyAlgoRSASignOnly:
			return errors.New("an RSA key; make one of Ed25519 and Curve25519")
		default:
			return fmt.Errorf("key algorithm %d; make a key of Ed25519 and Curve25519", algorithm)
		}
	}
	return nil
}

// dearmor returns the packets of a secret key that may be armored.
func dearmor(b []byte) ([]byte, error) {
	if len(b) > 0 && b[0]&0x80 != 0 { // as every packet starts, and no text
		return b, nil
	}
	block, err := armor.Decode(bytes.NewReader(b))
	if errors.Is(err, io.EOF) {
		return nil, errors.New("no OpenPGP key")
	}
	if err != nil {
		return nil, err
	}
	if block.Type != openpgp.PrivateKeyType {
		return nil, fmt.Errorf("a %s, not a %s", block.Type, openpgp.PrivateKeyType)
	}
	return io.ReadAll(block.Body)
}

func locked(entity *openpgp.Entity) bool {
	if entity.PrivateKey.Encrypted {
		return true
	}
	for _, subkey := range entity.Subkeys {
		if subkey.PrivateKey.Encrypted {
			return true
		}
	}
	return false
}

func unlock(entity *openpgp.Entity, passphrase []byte) error {
	if len(passphrase) == 0 {
		return ErrPassphrase
	}
	if err := entity.DecryptPrivateKeys(passphrase); err != nil {
		return fmt.Errorf("%w: %w", ErrPassphrase, err)
	}
	return nil
}

func userKeyOf(entity *openpgp.Entity) (*UserKey, error) {
	self, err := entity.VerifyPrimaryKey(time.Time{}, nil)
	if err != nil {
		return nil, err
	}
	k := &UserKey{
		fingerprint: hex.EncodeToString(entity.PrimaryKey.Fingerprint),
		primary:     entity.PrimaryKey,
		signing:     messageSigners(entity, self),
	}
	if len(k.signing) == 0 {
		return nil, errors.New("it has no key that signs, or the secret of that is not there")
	}
	if k.decryption, err = decryptionKeys(entity); err != nil {
		return nil, err
	}
	var certificate bytes.Buffer
	if err := entity.Serialize(&certificate); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if certificate.Len() > tipt.MaxKeySize {
		return nil, fmt.Errorf("certificate of %d bytes, at most %d are allowed", certificate.Len(), tipt.MaxKeySize)
	}
	k.certificate = certificate.Bytes()
	return k, nil
}

// messageSigners returns what of a key signs and is not revoked.
func messageSigners(entity *openpgp.Entity, self *packet.Signature) []messageSigner {
	var signers []messageSigner
	end := endOf(entity.PrimaryKey, self)
	for i := range entity.Subkeys {
		subkey := &entity.Subkeys[i]
		binding, err := subkey.Verify(time.Time{}, nil)
		if err != nil || !signs(binding) || subkey.PrivateKey.Dummy() {
			continue
		}
		signers = append(signers, messageSigner{subkey.PrivateKey, earlier(end, endOf(subkey.PublicKey, binding))})
	}
	if signs(self) && !entity.PrivateKey.Dummy() {
		signers = append(signers, messageSigner{entity.PrivateKey, end})
	}
	slices.SortStableFunc(signers, func(a, b messageSigner) int {
		return b.key.CreationTime.Compare(a.key.CreationTime)
	})
	return signers
}

func signs(self *packet.Signature) bool { return self.FlagsValid && self.FlagSign }

// earlier returns the first of two ends, of which a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Append appends the key, secrets and all, to b: an un-armored transferable
// secret key without a passphrase, meant for a file that its owner alone can read.
func (k *UserKey) Append(b []byte) []byte { return append(b, k.secret...) }

// Export returns the key, armored and locked with the passphrase, to be carried to
// another device. GnuPG and Sequoia read it, too.
func (k *UserKey) Export(passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, errors.New("seal: export: an empty passphrase protects nothing")
	}
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(k.secret)))
	if err != nil {
		return nil, fmt.Errorf("seal: export: %w", err)
	}
	// What GnuPG 2.2 understands: no AEAD, no Argon2, but as many rounds as there can be.
	config := &packet.Config{
		DefaultCipher: packet.CipherAES256,
		S2KConfig:     &s2k.Config{S2KMode: s2k.IteratedSaltedS2K, Hash: crypto.SHA256, S2KCount: 65_011_712},
	}
	if err := entity.EncryptPrivateKeys(passphrase, config); err != nil {
		return nil, fmt.Errorf("seal: export: %w", err)
	}
	var text bytes.Buffer
	w, err := armor.Encode(&text, openpgp.PrivateKeyType, nil)
	if err != nil {
		return nil, fmt.Errorf("seal: export: %w", err)
	}
	if err := entity.SerializePrivateWithoutSigning(w, nil); err != nil {
		return nil, fmt.Errorf("seal: export: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: export: %w", err)
	}
	text.WriteByte('\n')
	return text.Bytes(), nil
}

// Certificate returns the key's certificate, un-armored, at most
// [tipt.MaxKeySize] bytes: what SET_KEY publishes.
func (k *UserKey) Certificate() []byte { return slices.Clone(k.certificate) }

// Fingerprint returns the fingerprint of the primary key in lower-case hex.
func (k *UserKey) Fingerprint() string { return k.fingerprint }
