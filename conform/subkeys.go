package conform

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// A subkeyKind is a subkey by which a node might vouch.
type subkeyKind struct {
	what    string
	keyID   string
	private ed25519.PrivateKey
	good    bool // it may
	future  bool // it is of a certificate that is too far ahead
}

// kinds gives the key subkeys of all kinds, and returns them with those that it had.
func (s *signer) kinds() ([]subkeyKind, error) {
	all := []subkeyKind{
		{what: "a subkey that signs and does nothing else", keyID: s.keyID, private: s.private, good: true},
		{what: "the encryption subkey, which cannot sign", keyID: hex.EncodeToString(s.entity.Subkeys[0].PublicKey.Fingerprint), private: s.private},
	}
	primary, is := s.entity.PrivateKey.PrivateKey.(*eddsa.PrivateKey)
	if !is {
		return nil, errors.New("the primary key is no Ed25519 key")
	}
	all = append(all, subkeyKind{
		what: "the primary key", keyID: hex.EncodeToString(s.entity.PrimaryKey.Fingerprint), private: ed25519.NewKeyFromSeed(primary.D),
	})
	add := func(what string, good bool, life uint32, change func(*openpgp.Subkey) error) error {
		return s.add(subkeyKind{what: what, good: good}, s.config.Now(), life, change, &all)
	}
	rebind := func(change func(*pgp.Signature)) func(*openpgp.Subkey) error {
		return func(sub *openpgp.Subkey) error {
			binding := sub.Bindings[0].Packet
			change(binding)
			return binding.SignKey(sub.PublicKey, s.entity.PrivateKey, s.config)
		}
	}
	revoke := func(reason pgp.ReasonForRevocation) func(*openpgp.Subkey) error {
		return func(sub *openpgp.Subkey) error { return sub.Revoke(reason, "", openingConfig(time.Minute)) }
	}
	err := errors.Join(
		add("another subkey that signs and does nothing else", true, 0, nil),
		add("a subkey that has expired", false, 60, nil),
		add("a subkey that expires tomorrow", true, 24*60*60, nil),
		add("a subkey that is revoked as stolen", false, 0, revoke(pgp.KeyCompromised)),
		add("a subkey that is revoked since another has taken its place", false, 0, revoke(pgp.KeySuperseded)),
		add("a subkey that also encrypts", false, 0, rebind(func(b *pgp.Signature) { b.FlagEncryptCommunications = true })),
		add("a subkey that also certifies", false, 0, rebind(func(b *pgp.Signature) { b.FlagCertify = true })),
		add("a subkey that does not sign", false, 0, rebind(func(b *pgp.Signature) { b.FlagSign, b.FlagAuthenticate = false, true })),
		add("a subkey without a cross-certification", false, 0, func(sub *openpgp.Subkey) error {
			err := rebind(func(b *pgp.Signature) { b.EmbeddedSignature = nil })(sub)
			sub.Bindings[0].Packet.EmbeddedSignature = nil // which SignKey may have made
			return err
		}),
		s.ahead("from 50 minutes from now", 50*time.Minute, &all),
	)
	return all, err
}

// ahead adds a subkey that is from the future.
func (s *signer) ahead(when string, by time.Duration, all *[]subkeyKind) error {
	far := by > time.Hour
	return s.add(subkeyKind{what: "a subkey " + when, good: !far, future: far}, time.Now().Add(by), 0, nil, all)
}

// add adds a signing subkey that was made at a time and is valid for so many seconds, 0 for ever, and is changed then.
func (s *signer) add(k subkeyKind, born time.Time, life uint32, change func(*openpgp.Subkey) error, all *[]subkeyKind) error {
	config := &pgp.Config{Algorithm: pgp.PubKeyAlgoEdDSA, Time: func() time.Time { return born }, KeyLifetimeSecs: life}
	if err := s.entity.AddSigningSubkey(config); err != nil {
		return fmt.Errorf("make %s: %w", k.what, err)
	}
	sub := &s.entity.Subkeys[len(s.entity.Subkeys)-1]
	secret, is := sub.PrivateKey.PrivateKey.(*eddsa.PrivateKey)
	if !is || len(secret.D) != ed25519.SeedSize {
		return errors.New("the signing subkey is no Ed25519 key")
	}
	k.keyID, k.private = hex.EncodeToString(sub.PublicKey.Fingerprint), ed25519.NewKeyFromSeed(secret.D)
	*all = append(*all, k)
	if change == nil {
		return nil
	}
	return change(sub)
}
