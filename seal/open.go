package seal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Bounds of section 5.2 on a message that comes in.
const (
	maxSessionKeys = 8
	maxChunkOctet  = 12 // a chunk is 1<<(octet+6) bytes: 256 KiB
)

// Open opens a message sealed to the key's certificate by whatever program
// (section 5.2) and returns what its literal packet holds. Subkeys that expired
// or were revoked up to 30 days before now still open (section 5.1).
//
// Open keeps the message's form to the letter of section 5.2, looks at nothing
// inside before all of it has passed its integrity check, and needs time and
// memory in proportion to msg: one copy of it, which the result is a part of.
// It does not change msg. Errors wrap [ErrCannotOpen] or [ErrMessage].
func (k *NodeKey) Open(msg []byte, now time.Time) ([]byte, error) {
	e, err := parseEnvelope(msg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return k.open(e, now)
}

func (k *NodeKey) open(e *envelope, now time.Time) ([]byte, error) {
	key, err := unwrapFirst(e.keys, k.decryption, now)
	if err != nil {
		return nil, err
	}
	defer clear(key.key)
	return e.open(key)
}

// open returns the contents of the message, whose session key is key.
func (e *envelope) open(key sessionKey) ([]byte, error) {
	packets, err := e.decrypt(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	plaintext, err := readLiteral(packets)
	if err != nil {
		return nil, fmt.Errorf("%w: inside: %w", ErrMessage, err)
	}
	return plaintext, nil
}

// An envelope is the outside of a sealed message.
type envelope struct {
	keys []wrappedKey // 1 to maxSessionKeys
	data rawPacket    // the encrypted packet
}

// version is that of the encrypted packet, 1 or 2.
func (e *envelope) version() byte { return e.data.head[0] }

// parseEnvelope reads the packets of a message and checks everything about
// them that can be checked without a key.
func parseEnvelope(msg []byte) (*envelope, error) {
	e := new(envelope)
	for len(msg) > 0 {
		p, rest, err := nextPacket(msg)
		if err != nil {
			return nil, err
		}
		msg = rest
		sealed := e.data.raw != nil
		switch {
		case p.skipped():
		case p.kind == typeSessionKey && !sealed:
			if len(e.keys) == maxSessionKeys {
				return nil, fmt.Errorf("more than %d session keys", maxSessionKeys)
			}
			key, err := parseWrappedKey(p)
			if err != nil {
				return nil, err
			}
			e.keys = append(e.keys, key)
		case p.kind == typeEncrypted && !sealed:
			e.data = p
		default:
			return nil, p.refused()
		}
	}
	if e.data.raw == nil {
		return nil, errors.New("no encrypted packet")
	}
	if len(e.keys) == 0 {
		return nil, errors.New("no session key")
	}
	return e, e.check()
}

// check checks the encrypted packet's header and the versions of the session
// keys, which go with its version alone.
func (e *envelope) check() error {
	if len(e.data.head) == 0 {
		return errTruncated
	}
	var keyVersion byte
	switch e.version() {
	case 1:
		keyVersion = 3
	case 2:
		keyVersion = 6
		if len(e.data.head) < aeadHeaderSize {
			return errTruncated
		}
		if octet := e.data.head[3]; octet > maxChunkOctet {
			return fmt.Errorf("chunks of 2^%d bytes", int(octet)+6)
		}
	default:
		return fmt.Errorf("encrypted packet of version %d", e.version())
	}
	for _, key := range e.keys {
		if key.version != keyVersion {
			return fmt.Errorf("session key of version %d with an encrypted packet of version %d", key.version, e.version())
		}
	}
	return nil
}

// decrypt returns the packets inside, of which nothing is seen before all have
// passed the integrity check.
func (e *envelope) decrypt(key sessionKey) ([]byte, error) {
	body := e.data.appendBody(make([]byte, 0, len(e.data.raw)))
	if e.version() == 1 {
		return decryptMDC(body, key)
	}
	return decryptAEAD(body, key.key)
}

// A wrappedKey is a session key packet (PKESK) of version 3 or 6. It says for
// whom it is; its inside is left to the library, once it is for us.
type wrappedKey struct {
	version     byte
	raw         []byte
	id          uint64 // version 3: the recipient's key id, 0 for a hidden one
	keyVersion  byte   // version 6: of the recipient's key, 0 for a hidden one
	fingerprint []byte // version 6
	fields      []byte // the key's algorithm and the encrypted session key
}

func parseWrappedKey(p rawPacket) (wrappedKey, error) {
	w := wrappedKey{raw: p.raw}
	b := p.head
	if p.tail != nil {
		return w, errors.New("session key in pieces")
	}
	if len(b) < 2 {
		return w, errTruncated
	}
	w.version = b[0]
	switch w.version {
	case 3:
		if len(b) < 1+8 {
			return w, errTruncated
		}
		w.id, w.fields = binary.BigEndian.Uint64(b[1:]), b[9:]
	case 6:
		n := int(b[1])
		if len(b) < 2+n {
			return w, errTruncated
		}
		if n > 0 {
			w.keyVersion, w.fingerprint = b[2], b[3:2+n]
		}
		w.fields = b[2+n:]
	default:
		return w, fmt.Errorf("session key of version %d", w.version)
	}
	return w, nil
}

func (w *wrappedKey) hidden() bool { return w.id == 0 && w.keyVersion == 0 }

func (w *wrappedKey) isFor(key *packet.PublicKey) bool {
	if w.version == 3 {
		return w.id == key.KeyId
	}
	return int(w.keyVersion) == key.Version && bytes.Equal(w.fingerprint, key.Fingerprint)
}

// unwrapFirst unwraps the first of the session keys that one of our keys fits. A
// hidden recipient may be any of ours. What is addressed to us and cannot be
// unwrapped is a fault of the message.
func unwrapFirst(wrapped []wrappedKey, keys []decryptionKey, now time.Time) (sessionKey, error) {
	var broken error
	for _, w := range wrapped {
		for _, own := range keys {
			if !own.opensAt(now) || !w.hidden() && !w.isFor(&own.key.PublicKey) {
				continue
			}
			key, err := w.unwrap(own.key)
			if err == nil {
				return key, nil
			}
			if !w.hidden() {
				broken = err
			}
		}
	}
	if broken != nil {
		return sessionKey{}, fmt.Errorf("%w: session key: %w", ErrMessage, broken)
	}
	return sessionKey{}, ErrCannotOpen
}

func (w *wrappedKey) unwrap(own *packet.PrivateKey) (sessionKey, error) {
	if err := w.checkFields(); err != nil {
		return sessionKey{}, err
	}
	p, err := packet.Read(bytes.NewReader(w.raw))
	if err != nil {
		return sessionKey{}, err
	}
	e, ok := p.(*packet.EncryptedKey)
	if !ok {
		return sessionKey{}, fmt.Errorf("read as %T", p)
	}
	if err := e.Decrypt(own, nil); err != nil {
		return sessionKey{}, err
	}
	return sessionKey{e.CipherFunc, e.Key}, nil
}

// checkFields refuses the spellings of an encrypted session key that mean the
// same and that the library takes for it, for the algorithms of node keys: so
// no byte of a message can be changed without notice.
func (w *wrappedKey) checkFields() error {
	if len(w.fields) == 0 {
		return errTruncated
	}
	var size int // of the fields before the wrapped key, which has a length octet
	switch packet.PublicKeyAlgorithm(w.fields[0]) {
	case packet.PubKeyAlgoECDH:
		// An MPI of 263 bits: 0x40, then a point of Curve25519, which has 255.
		size = 1 + 2 + 33
		if len(w.fields) > size && (!bytes.HasPrefix(w.fields[1:], []byte{0x01, 0x07, 0x40}) || w.fields[size-1]&0x80 != 0) {
			return errors.New("not a point of Curve25519")
		}
	case packet.PubKeyAlgoMlkem768X25519:
		size = 1 + 32 + 1088
	default:
		return fmt.Errorf("key algorithm %d", w.fields[0])
	}
	if len(w.fields) <= size || len(w.fields) != size+1+int(w.fields[size]) {
		return errors.New("fields of a wrong length")
	}
	return nil
}

// readLiteral returns the contents of the one literal packet that the
// decrypted packets must be, which it may move within b.
func readLiteral(b []byte) ([]byte, error) {
	in, err := readInside(b, false)
	if err != nil {
		return nil, err
	}
	return in.contents()
}

// An inside is what is encrypted in a message: a literal packet, and the two packets around it
// where it is signed.
type inside struct {
	onePass, literal, signature rawPacket
}

// readInside sorts the packets in b, where all of them may be in one compressed packet that
// compresses nothing. It refuses those of a signature unless signed.
func readInside(b []byte, signed bool) (inside, error) {
	in, compressed, err := sortInside(b, signed)
	if err == nil && compressed.raw != nil {
		if b, err = readPadded(compressed.appendBody(compressed.head[:0])); err != nil {
			return inside{}, err
		}
		in, compressed, err = sortInside(b, signed)
		if err == nil && compressed.raw != nil {
			return inside{}, compressed.refused()
		}
	}
	return in, err
}

func sortInside(b []byte, signed bool) (in inside, compressed rawPacket, err error) {
	for len(b) > 0 {
		p, rest, err := nextPacket(b)
		if err != nil {
			return inside{}, rawPacket{}, err
		}
		b = rest
		first := in.onePass.raw == nil && in.literal.raw == nil && compressed.raw == nil
		switch {
		case p.skipped():
		case p.kind == typeOnePassSignature && signed && first:
			in.onePass = p
		case p.kind == typeLiteral && (in.literal.raw != nil || compressed.raw != nil):
			return inside{}, rawPacket{}, errors.New("second literal packet")
		case p.kind == typeLiteral:
			in.literal = p
		case p.kind == typeSignature && in.onePass.raw != nil && in.literal.raw != nil && in.signature.raw == nil:
			in.signature = p
		case p.kind == typeCompressed && first:
			compressed = p
		default:
			return inside{}, rawPacket{}, p.refused()
		}
	}
	switch {
	case in.literal.raw == nil && compressed.raw == nil:
		return inside{}, rawPacket{}, errors.New("no literal packet")
	case in.onePass.raw != nil && in.signature.raw == nil:
		return inside{}, rawPacket{}, errors.New("one-pass signature packet without a signature")
	case in.signature.tail != nil:
		return inside{}, rawPacket{}, errors.New("signature in pieces")
	}
	return in, compressed, nil
}

// contents returns what the literal packet holds, which it may move. The file name, the
// date and the hint at the kind of contents mean nothing here.
func (in *inside) contents() ([]byte, error) {
	literal := in.literal.appendBody(in.literal.head[:0])
	if len(literal) < 2 || len(literal) < 2+int(literal[1])+4 {
		return nil, errTruncated
	}
	contents := literal[2+int(literal[1])+4:]
	return contents[:len(contents):len(contents)], nil
}
