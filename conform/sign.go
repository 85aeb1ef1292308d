package conform

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// A signer is the OpenPGP key of the second node, by which it vouches.
type signer struct {
	entity  *openpgp.Entity
	config  *pgp.Config
	keyID   string
	private ed25519.PrivateKey
}

// newSigner makes a key as section 5.1 has it.
func newSigner(name string) (*signer, error) {
	born := time.Now().Add(-time.Hour)
	config := &pgp.Config{Algorithm: pgp.PubKeyAlgoEdDSA, AEADConfig: new(pgp.AEADConfig), Time: func() time.Time { return born }}
	e, err := openpgp.NewEntity(name, "", "", config)
	if err != nil {
		return nil, fmt.Errorf("make an OpenPGP key: %w", err)
	}
	for _, id := range e.Identities {
		for _, self := range id.SelfCertifications {
			self.Packet.FlagSign = false
			if err := self.Packet.SignUserId(id.Name, e.PrimaryKey, e.PrivateKey, config); err != nil {
				return nil, fmt.Errorf("certify an OpenPGP key: %w", err)
			}
		}
	}
	s := &signer{entity: e, config: config}
	return s, s.rotate()
}

// rotate adds a subkey and signs by it from now on.
func (s *signer) rotate() error {
	if err := s.entity.AddSigningSubkey(s.config); err != nil {
		return fmt.Errorf("make a signing subkey: %w", err)
	}
	sub := s.entity.Subkeys[len(s.entity.Subkeys)-1]
	secret, is := sub.PrivateKey.PrivateKey.(*eddsa.PrivateKey)
	if !is || len(secret.D) != ed25519.SeedSize {
		return errors.New("the signing subkey is no Ed25519 key")
	}
	s.keyID, s.private = hex.EncodeToString(sub.PublicKey.Fingerprint), ed25519.NewKeyFromSeed(secret.D)
	return nil
}

func (s *signer) certificate() ([]byte, error) {
	var b bytes.Buffer
	if err := s.entity.Serialize(&b); err != nil {
		return nil, fmt.Errorf("serialize an OpenPGP key: %w", err)
	}
	return b.Bytes(), nil
}

// A voucher is what vouches for a message: the headers of section 5.4 and what they say.
type voucher struct {
	from, digest string
	// Of the signature.
	label, authority, components, keyID, algorithm, more string
	created                                              time.Time
	private                                              ed25519.PrivateKey
	flipped                                              bool // it does not hold
	swapped                                              bool // `keyid` comes before `created`
}

const (
	components = `("@method" "@authority" "@path" "content-digest" "tipt-from")`
	signedPath = "/api/forward"
)

// vouch is the good voucher for a message of somebody at the face.
func (t *T) vouch(f *face, user string, body []byte) voucher {
	return voucher{
		from: user + "@" + f.name, digest: digestOf(body), label: "tipt", authority: t.s.node, components: components,
		keyID: f.signer.keyID, algorithm: "ed25519", created: time.Now(), private: f.signer.private,
	}
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// headers are the four of section 5.4, as t.post takes them.
func (v voucher) headers() []string {
	created, keyID := fmt.Sprintf(";created=%d", v.created.Unix()), fmt.Sprintf(`;keyid="%s"`, v.keyID)
	if v.swapped {
		created, keyID = keyID, created
	}
	input := v.components + created + keyID + fmt.Sprintf(`;alg="%s"%s`, v.algorithm, v.more)
	signature := ed25519.Sign(v.private, []byte(signatureBase(input, v.authority, v.digest, v.from)))
	if v.flipped {
		signature[7] ^= 1
	}
	return []string{
		"Tipt-From", v.from, "Content-Digest", v.digest, "Signature-Input", v.label + "=" + input,
		"Signature", v.label + "=:" + base64.StdEncoding.EncodeToString(signature) + ":",
	}
}

// signatureBase is what RFC 9421 has signed, for the components that input names.
func signatureBase(input, authority, digest, from string) string {
	values := map[string]string{
		"@method": "POST", "@authority": authority, "@path": signedPath, "content-digest": digest, "tipt-from": from,
		"content-type": "application/octet-stream",
	}
	list, _, _ := strings.Cut(input, ")")
	var base strings.Builder
	for _, name := range strings.Fields(strings.TrimPrefix(list, "(")) {
		fmt.Fprintf(&base, "%s: %s\n", name, values[strings.Trim(name, `"`)])
	}
	return base.String() + `"@signature-params": ` + input
}

// signingKey returns the Ed25519 key of a certificate's valid subkey that signs and does nothing else, or nil.
func (k *nodeKey) signingKey(keyID string) ed25519.PublicKey {
	now := time.Now()
	for i := range k.entity.Subkeys {
		sub := &k.entity.Subkeys[i]
		public, is := sub.PublicKey.PublicKey.(*eddsa.PublicKey)
		if !is || hex.EncodeToString(sub.PublicKey.Fingerprint) != keyID {
			continue
		}
		binding, err := sub.LatestValidBindingSignature(now, nil)
		if err == nil && !sub.Revoked(binding, now) && !sub.Expired(binding, now) && binding.FlagSign &&
			!binding.FlagCertify && !binding.FlagEncryptCommunications && !binding.FlagEncryptStorage && !binding.FlagAuthenticate {
			return public.X
		}
	}
	return nil
}
