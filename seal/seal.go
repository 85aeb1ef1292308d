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
// ML-KEM, and by 16 for every 4,096 bytes. An error says that the certificate
// has nothing valid to seal to.
func (c *Certificate) Seal(plaintext []byte, now time.Time) ([]byte, error) {
	to, err := c.recipientAt(now)
	if err != nil {
		return nil, fmt.Errorf("seal: certificate %s: %w", c.fingerprint, err)
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
	// A literal packet of binary data without a name or a date.
	header := appendHeader(nil, typeLiteral, 6+len(plaintext))
	header = append(header, 'b', 0, 0, 0, 0, 0)
	size := mdcBodySize(len(header) + len(plaintext))
	if r.aead {
		size = aeadBodySize(len(header) + len(plaintext))
	}
	msg := make([]byte, 0, len(pair.packet)+maxHeaderSize+size)
	msg = append(msg, pair.packet...)
	if r.aead {
		return appendAEAD(msg, r.suite, pair.key, header, plaintext)
	}
	return appendMDC(msg, pair.key, header, plaintext)
}
