package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	tipt "github.com/tipt/tipt-go"
)

// clockSkew is how far a sealer's clock may be behind that of the machine that
// made the certificate, as far as section 5.4 lets two nodes' clocks differ.
const clockSkew = 5 * time.Minute

// A Certificate is the OpenPGP certificate of a node or of a user.
type Certificate struct {
	raw         []byte
	fingerprint string
	changed     time.Time // date of its newest key or self-signature

	mu     sync.Mutex      // guards the following, which notes the signatures it has verified
	entity *openpgp.Entity //
}

// ParseCertificate reads one un-armored certificate of at most
// [tipt.MaxKeySize] bytes, longer ones are refused unread, without secret
// packets, and nothing else beside it: what SET_KEY takes (section 4). It does
// not keep b.
//
// It verifies no signature, which a certificate can make expensive:
// [Certificate.Seal] does, before it uses anything.
func ParseCertificate(b []byte) (*Certificate, error) {
	if len(b) > tipt.MaxKeySize {
		return nil, fmt.Errorf("seal: certificate of %d bytes, at most %d are allowed", len(b), tipt.MaxKeySize)
	}
	if err := checkKeyPackets(b, typePublicKey, typePublicSubkey); err != nil {
		return nil, fmt.Errorf("seal: certificate: %w", err)
	}
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("seal: certificate: %w", err)
	}
	return &Certificate{
		raw:         slices.Clone(b),
		fingerprint: hex.EncodeToString(entity.PrimaryKey.Fingerprint),
		changed:     changed(entity),
		entity:      entity,
	}, nil
}

// changed returns the date of the newest key or self-signature.
func changed(e *openpgp.Entity) time.Time {
	newest := e.PrimaryKey.CreationTime
	note := func(signatures []*packet.VerifiableSignature) {
		for _, s := range signatures {
			newest = later(newest, s.Packet.CreationTime)
		}
	}
	note(e.DirectSignatures)
	for _, id := range e.Identities {
		note(id.SelfCertifications)
	}
	for _, subkey := range e.Subkeys {
		newest = later(newest, subkey.PublicKey.CreationTime)
		note(subkey.Bindings)
	}
	return newest
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Fingerprint returns the fingerprint of the primary key in lower-case hex. It
// stays when subkeys are changed.
func (c *Certificate) Fingerprint() string { return c.fingerprint }

// Bytes returns the certificate as it was parsed.
func (c *Certificate) Bytes() []byte { return slices.Clone(c.raw) }

// Armor returns the certificate as text, for people and for programs that
// import keys.
func (c *Certificate) Armor() (string, error) {
	var text strings.Builder
	w, err := armor.Encode(&text, openpgp.PublicKeyType, nil)
	if err != nil {
		return "", fmt.Errorf("seal: armor: %w", err)
	}
	if _, err := w.Write(c.raw); err != nil {
		return "", fmt.Errorf("seal: armor: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("seal: armor: %w", err)
	}
	return text.String() + "\n", nil
}

// A recipient is the one subkey that a message is sealed to, and how.
type recipient struct {
	key    *packet.PublicKey
	aead   bool                  // encrypted packet of version 2
	cipher packet.CipherFunction // of version 1
	suite  packet.CipherSuite    // of version 2
}

// recipientAt chooses among the encryption subkeys that are valid at now the
// newest, an ML-KEM one before any other (section 5.1).
func (c *Certificate) recipientAt(now time.Time) (recipient, error) {
	now = now.Add(clockSkew)
	if err := checkVerifiable(c.entity.PrimaryKey); err != nil {
		return recipient{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	self, err := c.entity.VerifyPrimaryKey(now, nil)
	if err != nil {
		return recipient{}, err
	}
	var best *packet.PublicKey
	var since time.Time
	for _, subkey := range c.entity.Subkeys {
		key := subkey.PublicKey
		if !key.PubKeyAlgo.CanEncrypt() || checkVerifiable(key) != nil {
			continue
		}
		binding, err := subkey.Verify(now, nil)
		if err != nil || !encrypts(binding) {
			continue
		}
		if best == nil || key.IsPQ() && !best.IsPQ() || key.IsPQ() == best.IsPQ() && binding.CreationTime.After(since) {
			best, since = key, binding.CreationTime
		}
	}
	if best == nil {
		return recipient{}, errors.New("no valid encryption subkey")
	}
	return recipient{
		key:    best,
		aead:   self.SEIPDv2,
		cipher: chooseCipher(self.PreferredSymmetric),
		suite:  chooseSuite(self.PreferredCipherSuites),
	}, nil
}

// checkVerifiable refuses keys with which a certificate of 8 KiB could hold a
// machine up for seconds: those with a modulus of its maker's choice.
func checkVerifiable(key *packet.PublicKey) error {
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoDSA, packet.PubKeyAlgoElGamal:
		return fmt.Errorf("key algorithm %d is not supported", key.PubKeyAlgo)
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSAEncryptOnly, packet.PubKeyAlgoRSASignOnly:
		bits, err := key.BitLength()
		if err != nil {
			return err
		}
		if bits < 2047 || bits > 8192 {
			return fmt.Errorf("RSA key of %d bits", bits)
		}
	}
	return nil
}

// chooseCipher returns the first preferred cipher that we write; without one
// it is the one that everybody has.
func chooseCipher(preferred []uint8) packet.CipherFunction {
	for _, p := range preferred {
		switch c := packet.CipherFunction(p); c {
		case packet.CipherAES128, packet.CipherAES192, packet.CipherAES256:
			return c
		}
	}
	return packet.CipherAES128
}

// chooseSuite is chooseCipher for encrypted packets of version 2.
func chooseSuite(preferred [][2]uint8) packet.CipherSuite {
	for _, p := range preferred {
		s := packet.CipherSuite{Cipher: packet.CipherFunction(p[0]), Mode: packet.AEADMode(p[1])}
		if chooseCipher(p[:1]) == s.Cipher && s.Mode.IsSupported() {
			return s
		}
	}
	return packet.CipherSuite{Cipher: packet.CipherAES128, Mode: packet.AEADModeOCB}
}
