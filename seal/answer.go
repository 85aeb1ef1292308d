package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"

	tipt "github.com/tipt/tipt-go"
)

// answerOverhead is what sealing adds to an answer: 12 random bytes before it,
// a tag of 16 bytes behind it.
const answerOverhead = 12 + 16

// SealAnswer seals the answer to a GET_USER_KEY, an encoded
// CNNodeForwardResponse of at most [tipt.SealedAnswerSize] bytes, with the key
// that came as its `seal` (section 5.3). Every sealed answer has the same size,
// whatever is in it.
func SealAnswer(key *[tipt.SealKeySize]byte, answer []byte) ([]byte, error) {
	if len(answer) > tipt.SealedAnswerSize {
		return nil, fmt.Errorf("seal: answer of %d bytes, at most %d are allowed", len(answer), tipt.SealedAnswerSize)
	}
	aead, err := newAnswerAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("seal: answer: %w", err)
	}
	padded := make([]byte, tipt.SealedAnswerSize)
	copy(padded, answer)
	return aead.Seal(nil, nil, padded, nil), nil
}

// OpenAnswer opens what [SealAnswer] sealed and returns the encoded map without
// its padding. Errors wrap [ErrMessage].
func OpenAnswer(key *[tipt.SealKeySize]byte, sealed []byte) ([]byte, error) {
	if len(sealed) != tipt.SealedAnswerSize+answerOverhead {
		return nil, fmt.Errorf("%w: sealed answer of %d bytes, not %d", ErrMessage, len(sealed), tipt.SealedAnswerSize+answerOverhead)
	}
	aead, err := newAnswerAEAD(key)
	if err != nil {
		return nil, fmt.Errorf("seal: answer: %w", err)
	}
	padded, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: sealed answer: %w", ErrMessage, errIntegrity)
	}
	answer, err := cutPadding(padded)
	if err != nil {
		return nil, fmt.Errorf("%w: sealed answer: %w", ErrMessage, err)
	}
	return answer, nil
}

func newAnswerAEAD(key *[tipt.SealKeySize]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// cutPadding returns the msgpack map at the start of b, behind which there may
// be nothing but zero bytes.
func cutPadding(b []byte) ([]byte, error) {
	if msgp.NextType(b) != msgp.MapType {
		return nil, errors.New("not a map")
	}
	padding, err := msgp.Skip(b)
	if err != nil {
		return nil, err
	}
	for _, c := range padding {
		if c != 0 {
			return nil, errors.New("padding is not zero")
		}
	}
	return b[:len(b)-len(padding)], nil
}
