package seal

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Seal seals plaintext for the owner of the certificate (section 5.2): one
// session key, to the newest encryption subkey that is valid at now, an ML-KEM
// one where there is one; an encrypted packet of version 2 where the
// certificate's features say so, else of version 1; one literal packet, neither
// compressed nor signed.
//
// The message is longer than plaintext by less than 200 bytes, or 1,300 with
// ML-KEM, and by 16 for every 4,096 bytes. Where the certificate has nothing valid to
// seal to, the error wraps [ErrCannotSeal].
func (c *Certificate) Seal(plaintext []byte, now time.Time) ([]byte, error) {
	to, err := c.recipientAt(now)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate %s: %w", ErrCannotSeal, c.fingerprint, err)
	}
	msg, err := to.seal(plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal: certificate %s: %w", c.fingerprint, err)
	}
	return msg, nil
}

func (r *recipient) seal(plaintext []byte) ([]byte, error) {
	pair, err := r.newSessionKey()
	if err != nil {
		return nil, err
	}
	defer clear(pair.key)
	return r.sealWith(pair, plaintext)
}

// A sessionKeyPair is a session key in clear and as the packet that says it to
// the recipient.
type sessionKeyPair struct {
	key    []byte
	packet []byte
}

func (r *recipient) newSessionKey() (sessionKeyPair, error) {
	cipher := r.cipher
	if r.aead {
		cipher = r.suite.Cipher
	}
	key := make([]byte, cipher.KeySize())
	rand.Read(key)
	var wrapped bytes.Buffer
	if err := packet.SerializeEncryptedKeyAEAD(&wrapped, r.key, cipher, r.aead, key, nil); err != nil {
		return sessionKeyPair{}, err
	}
	return sessionKeyPair{key, wrapped.Bytes()}, nil
}

func (r *recipient) sealWith(pair sessionKeyPair, plaintext []byte) ([]byte, error) {
	return r.sealPackets(pair, appendLiteralHeader(nil, len(plaintext)), plaintext)
}

// appendLiteralHeader appends the start of a literal packet of n bytes of binary data without a
// name or a date.
func appendLiteralHeader(b []byte, n int) []byte {
	return append(appendHeader(b, typeLiteral, 6+n), 'b', 0, 0, 0, 0, 0)
}

// sealPackets encrypts packets whose first bytes, fewer than chunkSize, are header and the others rest.
func (r *recipient) sealPackets(pair sessionKeyPair, header, rest []byte) ([]byte, error) {
	size := mdcBodySize(len(header) + len(rest))
	if r.aead {
		size = aeadBodySize(len(header) + len(rest))
	}
	msg := make([]byte, 0, len(pair.packet)+maxHeaderSize+size)
	msg = append(msg, pair.packet...)
	if r.aead {
		return appendAEAD(msg, r.suite, pair.key, header, rest)
	}
	return appendMDC(msg, pair.key, header, rest)
}
