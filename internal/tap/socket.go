package tap

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A socket is the client's end of a connection that is made again. It sends whatever it is given,
// and keeps what comes.
type socket struct {
	tls  *tls.Conn
	done chan struct{} // closed when the reader has ended

	mu           sync.Mutex // guards the following fields and writes
	conversation *Conversation
	arrived      []arrival
	changed      chan struct{} // closed and made anew with each arrival
	closing      bool          // our close frame was sent
}

// An arrival is what the node sent, and what it says.
type arrival struct {
	Crossing
	packet Packet
	taken  bool
}

// A statusError is an answer to an upgrade that is no upgrade.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("the upgrade was answered %d", e.status) }

// open connects to the node and upgrades.
func (t *Target) open(ctx context.Context, secrets *Secrets, path string, header map[string]string) (*socket, error) {
	c, err := t.Dial(ctx)
	if err != nil {
		return nil, err
	}
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	if path == "" {
		path = "/ws"
	}
	fields := map[string]string{
		"Host": t.Host, "Upgrade": "websocket", "Connection": "Upgrade",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": base64.StdEncoding.EncodeToString(key),
	}
	maps.Copy(fields, header)
	lines := []string{"GET " + strings.ReplaceAll(path, " ", "%20") + " HTTP/1.1"}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		lines = append(lines, name+": "+fields[name])
	}
	_ = c.SetDeadline(time.Now().Add(dialTimeout)) // fails as what follows then does
	r := bufio.NewReader(c)
	_, err = c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
	var response *http.Response
	if err == nil {
		response, err = http.ReadResponse(r, nil)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("upgrade: %w", err)
	case response.StatusCode != http.StatusSwitchingProtocols:
		err = &statusError{response.StatusCode}
	}
	if err != nil {
		_ = c.Close() // given up
		return nil, err
	}
	_ = c.SetDeadline(time.Time{}) // likewise
	s := &socket{tls: c, done: make(chan struct{}), conversation: NewConversation(secrets), changed: make(chan struct{})}
	go s.read(r)
	return s, nil
}

func (s *socket) read(r *bufio.Reader) {
	defer close(s.done)
	frames := NewFrames(false, s.take)
	b := make([]byte, 32<<10)
	for {
		n, err := r.Read(b)
		_, _ = frames.Write(b[:n]) // never fails
		if err != nil {
			frames.End("")
			return
		}
	}
}

// take keeps what came. A PING is answered: it comes by the clock, and no record can tell when.
func (s *socket) take(x Crossing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := arrival{Crossing: x}
	switch x.Kind {
	case Ping:
		s.writeLocked(frame(opPong, true, x.Bytes))
		return
	case Binary:
		a.packet = s.conversation.Read(false, x.Bytes)
	default:
		c := Connection{conversation: s.conversation}
		a.packet = c.look(x)
	}
	s.arrived = append(s.arrived, a)
	close(s.changed)
	s.changed = make(chan struct{})
}

// send sends a frame. Whether the node still reads shows in what it sends.
func (s *socket) send(opcode byte, final bool, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if opcode == opBinary && final {
		s.conversation.Read(true, payload)
	}
	s.closing = s.closing || opcode == opClose
	s.writeLocked(frame(opcode, final, payload))
}

func (s *socket) sendRaw(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeLocked(b)
}

func (s *socket) writeLocked(b []byte) {
	_ = s.tls.SetWriteDeadline(time.Now().Add(dialTimeout)) // fails as the write then does
	_, _ = s.tls.Write(b)                                   // the reader sees the end
}

// close ends the connection and waits for its reader.
func (s *socket) close() {
	_ = s.tls.NetConn().Close() // it may have ended
	<-s.done
}

// find takes the first thing that is wanted from those that came or come within that time. It
// returns nil when none does, and when the connection ends before.
func (s *socket) find(ctx context.Context, patience time.Duration, wanted func(*arrival) bool) *arrival {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ended := false
		for i := range s.arrived {
			a := &s.arrived[i]
			if !a.taken && wanted(a) {
				a.taken = true
				found := *a
				s.mu.Unlock()
				return &found
			}
			ended = ended || a.Kind == End
		}
		changed := s.changed
		s.mu.Unlock()
		if ended {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// left returns what came and was not wanted.
func (s *socket) left() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []arrival
	for _, a := range s.arrived {
		if !a.taken {
			left = append(left, a)
		}
	}
	return left
}

// frame is a client's frame. Its masking key is zero: what is masked is nothing secret, and goes to
// no proxy that could be fooled.
func frame(opcode byte, final bool, payload []byte) []byte {
	return append(frameHeader(opcode, final, uint64(len(payload))), payload...)
}

func frameHeader(opcode byte, final bool, n uint64) []byte {
	if final {
		opcode |= 0x80
	}
	b := []byte{opcode}
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), n)
	}
	return append(b, 0, 0, 0, 0)
}
