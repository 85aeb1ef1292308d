package hashing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
)

// What crosses the pipes. Numbers are big-endian.
//
//	greeting: form 1 | gentle 1, whether the process gives way to others
//	request:  number 4 | memory 4, KiB | time 4 | threads 1 | size of the key 1 | size of the salt 1 |
//	          size of the password 4 | salt | password
//	answer:   number 4 | size of the key 1 | key
const (
	greetingSize = 2
	headSize     = 19
	answerSize   = 5

	// form is another one with each change: where a program's file is replaced, the next process may
	// be of a later version.
	form = 1
)

// A request is what a password is to be hashed with.
type request struct {
	number uint32
	cost   account.HashCost
	size   int // of the key, at most 255
	salt   []byte
}

// length is how many bytes a request with a password has.
func (r request) length(password []byte) int { return headSize + len(r.salt) + len(password) }

// append appends a request with its password.
func (r request) append(b, password []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, r.number)
	b = binary.BigEndian.AppendUint32(b, r.cost.Memory)
	b = binary.BigEndian.AppendUint32(b, r.cost.Time)
	b = append(b, r.cost.Threads, uint8(r.size), uint8(len(r.salt)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(password)))
	b = append(b, r.salt...)
	return append(b, password...)
}

// readRequest returns the next request with its password, which the caller overwrites. The
// error is io.EOF when there are no more.
func readRequest(from io.Reader) (r request, password []byte, err error) {
	var head [headSize]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return request{}, nil, err
	}
	r = request{
		number: binary.BigEndian.Uint32(head[0:]),
		cost: account.HashCost{
			Memory:  binary.BigEndian.Uint32(head[4:]),
			Time:    binary.BigEndian.Uint32(head[8:]),
			Threads: head[12],
		},
		size: int(head[13]),
	}
	size := binary.BigEndian.Uint32(head[15:])
	if r.cost.Time == 0 || r.cost.Threads == 0 || size > tipt.MaxPacketSize {
		return request{}, nil, errors.New("this is no request")
	}
	saltSize := int(head[14])
	rest := make([]byte, saltSize+int(size))
	if err := readRest(from, rest); err != nil {
		return request{}, nil, err
	}
	r.salt = rest[:saltSize]
	return r, rest[saltSize:], nil
}

// appendAnswer appends the key that was asked for under a number.
func appendAnswer(b []byte, number uint32, key []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, number)
	b = append(b, uint8(len(key)))
	return append(b, key...)
}

// readAnswer returns the next answer. The error is io.EOF when there are no more.
func readAnswer(from io.Reader) (number uint32, key []byte, err error) {
	var head [answerSize]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return 0, nil, err
	}
	key = make([]byte, head[4])
	if err := readRest(from, key); err != nil {
		return 0, nil, err
	}
	return binary.BigEndian.Uint32(head[:]), key, nil
}

// readRest reads what has to follow a head.
func readRest(from io.Reader, b []byte) error {
	_, err := io.ReadFull(from, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read what follows: %w", err)
	}
	return nil
}

// greeting is what the process says first.
func greeting(gentle bool) []byte {
	b := [greetingSize]byte{form}
	if gentle {
		b[1] = 1
	}
	return b[:]
}

func readGreeting(from io.Reader) (gentle bool, err error) {
	var b [greetingSize]byte
	if _, err := io.ReadFull(from, b[:]); err != nil {
		return false, err
	}
	if b[0] != form {
		return false, errors.New("it is of another version")
	}
	return b[1] == 1, nil
}
