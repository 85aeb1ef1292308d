package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/eax"
	"github.com/ProtonMail/go-crypto/ocb"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Encrypted packets are made and opened here and not by the library, which hands
// out what it decrypts before the integrity check at the end, takes a whole
// chunk, up to 256 KiB, for a message of any size, and copies what it encrypts
// several times. Here each direction makes one copy and works in it.

// errIntegrity is deliberately the same for whatever does not match.
var errIntegrity = errors.New("integrity check failed")

// A sessionKey is the key of an encrypted packet.
type sessionKey struct {
	cipher packet.CipherFunction // in version 1; in version 2 the packet names it
	key    []byte
}

// checkCipher lets AES alone pass: RFC 9580, section 9.3, forbids to encrypt
// with the older ciphers.
func checkCipher(c packet.CipherFunction, key []byte) error {
	switch c {
	case packet.CipherAES128, packet.CipherAES192, packet.CipherAES256:
	default:
		return fmt.Errorf("cipher %d is not AES", c)
	}
	if len(key) != c.KeySize() {
		return errors.New("session key and cipher differ in size")
	}
	return nil
}

// Version 1 (RFC 9580, section 5.13.1), in CFB mode after the version: a random
// block, whose last two bytes come twice, the packets, two fixed bytes, and the
// SHA-1 of all of it.
const (
	mdcRandomSize = aes.BlockSize + 2
	mdcSize       = 2 + sha1.Size
)

var mdcHead = [2]byte{0xd3, sha1.Size}

// decryptMDC decrypts the body of an encrypted packet of version 1 in place and
// returns the packets inside.
func decryptMDC(body []byte, key sessionKey) ([]byte, error) {
	if err := checkCipher(key.cipher, key.key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key.key)
	if err != nil {
		return nil, err
	}
	body = body[1:]
	if len(body) < mdcRandomSize+mdcSize {
		return nil, errTruncated
	}
	// NewOCFBDecrypter decrypts the random block, in place like the rest.
	stream := packet.NewOCFBDecrypter(block, body[:mdcRandomSize], packet.OCFBNoResync)
	stream.XORKeyStream(body[mdcRandomSize:], body[mdcRandomSize:])

	hashed, got := body[:len(body)-sha1.Size], body[len(body)-sha1.Size:]
	want := sha1.Sum(hashed)
	packets, head := hashed[mdcRandomSize:len(hashed)-2], hashed[len(hashed)-2:]
	if subtle.ConstantTimeCompare(got, want[:])&subtle.ConstantTimeCompare(head, mdcHead[:]) != 1 {
		return nil, errIntegrity
	}
	return packets, nil
}

// appendMDC appends to b an encrypted packet of version 1 with header and
// plaintext inside, which are packets together.
func appendMDC(b, key, header, plaintext []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	random := make([]byte, aes.BlockSize)
	rand.Read(random)
	stream, encrypted := packet.NewOCFBEncrypter(block, random, packet.OCFBNoResync)

	hash := sha1.New()
	for _, hashed := range [][]byte{random, random[aes.BlockSize-2:], header, plaintext, mdcHead[:]} {
		hash.Write(hashed)
	}
	b = appendHeader(b, typeEncrypted, mdcBodySize(len(header)+len(plaintext)))
	b = append(b, 1)
	b = append(b, encrypted...)
	at := len(b)
	b = append(b, header...)
	b = append(b, plaintext...)
	b = append(b, mdcHead[:]...)
	b = hash.Sum(b)
	stream.XORKeyStream(b[at:], b[at:])
	return b, nil
}

func mdcBodySize(packets int) int { return 1 + mdcRandomSize + packets + mdcSize }

// Version 2 (RFC 9580, section 5.13.2): a header of version, cipher, mode, chunk
// size and salt, the packets in chunks, each with its tag, and the tag of their
// total length.
const (
	aeadHeaderSize   = 4 + 32
	aeadTagSize      = 16 // in each mode
	maxAEADNonceSize = 16
)

// A chunkCipher encrypts or decrypts the chunks of one packet of version 2.
type chunkCipher struct {
	aead  cipher.AEAD
	info  []byte // associated data of each chunk
	nonce []byte
}

// newChunkCipher derives the key of a packet with the given header.
func newChunkCipher(header, key []byte) (chunkCipher, error) {
	var c chunkCipher
	if err := checkCipher(packet.CipherFunction(header[1]), key); err != nil {
		return c, err
	}
	c.info = append([]byte{0xc0 | typeEncrypted}, header[:4]...)
	secret, err := hkdf.Key(sha256.New, key, header[4:aeadHeaderSize], string(c.info), len(key)+maxAEADNonceSize-8)
	if err != nil {
		return c, err
	}
	block, err := aes.NewCipher(secret[:len(key)])
	if err != nil {
		return c, err
	}
	switch mode := packet.AEADMode(header[2]); mode {
	case packet.AEADModeGCM:
		c.aead, err = cipher.NewGCM(block)
	case packet.AEADModeOCB:
		c.aead, err = ocb.NewOCB(block)
	case packet.AEADModeEAX:
		c.aead, err = eax.NewEAX(block)
	default:
		err = fmt.Errorf("AEAD mode %d", mode)
	}
	if err != nil {
		return c, err
	}
	c.nonce = make([]byte, c.aead.NonceSize())
	copy(c.nonce[:len(c.nonce)-8], secret[len(key):])
	return c, nil
}

// at returns the nonce of the chunk of that index, counted from 0; that of the
// last tag goes on counting.
func (c *chunkCipher) at(index int) []byte {
	binary.BigEndian.PutUint64(c.nonce[len(c.nonce)-8:], uint64(index))
	return c.nonce
}

// total returns the associated data of the last tag.
func (c *chunkCipher) total(packets int) []byte {
	return binary.BigEndian.AppendUint64(c.info[:len(c.info):len(c.info)], uint64(packets))
}

// decryptAEAD decrypts the body of an encrypted packet of version 2 in place
// and returns the packets inside.
func decryptAEAD(body, key []byte) ([]byte, error) {
	c, err := newChunkCipher(body[:aeadHeaderSize], key)
	if err != nil {
		return nil, err
	}
	size := 1<<(body[3]+6) + aeadTagSize
	b := body[aeadHeaderSize:]
	if len(b) < aeadTagSize {
		return nil, errTruncated
	}
	b, last := b[:len(b)-aeadTagSize], b[len(b)-aeadTagSize:]
	packets := b[:0]
	chunks := 0
	for ; len(b) > 0; chunks++ {
		chunk := b[:min(size, len(b))]
		b = b[len(chunk):]
		chunk, err := c.aead.Open(chunk[:0], c.at(chunks), chunk, c.info)
		if err != nil {
			return nil, errIntegrity
		}
		packets = append(packets, chunk...)
	}
	if _, err := c.aead.Open(nil, c.at(chunks), last, c.total(len(packets))); err != nil {
		return nil, errIntegrity
	}
	return packets, nil
}

// chunkSize is that of the chunks we write. Some programs hold a whole one in
// memory, also for a short message.
const chunkSize = 1 << (chunkOctet + 6)

const chunkOctet = 6

// appendAEAD appends to b an encrypted packet of version 2 with header, of fewer
// than chunkSize bytes, and plaintext inside, which are packets together.
func appendAEAD(b []byte, suite packet.CipherSuite, key, header, plaintext []byte) ([]byte, error) {
	b = appendHeader(b, typeEncrypted, aeadBodySize(len(header)+len(plaintext)))
	start := len(b)
	b = append(b, 2, byte(suite.Cipher), byte(suite.Mode), chunkOctet)
	b = append(b, make([]byte, aeadHeaderSize-4)...)
	rand.Read(b[start+4:])
	c, err := newChunkCipher(b[start:], key)
	if err != nil {
		return nil, err
	}
	total := c.total(len(header) + len(plaintext))
	chunks := 0
	for ; len(header)+len(plaintext) > 0; chunks++ {
		at := len(b)
		b = append(b, header...)
		n := min(chunkSize-len(header), len(plaintext))
		b = append(b, plaintext[:n]...)
		header, plaintext = nil, plaintext[n:]
		b = c.aead.Seal(b[:at], c.at(chunks), b[at:], c.info)
	}
	return c.aead.Seal(b, c.at(chunks), nil, total), nil
}

func aeadBodySize(packets int) int {
	chunks := (packets + chunkSize - 1) / chunkSize
	return aeadHeaderSize + packets + (chunks+1)*aeadTagSize
}
