package tap

import (
	"encoding/binary"
	"fmt"
)

// Opcodes of RFC 6455.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// Frames follows the WebSocket frames in the bytes of one direction, which it is given as
// they come by, in pieces of any size. It never fails: what is no good frame is a
// Broken one.
type Frames struct {
	toNode bool
	cross  func(Crossing)

	header  []byte // of the frame at hand, as far as it has come
	why     string // what is wrong with it
	left    uint64 // of its payload
	at      uint64 // in its payload
	key     [4]byte
	control keeper // payload of a control frame, or all of a broken one
	message keeper // of a data message, from its first fragment on
	opcode  byte   // of that message; 0 when there is none
}

// NewFrames returns Frames that call cross for each whole message and control frame.
func NewFrames(toNode bool, cross func(Crossing)) *Frames {
	return &Frames{toNode: toNode, cross: cross}
}

// A keeper keeps the first KeptBytes of many.
type keeper struct {
	b    []byte
	size int
}

func (k *keeper) add(b []byte) {
	k.size += len(b)
	k.b = append(k.b, b[:min(len(b), KeptBytes-len(k.b))]...)
}

// Write takes the next bytes. It does not keep them.
func (f *Frames) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if f.left > 0 {
			b = b[f.payload(b):]
			continue
		}
		f.header = append(f.header, b[0])
		b = b[1:]
		if size := f.headerSize(); len(f.header) == size {
			f.begin()
		}
	}
	return n, nil
}

// headerSize is the size of the header as far as it is known.
func (f *Frames) headerSize() int {
	size := 2
	if len(f.header) < size {
		return size
	}
	switch f.header[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.header[1]&0x80 != 0 {
		size += 4
	}
	return size
}

// begin begins the payload of a frame whose header is whole.
func (f *Frames) begin() {
	h := f.header
	opcode, final, masked := h[0]&15, h[0]&0x80 != 0, h[1]&0x80 != 0
	length := uint64(h[1] & 0x7f)
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		length = binary.BigEndian.Uint64(h[2:])
	}
	f.key = [4]byte{}
	if masked {
		copy(f.key[:], h[len(h)-4:])
		clear(h[len(h)-4:])
	}
	f.left, f.at, f.control = length, 0, keeper{}
	switch {
	case h[0]&0x70 != 0:
		f.why = "a reserved bit is set, and no extension was agreed on"
	case masked != f.toNode && f.toNode:
		f.why = "a client's frame without a masking key"
	case masked != f.toNode:
		f.why = "a node's frame with a masking key"
	case opcode > opBinary && opcode < opClose || opcode > opPong:
		f.why = fmt.Sprintf("opcode %d is not in use", opcode)
	case opcode >= opClose && (!final || length > 125):
		f.why = "a control frame in fragments or over 125 bytes"
	case opcode == opContinuation && f.opcode == 0:
		f.why = "a fragment of no message"
	case (opcode == opText || opcode == opBinary) && f.opcode != 0:
		f.why = "a new message within the fragments of another"
	case length>>63 != 0:
		f.why = "a length over 63 bits"
	default:
		f.why = ""
	}
	switch {
	case f.why != "":
		f.control.add(h)
	case opcode == opText || opcode == opBinary:
		f.opcode, f.message = opcode, keeper{}
	}
	if f.left == 0 {
		f.end()
	}
}

// payload takes from b what belongs to the frame at hand, and returns how much that is.
func (f *Frames) payload(b []byte) int {
	n := int(min(f.left, uint64(len(b))))
	part := make([]byte, n)
	for i, c := range b[:n] {
		part[i] = c ^ f.key[(f.at+uint64(i))&3]
	}
	f.at += uint64(n)
	f.left -= uint64(n)
	if f.why != "" || f.header[0]&15 >= opClose {
		f.control.add(part)
	} else {
		f.message.add(part)
	}
	if f.left == 0 {
		f.end()
	}
	return n
}

// end ends the frame at hand.
func (f *Frames) end() {
	opcode, final := f.header[0]&15, f.header[0]&0x80 != 0
	f.header = f.header[:0]
	switch {
	case f.why != "":
		f.emit(Broken, &f.control)
	case opcode == opPing:
		f.emit(Ping, &f.control)
	case opcode == opPong:
		f.emit(Pong, &f.control)
	case opcode == opClose:
		f.emit(Close, &f.control)
	case final:
		kind := Binary
		if f.opcode == opText {
			kind = Text
		}
		f.opcode = 0
		f.emit(kind, &f.message)
	}
}

func (f *Frames) emit(kind Kind, k *keeper) {
	f.cross(Crossing{ToNode: f.toNode, Kind: kind, Bytes: k.b, Size: k.size, Why: f.why})
	*k = keeper{}
	f.why = ""
}

// End says that no more bytes come, and how that came about.
func (f *Frames) End(why string) {
	switch {
	case f.why != "":
		f.emit(Broken, &f.control)
	case len(f.header) > 0 && f.opcode == 0:
		f.why = "the connection ended within a frame"
		var whole keeper
		whole.add(f.header)
		whole.add(f.control.b)
		f.emit(Broken, &whole)
	case f.opcode != 0:
		f.why = fmt.Sprintf("the connection ended within it, after %d bytes", f.message.size)
		announced := uint64(f.message.size) + f.left
		if len(f.header) > 0 && f.left == 0 { // within the header of a fragment
			announced++
		}
		f.cross(Crossing{ToNode: f.toNode, Kind: Partial, Bytes: f.message.b, Size: f.message.size, Announced: announced, Why: f.why})
	}
	f.cross(Crossing{ToNode: f.toNode, Kind: End, Why: why})
}
