package seal

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	pgped25519 "github.com/ProtonMail/go-crypto/openpgp/ed25519"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// ErrNoSigningKey says that a certificate has no subkey of the fingerprint
// asked for. It may have one after a rotation that we have not seen.
var ErrNoSigningKey = errors.New("seal: the certificate has no such subkey")

// maxAhead is how far a certificate that was just made or changed may be ahead of a verifier's clock,
// beyond clockSkew. Section 5.4 compares two clocks of this moment, and what it refuses is refused for
// good; the certificate was dated by a third one, which may have been right.
const maxAhead = time.Hour

// A signingKey is a signing subkey's secret half.
type signingKey struct {
	id  string // fingerprint, lower-case hex
	key ed25519.PrivateKey
}

// Sign signs data with the node's signing subkey: a bare Ed25519 signature of 64
// bytes (section 5.4).
func (k *NodeKey) Sign(data []byte) []byte { return ed25519.Sign(k.signing.key, data) }

// SigningKeyID returns the fingerprint of the subkey that [NodeKey.Sign] uses, in
// lower-case hex.
func (k *NodeKey) SigningKeyID() string { return k.signing.id }

// SigningKey returns the key with which a signature by the subkey keyID, a
// fingerprint in lower-case hex, is verified (section 5.4). The subkey must be
// valid at now, cross-certified, and for signing alone. ErrNoSigningKey means that the certificate
// has no such subkey; other errors say what is wrong with it. A certificate that is from the future
// by an hour or less is judged by its own date: who can sign can date a signature anyhow.
func (c *Certificate) SigningKey(keyID string, now time.Time) (ed25519.PublicKey, error) {
	if keyID == c.fingerprint {
		return nil, errors.New("seal: the primary key certifies and does not sign")
	}
	now = c.notBeforeChange(now)
	if err := checkVerifiable(c.entity.PrimaryKey); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.entity.Subkeys {
		subkey := &c.entity.Subkeys[i]
		if hex.EncodeToString(subkey.PublicKey.Fingerprint) != keyID {
			continue
		}
		if _, err := c.entity.VerifyPrimaryKey(now, nil); err != nil {
			return nil, fmt.Errorf("seal: primary key: %w", err)
		}
		if err := checkVerifiable(subkey.PublicKey); err != nil {
			return nil, fmt.Errorf("seal: signing subkey: %w", err)
		}
		binding, err := subkey.Verify(now, nil)
		if err != nil {
			return nil, fmt.Errorf("seal: signing subkey: %w", err)
		}
		if !signsOnly(binding) {
			return nil, errors.New("seal: the subkey is not for signing alone")
		}
		return ed25519Key(subkey.PublicKey)
	}
	return nil, ErrNoSigningKey
}

// notBeforeChange returns the time at which a certificate is judged for a signature of now: with
// clockSkew, and no earlier than it was changed unless that is more than maxAhead from then.
func (c *Certificate) notBeforeChange(now time.Time) time.Time {
	if now = now.Add(clockSkew); c.changed.Before(now.Add(maxAhead)) {
		return later(now, c.changed)
	}
	return now
}

// signsOnly reports whether a subkey's binding gives it the right to sign and
// no other.
func signsOnly(binding *packet.Signature) bool {
	return binding.FlagsValid && binding.FlagSign && !binding.FlagCertify && !encrypts(binding) && !binding.FlagAuthenticate
}

func ed25519Key(key *packet.PublicKey) (ed25519.PublicKey, error) {
	var point []byte
	switch public := key.PublicKey.(type) {
	case *eddsa.PublicKey:
		point = public.X
	case *pgped25519.PublicKey:
		point = public.Point
	}
	if len(point) != ed25519.PublicKeySize {
		return nil, errors.New("seal: the subkey is no Ed25519 key")
	}
	return ed25519.PublicKey(point), nil
}

// newestSigningKey returns the signing subkey that was made last among those
// that are valid without end.
func newestSigningKey(entity *openpgp.Entity) (signingKey, error) {
	var newest signingKey
	var since time.Time
	for i := range entity.Subkeys {
		subkey := &entity.Subkeys[i]
		binding, err := subkey.Verify(time.Time{}, nil)
		made := subkey.PublicKey.CreationTime
		if err != nil || !signsOnly(binding) || !endOf(subkey.PublicKey, binding).IsZero() || newest.key != nil && made.Before(since) {
			continue
		}
		secret, ok := subkey.PrivateKey.PrivateKey.(*eddsa.PrivateKey)
		if !ok || len(secret.D) != ed25519.SeedSize {
			return signingKey{}, errors.New("the signing subkey is no Ed25519 key, or its secret is not there")
		}
		newest = signingKey{
			id:  hex.EncodeToString(subkey.PublicKey.Fingerprint),
			key: ed25519.NewKeyFromSeed(secret.D),
		}
		since = made
	}
	if newest.key == nil {
		return signingKey{}, errors.New("no signing subkey")
	}
	return newest, nil
}
