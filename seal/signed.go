package seal

import (
	"bytes"
	"crypto"
	_ "crypto/sha512" // of the signatures made here
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	tipt "github.com/tipt/tipt-go"
)

// ErrUnsigned is SignedBy's error for a message that came without a signature.
var ErrUnsigned = errors.New("seal: the message is not signed")

// maxSignatureSize is the size of the longest signature packet that is looked at, in bytes.
const maxSignatureSize = 64 << 10

// Seal signs plaintext and seals it for the owner of the certificate (section 8): like
// [Certificate.Seal], but that the literal packet stands between a one-pass signature packet and the
// signature, which names the certificate's primary key as its intended recipient. It adds
// some 160 bytes to what Certificate.Seal makes, more with a key that another program made.
func (k *UserKey) Seal(to *Certificate, plaintext []byte, now time.Time) ([]byte, error) {
	recipient, err := to.recipientAt(now)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate %s: %w", ErrCannotSeal, to.fingerprint, err)
	}
	onePass, signature, err := k.sign(plaintext, to.entity.PrimaryKey, now)
	if err != nil {
		return nil, fmt.Errorf("seal: sign: %w", err)
	}
	pair, err := recipient.newSessionKey()
	if err != nil {
		return nil, fmt.Errorf("seal: certificate %s: %w", to.fingerprint, err)
	}
	defer clear(pair.key)
	header := appendLiteralHeader(onePass, len(plaintext))
	msg, err := recipient.sealPackets(pair, header, slices.Concat(plaintext, signature))
	if err != nil {
		return nil, fmt.Errorf("seal: certificate %s: %w", to.fingerprint, err)
	}
	return msg, nil
}

// sign returns the packets that stand before and behind a literal packet with that content.
func (k *UserKey) sign(plaintext []byte, to *packet.PublicKey, now time.Time) (before, behind []byte, err error) {
	i := slices.IndexFunc(k.signing, func(s messageSigner) bool { return s.ended.IsZero() || now.Before(s.ended) })
	if i < 0 {
		return nil, nil, errors.New("your key has expired")
	}
	key := k.signing[i].key
	sig := &packet.Signature{
		SigType:    packet.SigTypeBinary,
		PubKeyAlgo: key.PubKeyAlgo,
		Hash:       crypto.SHA512,
		// A device whose clock is behind that of the one which made the key would date it
		// before the key was there.
		CreationTime:       later(now, key.CreationTime),
		IssuerKeyId:        &key.KeyId,
		IntendedRecipients: []*packet.Recipient{{KeyVersion: to.Version, Fingerprint: to.Fingerprint}},
	}
	hash := sig.Hash.New()
	hash.Write(plaintext)
	if err := sig.Sign(hash, key, nil); err != nil {
		return nil, nil, err
	}
	onePass := packet.OnePassSignature{
		Version:    3,
		SigType:    sig.SigType,
		Hash:       sig.Hash,
		PubKeyAlgo: sig.PubKeyAlgo,
		KeyId:      key.KeyId,
		IsLast:     true,
	}
	var b, s bytes.Buffer
	if err := onePass.Serialize(&b); err != nil {
		return nil, nil, err
	}
	if err := sig.Serialize(&s); err != nil {
		return nil, nil, err
	}
	return b.Bytes(), s.Bytes(), nil
}

// An Opened is what was in a message that [UserKey.Open] opened.
type Opened struct {
	Plaintext []byte

	// SignedAt is the date of the signature that came with it, by the signer's clock; zero
	// where none came. Whether it counts SignedBy says.
	SignedAt time.Time

	signature *packet.Signature
	against   error // why the signature counts for nobody; nil when that is open
}

// Open opens a message sealed to the key's certificate by whatever program, signed or not, within
// the same bounds as [NodeKey.Open], but for what section 8 adds: the literal packet may stand
// between a one-pass signature packet and a signature. Other than a node's, all subkeys open for
// ever. Errors wrap [ErrCannotOpen] or [ErrMessage]; a signature that does not count is no error.
func (k *UserKey) Open(msg []byte) (*Opened, error) {
	e, err := parseEnvelope(msg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	// What waits in a mailbox, or in a drawer, was sealed to a subkey that was in use then: at the
	// beginning of time none has ended.
	key, err := unwrapFirst(e.keys, k.decryption, time.Time{})
	if err != nil {
		return nil, err
	}
	defer clear(key.key)
	packets, err := e.decrypt(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	in, err := readInside(packets, true)
	if err != nil {
		return nil, fmt.Errorf("%w: inside: %w", ErrMessage, err)
	}
	o := new(Opened)
	if o.Plaintext, err = in.contents(); err != nil {
		return nil, fmt.Errorf("%w: inside: %w", ErrMessage, err)
	}
	if in.signature.raw == nil {
		o.against = ErrUnsigned
		return o, nil
	}
	o.signature, o.against = parseSignature(in.signature.raw)
	if o.signature != nil {
		o.SignedAt = o.signature.CreationTime
	}
	if o.against == nil && !intendedFor(o.signature, k.primary) {
		o.against = errors.New("seal: signed for another recipient, or for nobody in particular")
	}
	return o, nil
}

// parseSignature reads a signature packet and checks what can be checked without
// knowing who made it.
func parseSignature(raw []byte) (*packet.Signature, error) {
	if len(raw) > maxSignatureSize {
		return nil, fmt.Errorf("seal: signature of %d bytes", len(raw))
	}
	p, err := packet.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("seal: signature: %w", err)
	}
	sig, ok := p.(*packet.Signature)
	if !ok {
		return nil, fmt.Errorf("seal: signature read as %T", p)
	}
	var config *packet.Config // its zero value says which hashes are too weak
	switch {
	case sig.Version != 4 && sig.Version != 6:
		return sig, fmt.Errorf("seal: signature of version %d", sig.Version)
	case sig.SigType != packet.SigTypeBinary:
		return sig, fmt.Errorf("seal: signature of type %#02x, not of a document", uint8(sig.SigType))
	case config.RejectMessageHashAlgorithm(sig.Hash) || !sig.Hash.Available():
		return sig, fmt.Errorf("seal: signature by %v", sig.Hash)
	}
	for _, notation := range sig.Notations {
		if notation.IsCritical {
			return sig, fmt.Errorf("seal: signature with a critical notation %q", notation.Name)
		}
	}
	return sig, nil
}

func intendedFor(sig *packet.Signature, key *packet.PublicKey) bool {
	return slices.ContainsFunc(sig.IntendedRecipients, func(r *packet.Recipient) bool {
		return r.KeyVersion == key.Version && bytes.Equal(r.Fingerprint, key.Fingerprint)
	})
}

// SignedBy returns nil when the message is signed, for the user who opened it, by the owner of
// the certificate (section 8): by a subkey, or the primary key, that signs and was valid at the
// date of the signature, or is at now, and at a date that is at most an hour after now. The
// certificate must be the one that is kept for the sender.
//
// Without a signature the error is ErrUnsigned. Where the certificate lacks the key that made it,
// or is nil, the error is ErrNoSigningKey; a newer certificate may have it. Other errors say why
// the signature does not count.
func (o *Opened) SignedBy(from *Certificate, now time.Time) error {
	switch {
	case o.against != nil:
		return o.against
	case o.SignedAt.After(now.Add(maxAhead)):
		return fmt.Errorf("seal: signature from the future, of %v", o.SignedAt)
	case o.signature.SigExpired(later(now, o.SignedAt)):
		return errors.New("seal: the signature has expired")
	case from == nil:
		return ErrNoSigningKey
	}
	key, err := from.messageKey(o.signature, now)
	if err != nil {
		return err
	}
	hash, err := o.signature.PrepareVerify()
	if err != nil {
		return fmt.Errorf("seal: signature: %w", err)
	}
	hash.Write(o.Plaintext)
	if err := key.VerifySignature(hash, o.signature); err != nil {
		return fmt.Errorf("seal: signature: %w", err)
	}
	return nil
}

// messageKey returns the key that a signature says to be made by, which must sign and have been
// valid when it was made, or be valid at now: a certificate's newer self-signatures may have
// taken the place of those of that time.
func (c *Certificate) messageKey(sig *packet.Signature, now time.Time) (*packet.PublicKey, error) {
	if err := checkVerifiable(c.entity.PrimaryKey); err != nil {
		return nil, fmt.Errorf("seal: primary key: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key, err := c.messageKeyLocked(sig, c.notBeforeChange(sig.CreationTime))
	if err != nil && !errors.Is(err, ErrNoSigningKey) {
		if key, errNow := c.messageKeyLocked(sig, c.notBeforeChange(now)); errNow == nil {
			return key, nil
		}
	}
	return key, err
}

func (c *Certificate) messageKeyLocked(sig *packet.Signature, at time.Time) (*packet.PublicKey, error) {
	self, err := c.entity.VerifyPrimaryKey(at, nil)
	if sig.CheckKeyIdOrFingerprint(c.entity.PrimaryKey) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("seal: signed by a primary key that is not valid: %w", err)
		case !signs(self):
			return nil, errors.New("seal: signed by a primary key that is not for signing messages")
		}
		return c.entity.PrimaryKey, nil
	}
	for i := range c.entity.Subkeys {
		subkey := &c.entity.Subkeys[i]
		if !sig.CheckKeyIdOrFingerprint(subkey.PublicKey) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("seal: signed under a primary key that is not valid: %w", err)
		}
		if err := checkVerifiable(subkey.PublicKey); err != nil {
			return nil, fmt.Errorf("seal: signed by a subkey: %w", err)
		}
		binding, err := subkey.Verify(at, nil)
		if err != nil {
			return nil, fmt.Errorf("seal: signed by a subkey that is not valid: %w", err)
		}
		if !signs(binding) {
			return nil, errors.New("seal: signed by a subkey that is not for signing")
		}
		return subkey.PublicKey, nil
	}
	return nil, ErrNoSigningKey
}

// IsOf reports whether the certificate may be that of the user with the address. User ids may
// be any text, but where some of them are addresses one must be that address: so
// nobody can have somebody else's certificate, which everybody can get, taken for their own.
func (c *Certificate) IsOf(user tipt.Address) bool {
	if checkVerifiable(c.entity.PrimaryKey) != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	others := false
	for id, identity := range c.entity.Identities {
		address, err := tipt.ParseAddress(id)
		if err != nil {
			continue
		}
		if _, err := identity.Verify(time.Time{}, nil); err != nil {
			continue
		}
		if address == user {
			return true
		}
		others = true
	}
	return !others
}

// Names reports whether a message says that it is sealed to one of the certificate's subkeys, which
// whoever made it may say of any. It is false where the message hides its recipient.
func (c *Certificate) Names(msg []byte) bool {
	e, err := parseEnvelope(msg)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.entity.Subkeys {
		if slices.ContainsFunc(e.keys, func(w wrappedKey) bool { return w.isFor(c.entity.Subkeys[i].PublicKey) }) {
			return true
		}
	}
	return false
}
