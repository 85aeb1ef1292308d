package ws

import (
	"bytes"
	"crypto/tls"
	"net"
	"reflect"
	"sync"
	"unsafe"
)

// crypto/tls reads into buffers that it keeps for the life of a connection, also while
// nothing is in them: 2 KiB of the handshake, 18 KiB after one full record. It has no way to
// let go of them, so this reaches into tls.Conn:
//
//	rawInput bytes.Buffer // raw input, starting with a record header
//	hand     bytes.Buffer // handshake data waiting to be read
//
// What is relied on, beyond these two names and types, which are checked when the process
// starts, is that a bytes.Buffer without contents may be replaced by an empty one. That
// holds for whatever uses a bytes.Buffer as one. tls.Conn's one slice into rawInput's memory
// (`input`, what was decrypted) is empty when Read has asked the socket for more, and would
// keep the old memory alive otherwise: nothing here ever frees or shares memory, the garbage
// collector does that. The buffers belong to whoever is in Read, so trim is for the one
// goroutine that reads, between two Reads; writers do not touch them.
//
// On a Go whose tls.Conn has other fields nothing is trimmed: connections then cost more
// memory and work as before. TestTrim says so.

// A tlsLayout says where tls.Conn has its buffers.
type tlsLayout struct {
	rawInput, hand uintptr
	known          bool
}

var layout = findLayout(reflect.TypeFor[tls.Conn]())

// findLayout looks for the buffers in a type such as tls.Conn.
func findLayout(conn reflect.Type) (l tlsLayout) {
	buffer := func(name string) (uintptr, bool) {
		f, ok := conn.FieldByName(name)
		// A field of an embedded struct has an offset of that struct.
		ok = ok && len(f.Index) == 1 && f.Type == reflect.TypeFor[bytes.Buffer]()
		return f.Offset, ok
	}
	rawInput, ok := buffer("rawInput")
	hand, also := buffer("hand")
	if !ok || !also {
		return tlsLayout{}
	}
	return tlsLayout{rawInput: rawInput, hand: hand, known: true}
}

// buffersOf returns the buffers of a TLS connection, nil where they are not known.
func buffersOf(nc net.Conn) (rawInput, hand *bytes.Buffer) {
	t, ok := nc.(*tls.Conn)
	if !ok || !layout.known {
		return nil, nil
	}
	at := unsafe.Pointer(t)
	return (*bytes.Buffer)(unsafe.Add(at, layout.rawInput)), (*bytes.Buffer)(unsafe.Add(at, layout.hand))
}

// A record is memory for the records that arrive on one connection, until another
// needs it. It is cleared in between: what one user wrote is not to lie where another's is read,
// whatever goes wrong there.
type record struct{ bytes.Buffer }

// maxRecord is what a record may have grown to and still be used again, in bytes. One that
// has held the longest record of TLS has 34 KiB.
const maxRecord = 40 << 10

var records = sync.Pool{New: func() any { return new(record) }}

// lend gives a TLS connection memory to read into, which is used again afterwards: otherwise
// it would allocate some each time that something comes.
func (c *Conn) lend() {
	rawInput, _ := buffersOf(c.nc)
	if rawInput == nil || rawInput.Cap() > 0 {
		return
	}
	c.wait.record = records.Get().(*record)
	*rawInput = c.wait.record.Buffer
}

// trim takes the buffers from a TLS connection in which nothing is.
func (c *Conn) trim() {
	rawInput, hand := buffersOf(c.nc)
	if rawInput == nil {
		return
	}
	if hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	if rawInput.Len() > 0 {
		return // the beginning of a record
	}
	if r := c.wait.record; r != nil && rawInput.Cap() <= maxRecord {
		r.Buffer = *rawInput
		r.Reset()
		clear(r.AvailableBuffer()[:r.Available()])
		records.Put(r)
	}
	c.wait.record = nil
	*rawInput = bytes.Buffer{}
}
