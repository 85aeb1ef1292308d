package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A script is a network connection whose input is known. What is written to it is kept.
type script struct {
	net.Conn // nil: nothing else is called
	in       io.Reader
	writes   [][]byte
	deadline time.Time // of writes
	late     bool      // something was written without a deadline
	onWrite  func()    // may be nil
}

func (s *script) Read(b []byte) (int, error) { return s.in.Read(b) }

func (s *script) Write(b []byte) (int, error) {
	s.late = s.late || s.deadline.IsZero()
	s.writes = append(s.writes, bytes.Clone(b))
	if s.onWrite != nil {
		s.onWrite()
	}
	return len(b), nil
}

func (s *script) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *script) Close() error                       { return nil }

// scripted returns a node's connection with that input, and what it was told of.
func scripted(in io.Reader) (c *Conn, s *script, pinged, ponged *int) {
	s = &script{in: in}
	c = newConn(s, nil)
	pinged, ponged = new(int), new(int)
	c.Bind(func() { *pinged++ }, func() { *ponged++ })
	return c, s, pinged, ponged
}

// frame encodes a client's frame.
func frame(op ws.OpCode, fin bool, payload []byte) []byte {
	var b bytes.Buffer
	f := ws.MaskFrameWith(ws.NewFrame(op, fin, payload), [4]byte{0xde, 0xad, 0xbe, 0xef})
	if err := ws.WriteFrame(&b, f); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// header encodes a client's frame header that promises size bytes.
func header(op ws.OpCode, fin bool, size int64) []byte {
	var b bytes.Buffer
	if err := ws.WriteHeader(&b, ws.Header{Fin: fin, OpCode: op, Masked: true, Length: size}); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func closing(code int, reason string) []byte {
	return frame(ws.OpClose, true, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// readAll reads messages until the connection ends and returns what came.
func readAll(c *Conn) (messages []string, err error) {
	for {
		m, err := c.Next()
		if err != nil {
			return messages, err
		}
		b, err := io.ReadAll(m)
		if err != nil {
			return messages, err
		}
		messages = append(messages, string(b))
	}
}

// TestFrames: what a client may send and what it may not.
func TestFrames(t *testing.T) {
	part := bytes.Repeat([]byte("tipt"), 50_000)
	type test struct {
		name  string
		input []byte
		want  []string
		err   *link.CloseError // nil: the connection is lost
	}
	violates := func(code int) *link.CloseError { return &link.CloseError{Local: true, Code: code} }
	tests := []test{
		{"nothing", nil, nil, nil},
		{"message", frame(ws.OpBinary, true, []byte("hi")), []string{"hi"}, nil},
		{"empty message", frame(ws.OpBinary, true, nil), []string{""}, nil},
		{"messages", join(frame(ws.OpBinary, true, []byte("a")), frame(ws.OpBinary, true, []byte("b"))), []string{"a", "b"}, nil},
		{"length in 16 bits", frame(ws.OpBinary, true, part[:126]), []string{string(part[:126])}, nil},
		{"length in 64 bits", frame(ws.OpBinary, true, part), []string{string(part)}, nil},
		{"fragments", join(frame(ws.OpBinary, false, part[:3]), frame(ws.OpContinuation, false, part[3:70_000]),
			frame(ws.OpContinuation, false, nil), frame(ws.OpContinuation, true, part[70_000:])), []string{string(part)}, nil},
		{"PING between fragments", join(frame(ws.OpBinary, false, []byte("a")), frame(ws.OpPing, true, []byte("?")),
			frame(ws.OpPong, true, nil), frame(ws.OpContinuation, true, []byte("b"))), []string{"ab"}, nil},
		{"largest message", frame(ws.OpBinary, true, make([]byte, tipt.MaxPacketSize)), []string{string(make([]byte, tipt.MaxPacketSize))}, nil},

		{"close", closing(1000, "bye"), nil, &link.CloseError{Code: 1000, Reason: "bye"}},
		{"close without code", frame(ws.OpClose, true, nil), nil, &link.CloseError{Code: tipt.CloseNoStatus}},
		{"close of a service that restarts", closing(1012, ""), nil, &link.CloseError{Code: 1012}},
		{"close with a private code", closing(4999, "é"), nil, &link.CloseError{Code: 4999, Reason: "é"}},
		{"close within a message", join(frame(ws.OpBinary, false, []byte("a")), closing(3000, "")), nil, &link.CloseError{Code: 3000}},
		{"close with half a code", frame(ws.OpClose, true, []byte{3}), nil, violates(1002)},
		{"close with a reason not in UTF-8", closing(1000, "\xff"), nil, violates(1002)},

		{"text", frame(ws.OpText, true, []byte("hi")), nil, violates(1003)},
		{"empty text", frame(ws.OpText, true, nil), nil, violates(1003)},
		{"text that would be huge", header(ws.OpText, true, 1<<62), nil, violates(1003)},
		{"too large", header(ws.OpBinary, true, tipt.MaxPacketSize+1), nil, violates(1009)},
		{"far too large", header(ws.OpBinary, true, 1<<63-1), nil, violates(1009)},
		{"too large in fragments", join(frame(ws.OpBinary, false, part), header(ws.OpContinuation, true, tipt.MaxPacketSize)), nil, violates(1009)},
		{"lengths that overflow", join(frame(ws.OpBinary, false, part), header(ws.OpContinuation, false, 1<<63-1)), nil, violates(1009)},
		{"length with its highest bit set", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, nil, violates(1002)},
		{"not masked", []byte{0x82, 0x02, 'h', 'i'}, nil, violates(1002)},
		{"PING not masked", []byte{0x89, 0x00}, nil, violates(1002)},
		{"continuation of nothing", frame(ws.OpContinuation, true, nil), nil, violates(1002)},
		{"continuation after the end", join(frame(ws.OpBinary, true, nil), frame(ws.OpContinuation, true, nil)), []string{""}, violates(1002)},
		{"message within a message", join(frame(ws.OpBinary, false, nil), frame(ws.OpBinary, true, nil)), nil, violates(1002)},
		{"text within a message", join(frame(ws.OpBinary, false, nil), frame(ws.OpText, true, nil)), nil, violates(1002)},
		{"long PING", frame(ws.OpPing, true, make([]byte, 126)), nil, violates(1002)},
		{"PING that would be huge", header(ws.OpPing, true, 1<<62), nil, violates(1002)},
		{"PING in fragments", frame(ws.OpPing, false, nil), nil, violates(1002)},
		{"close in fragments", frame(ws.OpClose, false, nil), nil, violates(1002)},
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		tests = append(tests, test{fmt.Sprintf("close with %d", code), closing(code, ""), nil, violates(1002)})
	}
	for _, op := range []ws.OpCode{0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		tests = append(tests, test{fmt.Sprintf("opcode %x", op), frame(op, true, nil), nil, violates(1002)})
	}
	for bit := range 3 {
		b := frame(ws.OpBinary, true, nil)
		b[0] |= 0x10 << bit
		tests = append(tests, test{fmt.Sprintf("reserved bit %d", bit), b, nil, violates(1002)})
	}

	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.err != nil && test.err.Code == tipt.CloseProtocol {
				// Whatever follows is not understood any more.
				test.input = join(test.input, frame(ws.OpBinary, true, []byte("after")))
			}
			for _, early := range []bool{false, true} {
				c, _, _, _ := scripted(bytes.NewReader(test.input))
				if early { // all came with the upgrade
					c, _, _, _ = scripted(strings.NewReader(""))
					c.read.ahead = test.input
				}
				got, err := readAll(c)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("messages (-want +got)\n%.500s", diff)
				}
				var ce *link.CloseError
				errors.As(err, &ce)
				if ce != nil && ce.Local {
					if ce.Reason == "" {
						t.Error("a violation has no reason")
					}
					ce.Reason = ""
				}
				if diff := cmp.Diff(test.err, ce); diff != "" {
					t.Errorf("error %v (-want +got)\n%s", err, diff)
				}
				if errors.Is(err, io.EOF) {
					t.Error("the end of the connection looks like that of a message")
				}
				if test.err != nil && test.err.Local {
					// All that is left is discarded.
					for range 3 {
						if _, err := c.Next(); err == nil {
							t.Fatal("a message after a violation")
						}
					}
				}
			}
		})
	}
}

// TestCutFrames: a connection that is lost at any byte says so, and delivers no
// message that was not complete.
func TestCutFrames(t *testing.T) {
	input := join(frame(ws.OpBinary, true, []byte("one")), frame(ws.OpPing, true, []byte("?")),
		frame(ws.OpBinary, false, bytes.Repeat([]byte("x"), 200)), frame(ws.OpContinuation, true, []byte("y")), closing(1001, "bye"))
	for n := range input {
		c, _, _, _ := scripted(iotest.OneByteReader(bytes.NewReader(input[:n])))
		got, err := readAll(c)
		var ce *link.CloseError
		if err == nil || errors.Is(err, io.EOF) || errors.As(err, &ce) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
		for _, m := range got {
			if m != "one" && len(m) != 201 {
				t.Fatalf("cut after %d bytes: message of %d bytes", n, len(m))
			}
		}
	}
	c, _, _, _ := scripted(iotest.OneByteReader(bytes.NewReader(input)))
	if got, err := readAll(c); len(got) != 2 || err == nil {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

// TestSkip: Next skips what was not read of a message.
func TestSkip(t *testing.T) {
	c, _, pinged, _ := scripted(bytes.NewReader(join(
		frame(ws.OpBinary, false, make([]byte, 50_000)), frame(ws.OpPing, true, nil), frame(ws.OpContinuation, true, make([]byte, 50_000)),
		frame(ws.OpBinary, true, []byte("next")))))
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if got, _ := readAll(c); len(got) != 1 || got[0] != "next" {
		t.Errorf("%d messages after a skipped one", len(got))
	}
	if *pinged != 1 {
		t.Error("a PING was skipped with its message")
	}
}

// TestReadLimit: the limit is that of the time when a frame comes.
func TestReadLimit(t *testing.T) {
	c, _, _, _ := scripted(bytes.NewReader(join(
		frame(ws.OpBinary, true, make([]byte, 100)), frame(ws.OpBinary, true, make([]byte, 101)))))
	c.SetReadLimit(100)
	got, err := readAll(c)
	var ce *link.CloseError
	if len(got) != 1 || !errors.As(err, &ce) || ce.Code != tipt.CloseTooLarge {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

// sent parses what was written to a script as a client would.
func sent(t *testing.T, s *script) []ws.Frame {
	t.Helper()
	r := bytes.NewReader(bytes.Join(s.writes, nil))
	state := ws.StateClientSide
	var frames []ws.Frame
	for r.Len() > 0 {
		h, err := ws.ReadHeader(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.CheckHeader(h, state); err != nil {
			t.Fatalf("frame %d: %v", len(frames), err)
		}
		if !h.OpCode.IsControl() {
			state = state.Clear(ws.StateFragmented)
			if !h.Fin {
				state = state.Set(ws.StateFragmented)
			}
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, ws.Frame{Header: h, Payload: payload})
	}
	if s.late {
		t.Error("something was written without a deadline")
	}
	if !s.deadline.IsZero() {
		t.Error("a deadline is left behind")
	}
	return frames
}

// TestWriteJoins: many packets are one write, a large one is several.
func TestWriteJoins(t *testing.T) {
	c, s, _, _ := scripted(nil)
	var packets [][]byte
	for i := range 100 {
		packets = append(packets, bytes.Repeat([]byte{byte(i)}, i))
	}
	c.Ping()
	if err := c.Write(packets); err != nil {
		t.Fatal(err)
	}
	if len(s.writes) != 1 {
		t.Errorf("%d writes for 100 packets", len(s.writes))
	}
	frames := sent(t, s)
	if frames[0].Header.OpCode != ws.OpPing || len(frames) != 101 {
		t.Fatalf("%d frames, first %x", len(frames), frames[0].Header.OpCode)
	}
	for i, f := range frames[1:] {
		if f.Header.OpCode != ws.OpBinary || !f.Header.Fin || !bytes.Equal(f.Payload, packets[i]) {
			t.Errorf("frame %d: %+v", i, f.Header)
		}
	}
	if err := c.Write(nil); err != nil || len(s.writes) != 1 {
		t.Errorf("nothing to write: %d writes, %v", len(s.writes), err)
	}
}

// TestWriteFragments: a large packet goes in fragments, each write has a
// deadline of its own, and what is due meanwhile goes between them.
func TestWriteFragments(t *testing.T) {
	c, s, _, _ := scripted(bytes.NewReader(join(frame(ws.OpPing, true, []byte("now")))))
	s.onWrite = func() {
		if len(s.writes) == 2 {
			if _, err := c.Next(); err == nil { // a PING, then the end
				t.Error("a message")
			}
		}
	}
	packet := bytes.Repeat([]byte("0123456789"), 200_000)
	if err := c.Write([][]byte{packet}); err != nil {
		t.Fatal(err)
	}
	for _, w := range s.writes {
		if len(w) > writeSize+fragmentSize {
			t.Errorf("a write of %d bytes", len(w))
		}
	}
	var got []byte
	pong := -1
	for _, f := range sent(t, s) {
		if f.Header.OpCode == ws.OpPong {
			pong = len(got)
			if string(f.Payload) != "now" {
				t.Errorf("PONG %q", f.Payload)
			}
			continue
		}
		if f.Header.Length > fragmentSize {
			t.Errorf("a fragment of %d bytes", f.Header.Length)
		}
		got = append(got, f.Payload...)
	}
	if !bytes.Equal(got, packet) {
		t.Error("the fragments make another packet")
	}
	if pong < 0 || pong > 3*writeSize {
		t.Errorf("PONG after %d bytes, want it after the second write", pong)
	}
}

// TestLatestPong: only the latest PING is answered when several came.
func TestLatestPong(t *testing.T) {
	c, s, pinged, ponged := scripted(bytes.NewReader(join(
		frame(ws.OpPing, true, []byte("1")), frame(ws.OpPing, true, nil), frame(ws.OpPong, true, []byte("x")), frame(ws.OpPing, true, []byte("3")))))
	if _, err := readAll(c); err == nil {
		t.Fatal("no end")
	}
	if *pinged != 3 || *ponged != 1 {
		t.Errorf("told of %d PINGs and %d PONGs, want 3 and 1", *pinged, *ponged)
	}
	for range 2 {
		if err := c.Write(nil); err != nil {
			t.Fatal(err)
		}
	}
	if frames := sent(t, s); len(frames) != 1 || frames[0].Header.OpCode != ws.OpPong || string(frames[0].Payload) != "3" {
		t.Errorf("answered with %d frames, want one PONG of the latest", len(frames))
	}
}

func TestCloseFrame(t *testing.T) {
	for _, test := range []struct {
		code   int
		reason string
		want   string
	}{
		{tipt.CloseGoingAway, "the node stops", "\x03\xe9the node stops"},
		{tipt.CloseNoStatus, "", ""},
		{tipt.CloseReplaced, strings.Repeat("é", 70), "\x0f\xa1" + strings.Repeat("é", 61)},
	} {
		c, s, _, _ := scripted(nil)
		if err := c.Close(test.code, test.reason); err != nil {
			t.Fatal(err)
		}
		frames := sent(t, s)
		if len(frames) != 1 || frames[0].Header.OpCode != ws.OpClose || string(frames[0].Payload) != test.want {
			t.Errorf("close with %d: % x, want % x", test.code, frames[0].Payload, test.want)
		}
	}
}

// FuzzFrames feeds a node's connection with whatever a client may send. It must not
// panic, take more memory than came, or deliver what did not come.
func FuzzFrames(f *testing.F) {
	f.Add(frame(ws.OpBinary, true, []byte("hi")), uint8(1))
	f.Add(join(frame(ws.OpBinary, false, []byte("a")), frame(ws.OpPing, true, []byte("?")), frame(ws.OpContinuation, true, []byte("b")), closing(1000, "")), uint8(3))
	f.Add(header(ws.OpBinary, true, 1<<63-1), uint8(0))
	f.Add(join(frame(ws.OpText, true, []byte("t")), frame(ws.OpBinary, true, nil)), uint8(14))
	f.Add(join(header(ws.OpBinary, false, 5), []byte("hello"), header(ws.OpContinuation, true, 1<<62)), uint8(2))
	f.Fuzz(func(t *testing.T, input []byte, step uint8) {
		in := io.Reader(bytes.NewReader(input))
		if step > 0 {
			in = &stepReader{in, int(step)}
		}
		c, s, _, _ := scripted(in)
		c.SetReadLimit(1000)
		var total int
		for calls := 0; ; calls++ {
			if calls > len(input)+3 {
				t.Fatal("no progress")
			}
			m, err := c.Next()
			if err == nil {
				var b []byte
				b, err = io.ReadAll(m)
				if len(b) > 1000 {
					t.Fatalf("a message of %d bytes", len(b))
				}
				total += len(b)
			}
			var ce *link.CloseError
			if errors.Is(err, io.EOF) {
				t.Fatalf("error %v", err)
			}
			if err != nil && (!errors.As(err, &ce) || !ce.Local) {
				break
			}
		}
		if total > len(input) {
			t.Fatalf("%d bytes were delivered of %d", total, len(input))
		}
		if err := c.Write([][]byte{nil}); err != nil {
			t.Fatal(err)
		}
		for _, frame := range sent(t, s) {
			if op := frame.Header.OpCode; op != ws.OpPong && op != ws.OpBinary {
				t.Fatalf("frame %x was sent", op)
			}
		}
	})
}

// A stepReader returns at most n bytes at a time.
type stepReader struct {
	r io.Reader
	n int
}

func (s *stepReader) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), s.n)]) }
