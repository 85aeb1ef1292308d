package seal

import (
	"encoding/binary"
	"errors"
)

// readPadded returns what the body of a compressed packet holds, provided that
// nothing in it is compressed: DEFLATE blocks of the stored kind alone (RFC
// 1951, section 3.2.4), behind whose last one there may be bytes of any number
// and value. Sequoia pads a message in this way, by default and whatever a
// certificate prefers, for programs that know no padding packet (section 5.2).
// As no byte comes out that did not go in, there is nothing that could expand.
// The contents are moved together within body.
func readPadded(body []byte) ([]byte, error) {
	const zip = 1 // DEFLATE without a frame (RFC 9580, section 9.4)
	if len(body) == 0 || body[0] != zip {
		return nil, errors.New("compressed packet")
	}
	contents := body[:0]
	for b := body[1:]; ; {
		if len(b) == 0 {
			return nil, errTruncated
		}
		// The bits above the kind of a stored block are left out up to the next byte.
		last, kind := b[0]&1 != 0, b[0]>>1&3
		if kind != 0 {
			return nil, errors.New("compressed packet")
		}
		if len(b) < 5 {
			return nil, errTruncated
		}
		n := binary.LittleEndian.Uint16(b[1:])
		if n != ^binary.LittleEndian.Uint16(b[3:]) {
			return nil, errors.New("stored block whose lengths differ")
		}
		b = b[5:]
		if len(b) < int(n) {
			return nil, errTruncated
		}
		contents = append(contents, b[:n]...)
		if b = b[n:]; last {
			return contents, nil
		}
	}
}
