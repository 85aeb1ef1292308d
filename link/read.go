package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/msgpack"
)

const (
	workingLimit = 8 << 20 // bytes of requests being worked on, on one connection
	// smallSize is the size of a packet that is read in any case, and of a response
	// that is queued in any case.
	smallSize = 4 << 10
	chunkSize = 16 << 10 // what the memory for a larger packet grows by at first: a TLS record
	// largeChunkSize is what it grows by once as much is there. In smaller pieces what Go needs to
	// know about each would come to a hundredth of a node's budget, which it never gives back.
	largeChunkSize = 4 * chunkSize
)

var (
	smalls = sync.Pool{New: func() any { return new([smallSize]byte) }}
	chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}
	larges = sync.Pool{New: func() any { return new([largeChunkSize]byte) }}
)

// takeChunk returns memory for what comes next of a packet of which size bytes are there.
func takeChunk(size int) []byte {
	if size < largeChunkSize {
		return chunks.Get().(*[chunkSize]byte)[:]
	}
	return larges.Get().(*[largeChunkSize]byte)[:]
}

// putChunk gives it back.
func putChunk(chunk []byte) {
	if len(chunk) == chunkSize {
		chunks.Put((*[chunkSize]byte)(chunk))
	} else {
		larges.Put((*[largeChunkSize]byte)(chunk))
	}
}

// violation is the error of a peer that broke a rule of section 3.
func violation(format string, args ...any) error {
	return &CloseError{Local: true, Code: tipt.CloseProtocol, Reason: fmt.Sprintf(format, args...)}
}

// read reads the connection until it ends, or with ErrParked until a Parker waits for it.
//
// It never waits for the writer or for a handler: a packet that arrives fills
// an id's place, ends a call, or is answered BUSY. So two links that have much
// to say to each other always drain.
func (l *Link) read() error {
	for {
		r, err := l.conn.Next()
		if err == nil {
			l.touch()
			err = l.receive(r)
		}
		if err == nil {
			continue
		}
		ce, ok := errors.AsType[*CloseError](err)
		if !ok || !ce.Local {
			return err
		}
		if _, discard := l.reading(); !discard {
			l.log.Debug("peer broke the protocol", "code", ce.Code, "reason", ce.Reason)
			l.Close(ce.Code, ce.Reason)
		}
	}
}

// receive reads one message and does what it says.
func (l *Link) receive(r io.Reader) error {
	form, discard := l.reading()
	if discard {
		return nil
	}
	small := smalls.Get().(*[smallSize]byte)
	defer smalls.Put(small)
	n, end, err := l.fill(r, small[:])
	if err != nil {
		return err
	}
	if !end {
		return l.receiveLarge(small[:], r, form)
	}
	if l.tap != nil {
		l.tap(false, small[:n])
	}
	p, rev, err := form.ParsePacket(small[:n])
	p.Body = bytes.Clone(p.Body) // small serves the next message
	return l.serve(p, rev, err, 0)
}

// reading returns the form of the next message, and whether it is to be discarded.
func (l *Link) reading() (form tipt.Form, discard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.form, l.state != open
}

// fill reads until b is full or the message has ended.
func (l *Link) fill(r io.Reader, b []byte) (n int, end bool, err error) {
	for n < len(b) && !end {
		var m int
		m, err = r.Read(b[n:])
		n += m
		if end = err == io.EOF; err != nil && !end {
			return n, false, err
		}
		l.touch()
	}
	return n, end, nil
}

// receiveLarge reads the rest of a message that begins with start. Its memory is
// reserved as the bytes come: the length that a peer announces costs it nothing.
func (l *Link) receiveLarge(start []byte, r io.Reader, form tipt.Form) error {
	// A response that is waited for, unlike a request, brings no work of unknown length.
	k := msgpack.SkimBytes(start)
	work := !k.Readable || tipt.PacketType(k.Type) != tipt.PacketResponse

	var held int64
	defer func() { l.release(held, work) }()
	var parts [][]byte
	defer func() {
		for _, part := range parts {
			putChunk(part)
		}
	}()

	size := len(start)
	over := func() error {
		readers := []io.Reader{bytes.NewReader(start)}
		rest := size - len(start)
		for _, part := range parts {
			n := min(rest, len(part))
			readers = append(readers, bytes.NewReader(part[:n]))
			rest -= n
		}
		return l.receiveOver(io.MultiReader(append(readers, r)...), form.Revision)
	}
	for end := false; !end; {
		part := takeChunk(size)
		need := int64(len(part))
		if held == 0 {
			need += smallSize
		}
		if !l.reserve(need, work) {
			putChunk(part)
			return over()
		}
		held += need
		parts = append(parts, part)
		n, e, err := l.fill(r, part)
		if err != nil {
			return err
		}
		size += n
		end = e
	}

	// While the parts are joined there is as much once more, all of it the node's.
	if !l.budget.Reserve(int64(size)) {
		return over()
	}
	packet := make([]byte, size)
	n := copy(packet, start)
	for _, part := range parts {
		n += copy(packet[n:], part)
		putChunk(part)
	}
	parts = nil
	l.budget.Release(int64(size))
	if l.tap != nil {
		l.tap(false, packet)
	}
	p, rev, err := form.ParsePacket(packet)
	if err != nil || p.Type != tipt.PacketRequest || !work {
		return l.serve(p, rev, err, 0)
	}
	held -= int64(size) // which the request holds until it is answered
	return l.serve(p, rev, nil, int64(size))
}

// receiveOver reads to its end a message for which there is no memory, keeping nothing of it.
func (l *Link) receiveOver(r io.Reader, rev tipt.Revision) error {
	k, err := msgpack.Skim(touching{l, r})
	if err != nil {
		return err
	}
	if !k.Readable {
		return violation("unreadable packet")
	}
	return l.serve(tipt.Packet{ID: k.ID, Type: tipt.PacketType(k.Type)}, rev, busy(), 0)
}

// busy is the link's own BUSY (section 3.6).
func busy() *tipt.Error { return &tipt.Error{Code: tipt.ErrBusy, Wait: busyWait} }

// A touching reader notes that something arrived.
type touching struct {
	l *Link
	r io.Reader
}

func (t touching) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.l.touch()
	return n, err
}

// reserve takes n bytes for what arrives, or reports false. work: it may be a
// request, and counts as being worked on.
func (l *Link) reserve(n int64, work bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if work && (l.working+n > workingLimit || l.unsent > unsentLimit) || !l.budget.Reserve(n) {
		return false
	}
	if work {
		l.working += n
	}
	return true
}

// release undoes reserve.
func (l *Link) release(n int64, work bool) {
	if work {
		l.mu.Lock()
		l.working -= n
		l.mu.Unlock()
	}
	l.budget.Release(n)
}

// serve does what a packet says, which came in rev. failure is why it cannot: a
// [*tipt.MalformedError], or BUSY when there was no memory for it. held is what has been reserved
// for a request; 0 if nothing was yet.
func (l *Link) serve(p tipt.Packet, rev tipt.Revision, failure error, held int64) error {
	bad, malformed := errors.AsType[*tipt.MalformedError](failure)
	if malformed && !bad.Readable {
		return violation("unreadable packet: %v", bad)
	}
	switch p.Type {
	case tipt.PacketRequest:
		return l.serveRequest(p, rev, failure, held)
	case tipt.PacketResponse:
		if malformed {
			return violation("malformed response: %v", bad)
		}
		done, ok := l.answered(p.ID)
		if !ok {
			return violation("response for id %d, which is not in flight", p.ID)
		}
		l.retry()
		if p.Err != nil {
			failure = p.Err
		}
		if done != nil {
			done(p, failure)
		}
		return nil
	case tipt.PacketEvent:
		if failure != nil {
			if l.ignored != nil {
				l.ignored(failure)
			}
			return nil
		}
		if _, discard := l.reading(); !discard && l.handler != nil {
			l.handler.ServeEvent(p)
		}
		return nil
	default:
		return violation("packet of unknown type %v", p.Type)
	}
}

func (l *Link) serveRequest(p tipt.Packet, rev tipt.Revision, failure error, held int64) error {
	if failure == nil && held == 0 {
		if held = int64(len(p.Body)); !l.reserve(held, true) {
			held, failure = 0, busy()
			p.Body = nil
		}
	}
	r := &Request{Code: p.Code, Body: p.Body, Version: p.Version, Newer: p.Newer, Revision: rev, link: l, held: held}
	r.response.typ, r.response.id, r.response.revision = tipt.PacketResponse, p.ID, rev
	if accepted, err := l.accept(p.ID); !accepted {
		l.release(held, true)
		return err
	}
	if bad, ok := errors.AsType[*tipt.MalformedError](failure); ok {
		r.Fail(&tipt.Error{Code: tipt.ErrMalformed, Message: bad.Error()})
	} else if e, ok := errors.AsType[*tipt.Error](failure); ok {
		r.Fail(e)
	} else if l.handler == nil {
		r.Fail(&tipt.Error{Code: tipt.ErrUnsupported})
	} else {
		l.handler.ServeTipt(r)
	}
	return nil
}

// accept puts the id of a request in flight. It is false without an error when
// the link is being closed.
func (l *Link) accept(id uint8) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != open {
		return false, nil
	}
	if l.inbound.has(id) {
		return false, violation("request id %d is still in flight", id)
	}
	l.inbound.add(id)
	l.serving++
	return true, nil
}
