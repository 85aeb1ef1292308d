package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of OpenPGP packets (RFC 9580, section 5).
const (
	typeSessionKey         = 1 // a session key encrypted to a public key (PKESK)
	typeSignature          = 2
	typePasswordSessionKey = 3 // a session key encrypted by a password (SKESK)
	typeOnePassSignature   = 4
	typeSecretKey          = 5
	typePublicKey          = 6
	typeSecretSubkey       = 7
	typeCompressed         = 8
	typeMarker             = 10
	typeLiteral            = 11
	typeUserID             = 13
	typePublicSubkey       = 14
	typeUserAttribute      = 17
	typeEncrypted          = 18 // symmetrically encrypted, integrity protected (SEIPD)
	typePadding            = 21
)

// A rawPacket is one OpenPGP packet as it lies in a message; its slices alias
// the message.
type rawPacket struct {
	kind byte   // type, one of the above or any other below 64
	raw  []byte // the whole packet, header and all
	// head is the body, or its first piece, of at least 512 bytes, when the body
	// comes in pieces (RFC 9580, section 4.2.1.4).
	head []byte
	// tail is what follows the first piece: a length, a piece, a length, and so
	// on. It is nil when the body is in one piece.
	tail []byte
}

// nextPacket cuts the first packet off b. Without error all of its body is
// there and every length in it has been checked.
func nextPacket(b []byte) (p rawPacket, rest []byte, err error) {
	if len(b) == 0 || b[0]&0x80 == 0 {
		return p, nil, errors.New("not an OpenPGP packet")
	}
	whole := b
	var l bodyLength
	if b[0]&0x40 != 0 {
		p.kind = b[0] & 0x3f
		l, err = readLength(b[1:])
	} else {
		p.kind = b[0] >> 2 & 0x0f
		l, err = readLegacyLength(b[1:], b[0]&3)
	}
	if err != nil {
		return p, nil, fmt.Errorf("packet of type %d: %w", p.kind, err)
	}
	b = b[1+l.size:]
	p.head, b = b[:l.n], b[l.n:]
	if l.partial {
		if l.n < 512 {
			return p, nil, errors.New("first partial length under 512 bytes")
		}
		p.tail = b
		for l.partial {
			if l, err = readLength(b); err != nil {
				return p, nil, fmt.Errorf("packet of type %d: %w", p.kind, err)
			}
			b = b[l.size+l.n:]
		}
		p.tail = p.tail[:len(p.tail)-len(b)]
	}
	p.raw = whole[:len(whole)-len(b)]
	return p, b, nil
}

// appendBody appends the body in one piece to dst, which may be head[:0].
func (p *rawPacket) appendBody(dst []byte) []byte {
	dst = append(dst, p.head...)
	for b := p.tail; len(b) > 0; {
		l, err := readLength(b)
		if err != nil {
			panic("seal: nextPacket let a bad length pass: " + err.Error())
		}
		b = b[l.size:]
		dst = append(dst, b[:l.n]...)
		b = b[l.n:]
	}
	return dst
}

// skipped tells the packets that mean nothing wherever they stand.
func (p *rawPacket) skipped() bool {
	return p.kind == typeMarker || p.kind == typePadding
}

// refused says why a packet does not belong where it was found.
func (p *rawPacket) refused() error {
	switch p.kind {
	case typeCompressed:
		return errors.New("compressed packet")
	case typeSignature, typeOnePassSignature:
		return errors.New("signature packet")
	case typePasswordSessionKey:
		return errors.New("session key encrypted by a password")
	case typeSecretKey, typeSecretSubkey:
		return errors.New("secret key packet")
	}
	return fmt.Errorf("packet of type %d out of place", p.kind)
}

var errTruncated = errors.New("truncated")

// A bodyLength is a length in a packet's header.
type bodyLength struct {
	n       int  // bytes of body that follow; they are there
	size    int  // bytes of the length itself
	partial bool // another length follows these n bytes
}

// readLength reads a length of the OpenPGP format (RFC 9580, section 4.2.1).
func readLength(b []byte) (bodyLength, error) {
	if len(b) == 0 {
		return bodyLength{}, errTruncated
	}
	switch c := b[0]; {
	case c < 192:
		return fitLength(b, 1, uint64(c), false)
	case c < 224:
		if len(b) < 2 {
			return bodyLength{}, errTruncated
		}
		return fitLength(b, 2, uint64(c-192)<<8+uint64(b[1])+192, false)
	case c < 255:
		return fitLength(b, 1, 1<<(c&0x1f), true)
	}
	if len(b) < 5 {
		return bodyLength{}, errTruncated
	}
	return fitLength(b, 5, uint64(binary.BigEndian.Uint32(b[1:])), false)
}

// readLegacyLength reads a length of the legacy format (RFC 9580, section
// 4.2.2), whose kind is in the packet's first byte.
func readLegacyLength(b []byte, kind byte) (bodyLength, error) {
	if kind == 3 {
		return bodyLength{}, errors.New("indeterminate length")
	}
	size := 1 << kind
	if len(b) < size {
		return bodyLength{}, errTruncated
	}
	var n uint64
	for _, c := range b[:size] {
		n = n<<8 | uint64(c)
	}
	return fitLength(b, size, n, false)
}

func fitLength(b []byte, size int, n uint64, partial bool) (bodyLength, error) {
	if n > uint64(len(b)-size) {
		return bodyLength{}, errTruncated
	}
	return bodyLength{n: int(n), size: size, partial: partial}, nil
}

// maxHeaderSize is the greatest size of what appendHeader appends.
const maxHeaderSize = 6

// appendHeader appends the header of a packet with a body of n bytes.
func appendHeader(b []byte, kind byte, n int) []byte {
	b = append(b, 0xc0|kind)
	switch {
	case n < 192:
		return append(b, byte(n))
	case n < 8384:
		return append(b, byte((n-192)>>8)+192, byte(n-192))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xff), uint32(n))
}
