package conform

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
)

// Opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// maxFrame bounds what is read of a frame, beyond what a node may send.
const maxFrame = 4 << 20

// A frame is a WebSocket frame as it came.
type frame struct {
	final   bool
	bits    byte // RSV1 to RSV3
	opcode  byte
	masked  bool
	payload []byte
}

// frameHeader is a client's frame header; the payload is to be masked with the key.
func frameHeader(final bool, opcode byte, length int) (header []byte, key [4]byte) {
	if final {
		opcode |= 0x80
	}
	header = []byte{opcode}
	switch {
	case length < 126:
		header = append(header, 0x80|byte(length))
	case length <= 0xffff:
		header = binary.BigEndian.AppendUint16(append(header, 0x80|126), uint16(length))
	default:
		header = binary.BigEndian.AppendUint64(append(header, 0x80|127), uint64(length))
	}
	_, _ = rand.Read(key[:]) // never fails
	return append(header, key[:]...), key
}

// clientFrame is a whole frame of a client.
func clientFrame(final bool, opcode byte, payload []byte) []byte {
	b, key := frameHeader(final, opcode, len(payload))
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// nodeFrame is a whole frame of a node.
func nodeFrame(final bool, opcode byte, payload []byte) []byte {
	if final {
		opcode |= 0x80
	}
	b := []byte{opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// readFrame reads a frame of either side and unmasks it.
func readFrame(r *bufio.Reader) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{final: head[0]&0x80 != 0, bits: head[0] >> 4 & 7, opcode: head[0] & 15, masked: head[1]&0x80 != 0}
	length := uint64(head[1] & 0x7f)
	if length >= 126 {
		b := make([]byte, 2+6*(length-126))
		if _, err := io.ReadFull(r, b); err != nil {
			return frame{}, err
		}
		length = 0
		for _, c := range b {
			length = length<<8 | uint64(c)
		}
	}
	if length > maxFrame {
		return frame{}, fmt.Errorf("a frame of %d bytes", length)
	}
	var key [4]byte
	if f.masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return frame{}, err
		}
	}
	f.payload = make([]byte, length)
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, err
	}
	if f.masked {
		for i := range f.payload {
			f.payload[i] ^= key[i%4]
		}
	}
	return f, nil
}
