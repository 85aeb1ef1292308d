package conform

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// A nodeKey is the OpenPGP certificate of the node, as it serves it.
type nodeKey struct {
	bytes  []byte
	entity *openpgp.Entity
	to     *pgp.PublicKey // the newest ECDH encryption subkey
	header http.Header    // it came with
	status int
}

const algorithmECDH, algorithmEdDSA = 18, 22

func (s *suite) fetchKey(ctx context.Context) (*nodeKey, error) {
	response, b, err := s.http(ctx, http.MethodGet, "/api/public_key", nil, nil)
	if err != nil {
		return nil, err
	}
	entity, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, fmt.Errorf("read /api/public_key (%s): %w", response.Status, err)
	}
	k := &nodeKey{bytes: b, entity: entity, header: response.Header, status: response.StatusCode}
	for i := range entity.Subkeys {
		sub := &entity.Subkeys[i]
		sig, err := sub.LatestValidBindingSignature(time.Now(), nil)
		if err != nil || sub.Revoked(sig, time.Now()) || sub.Expired(sig, time.Now()) {
			continue // not to be used
		}
		if sub.PublicKey.PubKeyAlgo == algorithmECDH && (k.to == nil || sub.PublicKey.CreationTime.After(k.to.CreationTime)) {
			k.to = sub.PublicKey
		}
	}
	if k.to == nil {
		return nil, errors.New("the certificate has no valid ECDH subkey")
	}
	return k, nil
}

// A session is a session key with its encrypted form, for more than one message.
type session struct{ key, packets []byte }

// A recipe is how a message is sealed. The zero recipe is what a good client makes in SEIPD
// version 1.
type recipe struct {
	to       *pgp.PublicKey // nil: the node's
	aead     bool           // SEIPD version 2, else 1
	aeadKey  bool           // session keys of version 6, else 3; as aead unless crossed
	crossed  bool
	chunk    uint64 // of SEIPD 2; 0 for 4 KiB
	keys     int    // session key packets; 0 for 1
	password bool   // a session key packet by a password besides
	inside   func(literal []byte) []byte
	data     func(sealed []byte) []byte // changes the body of the encrypted packet; nil for that as it is
	before   []byte
	behind   []byte
	session  *session // nil: one of its own; an empty one is filled
}

// pgpPacket is a packet with a header of the new format.
func pgpPacket(tag byte, body []byte) []byte {
	b := append([]byte{0xc0 | tag, 0xff}, binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	return append(b, body...)
}

// Packet types of RFC 9580.
const (
	tagSignature   = 2
	tagCompressed  = 8
	tagUnprotected = 9
	tagMarker      = 10
	tagLiteral     = 11
	tagPadding     = 21
)

func literal(plain []byte) []byte {
	return pgpPacket(tagLiteral, append([]byte{'b', 0, 0, 0, 0, 0}, plain...))
}

// seal seals plain as the recipe says.
func (t *T) seal(plain []byte, r recipe) []byte {
	b, err := r.seal(plain, t.s.key.to)
	if err != nil {
		t.fatal(nil, "a sealed message", err.Error())
	}
	return b
}

func (r recipe) seal(plain []byte, node *pgp.PublicKey) ([]byte, error) {
	if r.to == nil {
		r.to = node
	}
	if r.keys == 0 {
		r.keys = 1
	}
	if !r.crossed {
		r.aeadKey = r.aead
	}
	if r.chunk == 0 {
		r.chunk = 4096
	}
	config := &pgp.Config{DefaultCipher: pgp.CipherAES256, AEADConfig: &pgp.AEADConfig{ChunkSize: r.chunk}}
	if r.session == nil {
		r.session = new(session)
	}
	if r.session.key == nil {
		r.session.key = randomBytes(32)
		for range r.keys {
			one, err := encryptedKey(r.to, r.aeadKey, r.session.key)
			if err != nil {
				return nil, err
			}
			r.session.packets = append(r.session.packets, one...)
		}
	}
	key := r.session.key
	var b bytes.Buffer
	b.Write(r.before)
	b.Write(r.session.packets)
	if r.password {
		if err := pgp.SerializeSymmetricKeyEncryptedAEADReuseKey(&b, key, []byte("password"), r.aead, config); err != nil {
			return nil, fmt.Errorf("encrypt a session key by a password: %w", err)
		}
	}
	suite := pgp.CipherSuite{Cipher: pgp.CipherAES256, Mode: pgp.AEADModeOCB}
	var sealed bytes.Buffer
	w, err := pgp.SerializeSymmetricallyEncrypted(&sealed, pgp.CipherAES256, r.aead, suite, key, config)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	inner := literal(plain)
	if r.inside != nil {
		inner = r.inside(inner)
	}
	if _, err := w.Write(inner); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	// The library writes a body in parts; one length serves as well and is as gpg has it.
	body, err := whole(sealed.Bytes())
	if err != nil {
		return nil, err
	}
	if r.data != nil {
		body = r.data(body)
	}
	b.Write(pgpPacket(tagSealed, body))
	b.Write(r.behind)
	return b.Bytes(), nil
}

// encryptedKey is a session key packet, of version 6 or 3.
func encryptedKey(to *pgp.PublicKey, version6 bool, key []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := pgp.SerializeEncryptedKeyAEAD(&b, to, pgp.CipherAES256, version6, key, nil); err != nil {
		return nil, fmt.Errorf("encrypt a session key: %w", err)
	}
	return b.Bytes(), nil
}

// unprotected seals in a packet of the kind that has no integrity protection (RFC 9580, section 5.7).
func unprotected(plain []byte, to *pgp.PublicKey) ([]byte, error) {
	key, inner := randomBytes(32), literal(plain)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	packets, err := encryptedKey(to, false, key)
	if err != nil {
		return nil, err
	}
	stream, prefix := pgp.NewOCFBEncrypter(block, randomBytes(block.BlockSize()), pgp.OCFBResync)
	stream.XORKeyStream(inner, inner)
	return append(packets, pgpPacket(tagUnprotected, slices.Concat(prefix, inner))...), nil
}

// whole joins the parts of a packet's body.
func whole(b []byte) ([]byte, error) {
	p, err := pgp.NewOpaqueReader(bytes.NewReader(b)).Next()
	if err != nil {
		return nil, fmt.Errorf("read an encrypted packet: %w", err)
	}
	return p.Contents, nil
}

// uncompressed makes a compressed packet of others, by no algorithm.
func uncompressed(inner []byte) []byte { return pgpPacket(tagCompressed, append([]byte{0}, inner...)) }

// inBlocks makes one by ZIP in which nothing is compressed: blocks of at most that many bytes, and
// padding behind the last.
func inBlocks(block, padding int) func(inner []byte) []byte {
	return func(inner []byte) []byte {
		b := []byte{1}
		for more := true; more; {
			n := min(block, len(inner))
			last := byte(0)
			if more = n < len(inner); !more {
				last = 1
			}
			b = append(b, last)
			b = binary.LittleEndian.AppendUint16(b, uint16(n))
			b = binary.LittleEndian.AppendUint16(b, ^uint16(n))
			b = append(b, inner[:n]...)
			inner = inner[n:]
		}
		return pgpPacket(tagCompressed, append(b, randomBytes(padding)...))
	}
}

// zipped makes one by ZIP, which is DEFLATE.
func (t *T) zipped(inner []byte) []byte {
	return pgpPacket(tagCompressed, append([]byte{1}, t.deflated(flate.BestCompression, inner)...))
}

// zippedLater makes one by ZIP whose first block is stored, and empty.
func (t *T) zippedLater(inner []byte) []byte {
	empty := []byte{0, 0, 0, 0xff, 0xff}
	return pgpPacket(tagCompressed, slices.Concat([]byte{1}, empty, t.deflated(flate.BestCompression, inner)))
}

// zlibbed makes one by ZLIB in which nothing is compressed.
func (t *T) zlibbed(inner []byte) []byte {
	sum := binary.BigEndian.AppendUint32(nil, adler32.Checksum(inner))
	return pgpPacket(tagCompressed, slices.Concat([]byte{2, 0x78, 0x01}, t.deflated(flate.NoCompression, inner), sum))
}

func (t *T) deflated(level int, b []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.fatal(nil, "compressed bytes", err.Error())
	}
	return out.Bytes()
}

// newEntity makes a key that is not the node's.
func (t *T) newEntity() *openpgp.Entity {
	e, err := openpgp.NewEntity(t.s.run, "", "", &pgp.Config{Algorithm: pgp.PubKeyAlgoEdDSA})
	if err != nil {
		t.fatal(nil, "an OpenPGP key", err.Error())
	}
	return e
}

func serialized(t *T, write func(io.Writer) error) []byte {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.fatal(nil, "a serialized key", err.Error())
	}
	return b.Bytes()
}

// certificate makes a user's certificate.
func (t *T) certificate() []byte { return serialized(t, t.newEntity().Serialize) }

// randomBytes returns n of them.
func randomBytes(n int) bin {
	b := make(bin, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// message is a sealed request MESSAGE.
func message(to string, mid bin, msg []byte) raw {
	return fields{"type", 0, "body", fields{"to", to, "mid", mid, "msg", bin(msg)}}.pack()
}

// userKey is a sealed request GET_USER_KEY.
func userKey(user string, seal bin) raw {
	return fields{"type", 1, "body", fields{"user", user, "seal", seal}}.pack()
}

// openAnswer opens a sealed answer (section 5.3).
func openAnswer(seal, b []byte) (*value, error) {
	if len(b) != 12+8256+16 {
		return nil, fmt.Errorf("it has %d bytes, not 8,284", len(b))
	}
	block, err := aes.NewCipher(seal)
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	plain, err := aead.Open(nil, b[:12], b[12:], nil)
	if err != nil {
		return nil, fmt.Errorf("open it: %w", err)
	}
	v, err := unpack(plain)
	if err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	if len(bytes.Trim(plain[v.end:], "\x00")) > 0 {
		return nil, errors.New("behind the map are other bytes than zero")
	}
	return v, nil
}

// sealAnswer is what openAnswer opens. The key has 32 bytes.
func sealAnswer(seal []byte, answer []byte) []byte {
	plain := make([]byte, 8256)
	copy(plain, answer)
	block, err := aes.NewCipher(seal)
	if err != nil {
		panic(err) // of another key length alone
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // never
	}
	nonce := randomBytes(12)
	return aead.Seal(nonce, nonce, plain, nil)
}

// secretKey serializes an entity with its secret packets.
func secretKey(t *T, e *openpgp.Entity) []byte {
	return serialized(t, func(w io.Writer) error { return e.SerializePrivateWithoutSigning(w, nil) })
}

// armored is a certificate as text.
func armored(t *T, certificate []byte) []byte {
	return serialized(t, func(w io.Writer) error {
		a, err := armor.Encode(w, openpgp.PublicKeyType, nil)
		if err != nil {
			return err
		}
		if _, err := a.Write(certificate); err != nil {
			return err
		}
		return a.Close()
	})
}
