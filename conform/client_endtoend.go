package conform

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Types of what is in `msg` (section 8).
const (
	contentText   = 0
	contentSealed = 1
)

// A correspondent is a user whose OpenPGP key the suite has: one with whom the client exchanges messages,
// or the client's own.
type correspondent struct {
	*openingKey
	address string
	signing *signer
}

// newCorrespondent makes a user's key like that of a node (section 5.1).
func newCorrespondent(address string) (*correspondent, error) {
	s, err := newSigner(address)
	if err != nil {
		return nil, err
	}
	key, err := asOpeningKey(s.entity)
	if err != nil {
		return nil, err
	}
	return &correspondent{key, address, s}, nil
}

// secret is the key as programs import it: armored, without a password.
func (c *correspondent) secret() ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PrivateKeyType, nil)
	if err == nil {
		err = c.entity.SerializePrivateWithoutSigning(w, nil)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("serialize an OpenPGP key: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// A signature is how a message is to be signed.
type signature struct {
	by       *correspondent
	intended *openpgp.Entity // the recipient that it names; nil for none
	outside  bool            // it names it where the signature does not cover it
	over     []byte          // what is signed, where not what is sent
	at       time.Time       // its date; zero for now
}

// Subpackets of a signature.
const (
	subCreated  = 2
	subIssuer   = 33
	subIntended = 35
)

// packets are the one-pass signature packet before a literal, and the signature behind it (RFC 9580,
// sections 5.2.3 and 5.4).
func (s signature) packets(plain []byte, last bool) (before, behind []byte) {
	const version, ofBinary, sha256ID = 4, 0, 8
	if s.over != nil {
		plain = s.over
	}
	if s.at.IsZero() {
		s.at = time.Now()
	}
	sub := func(kind byte, parts ...[]byte) []byte {
		b := append([]byte{kind}, slices.Concat(parts...)...)
		return append([]byte{byte(len(b))}, b...)
	}
	id, err := hex.DecodeString(s.by.signing.keyID)
	if err != nil {
		panic(err) // it was made from bytes
	}
	hashed := slices.Concat(
		sub(subCreated, binary.BigEndian.AppendUint32(nil, uint32(s.at.Unix()))),
		sub(subIssuer, []byte{version}, id),
	)
	var unhashed []byte
	if s.intended != nil {
		intended := sub(subIntended, []byte{byte(s.intended.PrimaryKey.Version)}, s.intended.PrimaryKey.Fingerprint)
		if s.outside {
			unhashed = intended
		} else {
			hashed = append(hashed, intended...)
		}
	}
	body := binary.BigEndian.AppendUint16([]byte{version, ofBinary, algorithmEdDSA, sha256ID}, uint16(len(hashed)))
	body = append(body, hashed...)
	trailer := binary.BigEndian.AppendUint32([]byte{version, 0xff}, uint32(len(body)))
	digest := sha256.Sum256(slices.Concat(plain, body, trailer))
	made := ed25519.Sign(s.by.signing.private, digest[:])
	body = binary.BigEndian.AppendUint16(body, uint16(len(unhashed)))
	body = slices.Concat(body, unhashed, digest[:2], mpi(made[:32]), mpi(made[32:]))

	onePass := slices.Concat([]byte{3, ofBinary, sha256ID, algorithmEdDSA}, id[len(id)-8:], []byte{0})
	if last {
		onePass[len(onePass)-1] = 1
	}
	return pgpPacket(tagOnePass, onePass), pgpPacket(tagSignature, body)
}

// mpi encodes a number of arbitrary size.
func mpi(b []byte) []byte {
	b = bytes.TrimLeft(b, "\x00")
	if len(b) == 0 {
		return []byte{0, 0}
	}
	n := 8*(len(b)-1) + bits.Len8(b[0])
	return append(binary.BigEndian.AppendUint16(nil, uint16(n)), b...)
}

const tagOnePass = 4

// sealedFor is a SEALED for the owner of a certificate, signed as often as that.
func sealedFor(to *openpgp.Entity, plain []byte, signatures ...signature) (bin, error) {
	return sealedAs(recipe{}, to, plain, signatures...)
}

// sealedAs is sealedFor by a recipe, whose function is called with the signed packets.
func sealedAs(r recipe, to *openpgp.Entity, plain []byte, signatures ...signature) (bin, error) {
	msg, err := endToEndMessage(r, to, plain, signatures...)
	if err != nil {
		return nil, err
	}
	return asSealed(msg), nil
}

// asSealed is a SEALED with an OpenPGP message.
func asSealed(msg []byte) bin { return bin(fields{"type", contentSealed, "body", bin(msg)}.pack()) }

// endToEndMessage is the OpenPGP message of a SEALED.
func endToEndMessage(r recipe, to *openpgp.Entity, plain []byte, signatures ...signature) ([]byte, error) {
	key, can := to.EncryptionKey(time.Now(), nil)
	if !can {
		return nil, errors.New("the certificate has no valid subkey that encrypts")
	}
	r.aead = r.aead || to.PrimaryKey.Version == 6
	within := r.inside
	r.inside = func(literal []byte) []byte {
		for i, s := range slices.Backward(signatures) { // the innermost is next to the literal
			before, behind := s.packets(plain, i == len(signatures)-1)
			literal = slices.Concat(before, literal, behind)
		}
		if within != nil {
			return within(literal)
		}
		return literal
	}
	return r.seal(plain, key.PublicKey)
}

// An endToEnd is a SEALED that was opened.
type endToEnd struct {
	to         *correspondent
	how        *opened
	signatures []*pgp.Signature
	content    *value // what is inside; nil where it is no msgpack
}

// openEndToEnd opens the OpenPGP message of a SEALED.
func (c *correspondent) openEndToEnd(msg []byte) (*endToEnd, error) {
	how, inside, err := c.unseal(msg)
	if err != nil {
		return nil, err
	}
	e := &endToEnd{to: c, how: how}
	if err := e.read(inside, false); err != nil {
		return nil, err
	}
	if content, err := unpack(how.plain); err == nil && content.end == len(how.plain) {
		e.content = content
	}
	return e, nil
}

// read takes the literal and the signatures out of decrypted packets.
func (e *endToEnd) read(packets []byte, within bool) error {
	var tags []byte
	r := pgp.NewOpaqueReader(bytes.NewReader(packets))
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read what is inside: %w", err)
		}
		if p.Tag == tagMarker || p.Tag == tagPadding {
			continue
		}
		tags = append(tags, p.Tag)
		switch {
		case p.Tag == tagOnePass:
		case p.Tag == tagLiteral && e.how.plain == nil && len(p.Contents) > 1 && len(p.Contents) >= 6+int(p.Contents[1]):
			e.how.plain = p.Contents[6+int(p.Contents[1]):]
		case p.Tag == tagSignature:
			parsed, err := p.Parse()
			if err != nil {
				return fmt.Errorf("read a signature: %w", err)
			}
			if s, is := parsed.(*pgp.Signature); is {
				e.signatures = append(e.signatures, s)
				if s.SigType != pgp.SigTypeBinary {
					e.how.against = append(e.how.against, fmt.Sprintf("a signature of type 0x%02x", byte(s.SigType)))
				}
			}
		case p.Tag == tagCompressed && !within && e.how.plain == nil:
			// It is opened all the same, so that what is in it can be judged.
			if len(p.Contents) == 0 || p.Contents[0] != algorithmZIP || !stored(p.Contents[1:]) {
				e.how.against = append(e.how.against, "compressed data")
			}
			inner, err := inflated(p)
			if err != nil {
				return err
			}
			if err := e.read(inner, true); err != nil {
				return err
			}
		default:
			return fmt.Errorf("a packet with tag %d inside", p.Tag)
		}
	}
	if form := string(tags); form != string([]byte{tagLiteral}) && form != string([]byte{tagOnePass, tagLiteral, tagSignature}) && form != string([]byte{tagCompressed}) {
		e.how.against = append(e.how.against, fmt.Sprintf("packets with the tags %d inside", tags))
	}
	if e.how.plain == nil {
		return errors.New("it holds no literal packet")
	}
	return nil
}

// text is that of a TEXT inside, "" for what is none.
func (e *endToEnd) text() string {
	if e.content.get("type").num() != contentText {
		return ""
	}
	return e.content.get("body").get("text").str()
}

// maxAhead is how far the date of a signature may be ahead of a client's clock, and maxBehind how far behind
// the `time` of its DELIVER.
const (
	maxAhead  = time.Hour
	maxBehind = 10 * 24 * time.Hour
)

// signedBy says why a message is not signed at a time as section 8 wants it: by the owner of a certificate, for
// the one whose key opened it.
func (e *endToEnd) signedBy(certificate *openpgp.Entity, now time.Time) error {
	if len(e.signatures) == 0 {
		return errors.New("it has no signature")
	}
	why := errors.New("no signature is of the certificate's owner")
	for _, s := range e.signatures {
		if s.IssuerKeyId == nil {
			continue
		}
		key, has := certificate.SigningKeyById(s.CreationTime, *s.IssuerKeyId, nil)
		if !has { // a newer certificate may have other dates
			key, has = certificate.SigningKeyById(now, *s.IssuerKeyId, nil)
		}
		if !has || key.PublicKey.KeyId != *s.IssuerKeyId {
			continue
		}
		h, err := s.PrepareVerify()
		if err == nil {
			_, _ = h.Write(e.how.plain) // a hash takes everything
			err = key.PublicKey.VerifySignature(h, s)
		}
		if err != nil {
			why = fmt.Errorf("the signature does not hold: %w", err)
			continue
		}
		if s.CreationTime.After(now.Add(maxAhead)) {
			why = errors.New("the signature is of the future")
			continue
		}
		// Those that the signature does not cover are not among them.
		if slices.ContainsFunc(s.IntendedRecipients, func(r *pgp.Recipient) bool {
			return bytes.Equal(r.Fingerprint, e.to.entity.PrimaryKey.Fingerprint)
		}) {
			return nil
		}
		why = errors.New("the signature does not name the recipient's certificate")
	}
	return why
}
