package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"slices"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

// An Answer is a vector of answers.json: an answer to GET_USER_KEY.
type Answer struct {
	Name   string `json:"name"`
	Seal   Bytes  `json:"seal"`
	Answer Bytes  `json:"answer"`
	Plain  Bytes  `json:"plain,omitempty"` // the CNNodeForwardResponse, without zeros

	Clause string `json:"clause,omitempty"` // with Reason: it is to be refused
	Reason string `json:"reason,omitempty"`
}

func answerVectors(t testing.TB, r *ring) []Answer {
	m := newMaker(t, "answers")
	key := m.bytes(tipt.SealKeySize)
	sealed := func(plain []byte) []byte {
		block, err := aes.NewCipher(key)
		m.must(err)
		gcm, err := cipher.NewGCM(block)
		m.must(err)
		nonce := m.bytes(gcm.NonceSize())
		return gcm.Seal(nonce, nonce, plain, nil)
	}
	padded := func(plain []byte, more ...byte) []byte {
		b := make([]byte, tipt.SealedAnswerSize)
		copy(b[copy(b, plain):], more)
		return b
	}
	answer := func(key []byte) []byte {
		return (tipt.ForwardAnswer{Body: (tipt.UserKeyAnswer{Key: key}).Append(nil)}).Append(nil)
	}
	none := answer(nil)
	noUser := (tipt.ForwardAnswer{Err: &tipt.ForwardError{Code: tipt.ErrNoSuchUser}}).Append(nil)
	certificate := answer(r.keys[2].Certificate)
	good := sealed(padded(none))
	flipped := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	var vectors []Answer
	opens := func(name string, plain, answer []byte) {
		vectors = append(vectors, Answer{Name: name, Seal: key, Answer: answer, Plain: plain})
	}
	refused := func(clause, reason, name string, answer []byte) {
		vectors = append(vectors, Answer{Name: name, Seal: key, Answer: answer, Clause: clause, Reason: reason})
	}
	opens("a certificate", certificate, sealed(padded(certificate)))
	opens("no certificate", none, good)
	opens("NO_SUCH_USER", noUser, sealed(padded(noUser)))
	refused("T-5.33", "unsealed", "unsealed", certificate)
	refused("T-5.29", "8,283 bytes", "a byte short", good[:len(good)-1])
	refused("T-5.29", "8,285 bytes", "a byte behind", append(slices.Clone(good), 0))
	refused("T-5.29", "its tag does not match", "the nonce changed", flipped(0))
	refused("T-5.29", "its tag does not match", "a byte changed", flipped(20))
	refused("T-5.29", "its tag does not match", "the tag changed", flipped(len(good)-1))
	refused("T-5.75", "something else than zeros behind the map", "a byte in the zeros", sealed(padded(none, 0, 0, 1)))
	refused("T-5.75", "something else than zeros behind the map", "two maps", sealed(padded(none, none...)))
	refused("T-5.75", "no map", "zeros alone", sealed(padded(nil)))
	refused("T-5.75", "no map", "an array", sealed(padded([]byte{0x91, 0xc0})))
	return vectors
}

func TestAnswerVectors(t *testing.T) {
	vectors := answerVectors(t, newRing(t))
	check(t, "answers.json", vectors)
	for _, v := range vectors {
		got, err := seal.OpenAnswer((*[tipt.SealKeySize]byte)(v.Seal), v.Answer)
		switch {
		case v.Reason == "" && (err != nil || !bytes.Equal(got, v.Plain)):
			t.Errorf("%s: opened to %x, %v; want %x", v.Name, got, err, v.Plain)
		case v.Reason != "" && !errors.Is(err, seal.ErrMessage):
			t.Errorf("%s: opened to %x, %v", v.Name, got, err)
		}
		if v.Reason != "" {
			checkClause(t, v.Clause, v.Reason)
			continue
		}
		var parsed tipt.ForwardAnswer
		if err := parsed.Parse(got); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}
