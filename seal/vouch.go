package seal

import (
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// VouchedBy reports whether the primary key of old has certified the user id
// name in c, by a signature within c that is valid at now, and has not taken that
// back there. c then takes old's place without a warning (section 7).
func (c *Certificate) VouchedBy(old *Certificate, name string, now time.Time) bool {
	now = now.Add(clockSkew)
	signer := old.entity.PrimaryKey
	if checkVerifiable(signer) != nil || checkVerifiable(c.entity.PrimaryKey) != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	identity := c.entity.Identities[name]
	if identity == nil {
		return false
	}
	if _, err := identity.Verify(now, nil); err != nil {
		return false
	}
	var config *packet.Config // its zero value says which hashes are too weak
	vouched := false
	for _, other := range identity.OtherCertifications {
		sig := other.Packet
		if !sig.CheckKeyIdOrFingerprint(signer) || sig.SigExpired(now) || config.RejectHashAlgorithm(sig.Hash) ||
			signer.VerifyUserIdSignature(name, c.entity.PrimaryKey, sig) != nil {
			continue
		}
		if sig.SigType == packet.SigTypeCertificationRevocation {
			return false
		}
		vouched = true
	}
	return vouched
}
