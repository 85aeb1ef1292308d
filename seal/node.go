package seal

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/ecdh"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// CheckNode returns nil when the certificate is what section 5.1 wants of the node
// called name, valid at now, and otherwise what about it is not. Everybody else takes a
// certificate as far as it can be used: the check is for operators.
func (c *Certificate) CheckNode(name string, now time.Time) error {
	now = now.Add(clockSkew)
	primary := c.entity.PrimaryKey
	if primary.Version != 4 || primary.PubKeyAlgo != packet.PubKeyAlgoEdDSA {
		return errors.New("the primary key is no EdDSA (Ed25519) key of version 4")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	self, err := c.entity.VerifyPrimaryKey(now, nil)
	if err != nil {
		return fmt.Errorf("the primary key is not valid: %w", err)
	}
	if _, ok := c.entity.Identities[name]; !ok || len(c.entity.Identities) != 1 {
		return fmt.Errorf("the user id is not %s", name)
	}
	if !self.FlagsValid || !self.FlagCertify || self.FlagSign || encrypts(self) || self.FlagAuthenticate {
		return errors.New("the primary key is not for certifying alone")
	}
	// Without preferences programs compress, which section 5.2 refuses.
	if !bytes.Equal(self.PreferredCompression, []byte{byte(packet.CompressionNone)}) {
		return errors.New("its preferences do not name Uncompressed alone")
	}
	if !self.SEIPDv1 || !self.SEIPDv2 {
		return errors.New("its features do not name SEIPD version 1 and version 2")
	}
	if !c.hasSubkeyLocked(now, isSigningSubkey) {
		return errors.New("it has no valid EdDSA (Ed25519) subkey of version 4 for signing alone")
	}
	if !c.hasSubkeyLocked(now, isEncryptionSubkey) {
		return errors.New("it has no valid ECDH (Curve25519) subkey of version 4 for encryption")
	}
	return nil
}

func (c *Certificate) hasSubkeyLocked(now time.Time, is func(openpgp.Subkey, *packet.Signature) bool) bool {
	for _, subkey := range c.entity.Subkeys {
		if subkey.PublicKey.Version != 4 || checkVerifiable(subkey.PublicKey) != nil {
			continue
		}
		if binding, err := subkey.Verify(now, nil); err == nil && is(subkey, binding) {
			return true
		}
	}
	return false
}

func isSigningSubkey(s openpgp.Subkey, binding *packet.Signature) bool {
	_, err := ed25519Key(s.PublicKey)
	return err == nil && s.PublicKey.PubKeyAlgo == packet.PubKeyAlgoEdDSA && signsOnly(binding)
}

func isEncryptionSubkey(s openpgp.Subkey, binding *packet.Signature) bool {
	key, ok := s.PublicKey.PublicKey.(*ecdh.PublicKey)
	return ok && key.GetCurve().GetCurveName() == "curve25519" && encrypts(binding)
}
