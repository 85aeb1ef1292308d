package conform

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// An openingKey is the OpenPGP key of a node that the suite plays.
type openingKey struct {
	entity      *openpgp.Entity
	certificate []byte
}

// newOpeningKey makes a key that is some hours old, so that no client takes it to come from
// the future.
func newOpeningKey(name string) (*openingKey, error) {
	e, err := openpgp.NewEntity(name, "", "", openingConfig(3*time.Hour))
	if err != nil {
		return nil, fmt.Errorf("make an OpenPGP key: %w", err)
	}
	return asOpeningKey(e)
}

// rotated returns a key with a newer subkey under the same primary key.
func (k *openingKey) rotated() (*openingKey, error) {
	e := *k.entity
	e.Subkeys = append([]openpgp.Subkey(nil), e.Subkeys...)
	if err := e.AddEncryptionSubkey(openingConfig(time.Hour)); err != nil {
		return nil, fmt.Errorf("make an OpenPGP subkey: %w", err)
	}
	e.Subkeys = e.Subkeys[1:] // the older is gone
	return asOpeningKey(&e)
}

// withExpired returns a key with a further subkey, newer than the other and expired.
func (k *openingKey) withExpired() (*openingKey, error) {
	e := *k.entity
	e.Subkeys = append([]openpgp.Subkey(nil), e.Subkeys...)
	config := openingConfig(2 * time.Hour)
	config.KeyLifetimeSecs = 60
	if err := e.AddEncryptionSubkey(config); err != nil {
		return nil, fmt.Errorf("make an OpenPGP subkey: %w", err)
	}
	return asOpeningKey(&e)
}

// withRevoked returns a key with a further subkey, newer than the other and revoked.
func (k *openingKey) withRevoked() (*openingKey, error) {
	e := *k.entity
	e.Subkeys = append([]openpgp.Subkey(nil), e.Subkeys...)
	if err := e.AddEncryptionSubkey(openingConfig(2 * time.Hour)); err != nil {
		return nil, fmt.Errorf("make an OpenPGP subkey: %w", err)
	}
	if err := e.Subkeys[len(e.Subkeys)-1].Revoke(pgp.KeySuperseded, "", openingConfig(time.Hour)); err != nil {
		return nil, fmt.Errorf("revoke an OpenPGP subkey: %w", err)
	}
	return asOpeningKey(&e)
}

// withMLKEM returns a key whose first subkey is one of ML-KEM-768 and X25519, and one whose only subkey it is.
func (k *openingKey) withMLKEM() (besides, alone *openingKey, err error) {
	e := *k.entity
	e.Subkeys = nil
	config := openingConfig(2 * time.Hour)
	config.Algorithm = pgp.PubKeyAlgoMlkem768X25519
	if err := e.AddEncryptionSubkey(config); err != nil {
		return nil, nil, fmt.Errorf("make an ML-KEM subkey: %w", err)
	}
	if alone, err = asOpeningKey(&e); err != nil {
		return nil, nil, err
	}
	both := e
	both.Subkeys = append([]openpgp.Subkey(nil), e.Subkeys...)
	if err := both.AddEncryptionSubkey(openingConfig(time.Hour)); err != nil { // newer, so that it is not by chance that it is not taken
		return nil, nil, fmt.Errorf("make an OpenPGP subkey: %w", err)
	}
	besides, err = asOpeningKey(&both)
	return besides, alone, err
}

// heir returns another key of the same name, which this one has certified, or somebody else in its name.
func (k *openingKey) heir(name string, forged bool) (*openingKey, error) {
	next, err := newOpeningKey(name)
	if err != nil {
		return nil, err
	}
	by := k.entity.PrivateKey
	if forged {
		other, err := newOpeningKey(name)
		if err != nil {
			return nil, err
		}
		by = other.entity.PrivateKey
	}
	if err := certifyBy(next.entity, k.entity.PrimaryKey, by); err != nil {
		return nil, err
	}
	return asOpeningKey(next.entity)
}

// certifyBy certifies the user ids of a key by another one.
func certifyBy(e *openpgp.Entity, primary *pgp.PublicKey, secret *pgp.PrivateKey) error {
	config := openingConfig(time.Minute)
	for name, id := range e.Identities {
		s := &pgp.Signature{
			Version: primary.Version, SigType: pgp.SigTypeGenericCert, PubKeyAlgo: primary.PubKeyAlgo, Hash: config.Hash(),
			CreationTime: config.Now(), IssuerKeyId: &primary.KeyId, IssuerFingerprint: primary.Fingerprint,
		}
		if err := s.SignUserId(name, e.PrimaryKey, secret, config); err != nil {
			return fmt.Errorf("certify an OpenPGP key: %w", err)
		}
		id.OtherCertifications = append(id.OtherCertifications, pgp.NewVerifiableSig(s))
	}
	return nil
}

func openingConfig(age time.Duration) *pgp.Config {
	born := time.Now().Add(-age)
	return &pgp.Config{Algorithm: pgp.PubKeyAlgoEdDSA, Time: func() time.Time { return born }}
}

func asOpeningKey(e *openpgp.Entity) (*openingKey, error) {
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		return nil, fmt.Errorf("serialize an OpenPGP key: %w", err)
	}
	return &openingKey{e, b.Bytes()}, nil
}

func (k *openingKey) fingerprint() string { return hex.EncodeToString(k.entity.PrimaryKey.Fingerprint) }

// An opened message is what was sealed, and how.
type opened struct {
	plain   []byte
	keys    int    // session key packets
	first   []byte // the first of them
	seipd   int    // version
	subkey  uint64 // id of the subkey it was sealed to
	against []string
}

// maxChunk is the largest chunk of SEIPD 2, as the exponent that is written.
const maxChunk = 12 // 256 KiB

// open opens a sealed message. What its form breaks of section 5.2 is in against.
func (k *openingKey) open(msg []byte) (*opened, error) {
	o, inside, err := k.unseal(msg)
	if err != nil {
		return nil, err
	}
	if err := o.read(inside); err != nil {
		return nil, err
	}
	return o, nil
}

var errNotForKey = errors.New("no session key is encrypted to the recipient's subkey")

// unseal decrypts a message, and returns the packets that were encrypted.
func (k *openingKey) unseal(msg []byte) (o *opened, inside []byte, err error) {
	o = new(opened)
	var session *pgp.EncryptedKey
	var keyVersion byte
	r := pgp.NewOpaqueReader(bytes.NewReader(msg))
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the OpenPGP message: %w", err)
		}
		switch {
		case p.Tag == tagMarker, p.Tag == tagPadding:
		case inside != nil:
			o.against = append(o.against, fmt.Sprintf("a packet with tag %d behind the encrypted data", p.Tag))
		case p.Tag == tagSessionKey && len(p.Contents) > 0:
			o.keys++
			keyVersion = p.Contents[0]
			if o.first == nil {
				o.first = p.Contents
			}
			if session == nil {
				session = k.session(p)
			}
		case p.Tag == tagSealed && len(p.Contents) > 4:
			if session == nil {
				return nil, nil, errNotForKey
			}
			o.seipd, o.subkey = int(p.Contents[0]), session.KeyId
			if o.seipd == 2 && p.Contents[3] > maxChunk {
				o.against = append(o.against, "chunks over 256 KiB")
			}
			if (o.seipd == 2) != (keyVersion == 6) {
				o.against = append(o.against, fmt.Sprintf("a session key of version %d with SEIPD version %d", keyVersion, o.seipd))
			}
			if inside, err = decrypted(p, session); err != nil {
				return nil, nil, err
			}
		default:
			o.against = append(o.against, fmt.Sprintf("a packet with tag %d", p.Tag))
		}
	}
	if inside == nil {
		return nil, nil, errors.New("it holds no integrity protected data")
	}
	if o.keys > 8 {
		o.against = append(o.against, fmt.Sprintf("%d session keys", o.keys))
	}
	return o, inside, nil
}

// session decrypts a session key packet, if one of the key's subkeys does.
func (k *openingKey) session(p *pgp.OpaquePacket) *pgp.EncryptedKey {
	parsed, err := p.Parse()
	if err != nil {
		return nil
	}
	key, is := parsed.(*pgp.EncryptedKey)
	if !is {
		return nil
	}
	for _, sub := range k.entity.Subkeys {
		if key.Decrypt(sub.PrivateKey, nil) == nil {
			key.KeyId = sub.PublicKey.KeyId // version 6 names it by its fingerprint
			return key
		}
	}
	return nil
}

// decrypted returns what encrypted data hold, once their integrity is sure.
func decrypted(p *pgp.OpaquePacket, session *pgp.EncryptedKey) ([]byte, error) {
	parsed, err := p.Parse()
	if err != nil {
		return nil, fmt.Errorf("read the encrypted data: %w", err)
	}
	sealed, is := parsed.(*pgp.SymmetricallyEncrypted)
	if !is {
		return nil, errors.New("the encrypted data is of another kind")
	}
	inside, err := sealed.Decrypt(session.CipherFunc, session.Key)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	b, err := io.ReadAll(inside)
	if err == nil {
		err = inside.Close() // checks its integrity
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return b, nil
}

// read takes the one literal out of decrypted packets.
func (o *opened) read(inside []byte) error {
	r := pgp.NewOpaqueReader(bytes.NewReader(inside))
	for {
		p, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && o.plain == nil:
			return errors.New("it holds no literal packet")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read what is inside: %w", err)
		case p.Tag == tagMarker, p.Tag == tagPadding:
		case p.Tag == tagLiteral && o.plain == nil && len(p.Contents) > 1 && len(p.Contents) >= 6+int(p.Contents[1]):
			o.plain = p.Contents[6+int(p.Contents[1]):]
		case p.Tag == tagCompressed && o.plain == nil:
			// It is opened all the same, so that what is in it can be judged.
			if len(p.Contents) == 0 || p.Contents[0] != algorithmZIP || !stored(p.Contents[1:]) {
				o.against = append(o.against, "compressed data")
			}
			if o.plain, err = decompressed(p); err != nil {
				return err
			}
		default:
			o.against = append(o.against, fmt.Sprintf("a packet with tag %d inside", p.Tag))
		}
	}
}

const algorithmZIP = 1

// stored reports whether raw DEFLATE data are stored blocks alone, which section 5.2 allows.
func stored(b []byte) bool {
	for len(b) >= 5 && b[0]&6 == 0 {
		n := 5 + int(b[1]) + int(b[2])<<8
		if b[0]&1 == 1 {
			return n <= len(b)
		}
		b = b[min(n, len(b)):]
	}
	return false
}

// inflated returns the packets in a compressed one.
func inflated(p *pgp.OpaquePacket) ([]byte, error) {
	parsed, err := p.Parse()
	if err != nil {
		return nil, fmt.Errorf("read compressed data: %w", err)
	}
	compressed, is := parsed.(*pgp.Compressed)
	if !is {
		return nil, errors.New("the compressed data is of another kind")
	}
	inner, err := io.ReadAll(io.LimitReader(compressed.Body, maxFrame))
	if err != nil {
		return nil, fmt.Errorf("read compressed data: %w", err)
	}
	return inner, nil
}

// decompressed returns the literal in a compressed packet.
func decompressed(p *pgp.OpaquePacket) ([]byte, error) {
	packets, err := inflated(p)
	if err != nil {
		return nil, err
	}
	inner, err := pgp.NewOpaqueReader(bytes.NewReader(packets)).Next()
	if err != nil {
		return nil, fmt.Errorf("read compressed data: %w", err)
	}
	if inner.Tag != tagLiteral || len(inner.Contents) < 2 || len(inner.Contents) < 6+int(inner.Contents[1]) {
		return nil, errors.New("the compressed data holds no literal packet")
	}
	return inner.Contents[6+int(inner.Contents[1]):], nil
}

// Further packet types of RFC 9580.
const (
	tagSessionKey = 1
	tagSealed     = 18
)

// A letter is a FORWARD that a client made.
type letter struct {
	g     *guest
	p     *packet
	at    time.Time
	node  string
	wait  bool
	ref   []byte
	how   *opened
	inner *value // the sealed request
	to    string
	mid   []byte
	ended *endToEnd // the SEALED in it that was opened, or nil
	text  string    // of a TEXT, sealed from end to end or not
	taken bool      // a scenario has looked at it
}

// isMessage reports whether it is a FORWARD of a MESSAGE. l may be nil.
func (l *letter) isMessage() bool { return l != nil && l.inner.get("type").num() == sealedMessage }

// user is whose key a FORWARD of GET_USER_KEY asks for, "" for any other.
func (l *letter) user() string {
	if l == nil || l.inner.get("type").num() != sealedGetUserKey {
		return ""
	}
	return l.inner.get("body").get("user").str() + "@" + l.node
}

// Types of what is sealed for a node (section 5.3).
const (
	sealedMessage    = 0
	sealedGetUserKey = 1
)

// version returns the version of a UUID, 0 for what is none.
func version(mid []byte) int {
	if len(mid) != 16 || mid[8]&0xc0 != 0x80 {
		return 0
	}
	return int(mid[6] >> 4)
}

// stamp returns a time as milliseconds.
func stamp(t time.Time) uint64 { return uint64(t.UnixMilli()) }
