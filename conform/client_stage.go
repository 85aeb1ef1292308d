package conform

import (
	"bufio"
	"context"
	"crypto/sha1" // RFC 6455 wants it; nothing rests on it
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A stage is a scenario with a client while it runs: the node that it talks to, and the
// program.
type stage struct {
	*T
	run      *clientSuite
	listener net.Listener
	user     string // as which the client is to sign in
	pass     string
	to       string // whom it is to write to, at otherNode
	secret   string // file of its user's key, "" for none
	home     string // folder that the client has for its own, "" for that of who runs the suite
	program  *program
	ending   context.CancelFunc
	group    sync.WaitGroup // of all goroutines that serve

	mu      sync.Mutex    // guards the following fields, and the program's output
	changed chan struct{} // closed and made anew at each change
	rules   rules
	keys    []*openingKey // those given out
	callers []*caller
	guests  []*guest
	met     int // guests that the scenario has got
	letters []*letter
	tokens  map[string]bool
	friends map[string]*correspondent // by address: whose certificates the node has
	lures   []*correspondent          // whose certificates it gives out, but should not be believed
	own     []byte                    // the certificate that the client has SET; nil without one
}

// rules are how the node behaves. The zero rules are those of a good one.
type rules struct {
	certificate *tls.Certificate // nil for the proper one
	newest      uint16           // TLS version; 0 for any
	refuse      bool             // no connection gets as far as TLS
	status      int              // of the upgrade's answer; 0 to upgrade
	header      http.Header      // of that answer
	version     string           // of the protocol; "" for 1.0.0
	greet       func(*guest)     // before anything of the client is read
	inside      func(fields) raw // encodes the answers of other nodes; nil for the smallest encodings
	// answer is called with each request and event, on the connection's reader. It returns true
	// where nothing more is to be done about it.
	answer func(g *guest, p *packet, l *letter) bool
}

// A caller is a TCP connection that came.
type caller struct {
	at       time.Time
	settled  bool // what came of it is known
	server   string
	secure   bool // TLS came about
	asked    bool // for an upgrade, or anything else
	failure  error
	version  uint16
	upgraded bool
}

func (c *clientSuite) newStage(t *T) (*stage, error) {
	n := c.suite.names.Add(1)
	st := &stage{
		T: t, run: c, changed: make(chan struct{}), tokens: make(map[string]bool), keys: []*openingKey{c.key}, friends: make(map[string]*correspondent),
		user: fmt.Sprintf("conform-%s-%d", c.suite.run, n), pass: "correct horse " + c.suite.run, to: fmt.Sprintf("friend-%d", n),
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
	st.ending = cancel
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen: %w", err)
	}
	st.listener = listener
	st.group.Go(func() {
		for {
			tcp, err := listener.Accept()
			if err != nil {
				return // closed by end
			}
			st.group.Go(func() { st.admit(ctx, tcp) })
		}
	})
	return st, nil
}

// end ends the client, then the node.
func (st *stage) end() {
	if st.program != nil {
		st.program.end()
	}
	_ = st.listener.Close() // whose error is that it is closed
	st.ending()
	st.group.Wait()
}

// behave changes how the node behaves from now on.
func (st *stage) behave(change func(*rules)) {
	st.mu.Lock()
	change(&st.rules)
	st.mu.Unlock()
}

// signal tells who waits that something has changed. The caller holds mu.
func (st *stage) signal() {
	close(st.changed)
	st.changed = make(chan struct{})
}

// note changes the stage and tells who waits.
func (st *stage) note(change func()) {
	st.mu.Lock()
	change()
	st.signal()
	st.mu.Unlock()
}

// within waits until f, which is called with mu held, is true; it returns false when it did not
// become so in that time.
func (st *stage) within(d time.Duration, f func() bool) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		st.mu.Lock()
		done, changed := f(), st.changed
		st.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-st.ctx.Done():
			st.giveUp()
		}
	}
}

// await is within the patience, and while the program runs.
func (st *stage) await(f func() bool) bool {
	found := false
	st.within(st.s.patience, func() bool {
		found = f()
		return found || st.program.hasEnded() != ""
	})
	if !found {
		st.waited++
	}
	return found
}

// state says what the client does instead of what it should.
func (st *stage) state() string {
	text := fmt.Sprintf("nothing within %v", st.s.patience)
	if ended := st.program.hasEnded(); ended != "" {
		text = ended
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := len(st.callers) - 1; i >= 0; i-- {
		if failure := st.callers[i].failure; failure != nil {
			text += fmt.Sprintf("; a connection came to nothing: %v", failure)
			break
		}
	}
	if errs := st.program.errs.last(); errs != "" {
		text += fmt.Sprintf("; its standard error ends with %q", errs)
	}
	return text
}

// admit lets a connection in as the rules say.
func (st *stage) admit(ctx context.Context, tcp net.Conn) {
	defer func() { _ = tcp.Close() }()                         // it may have ended
	defer context.AfterFunc(ctx, func() { _ = tcp.Close() })() // ends its reader
	c := &caller{at: time.Now()}
	var r rules
	st.note(func() {
		r = st.rules
		st.callers = append(st.callers, c)
	})
	g, err := st.upgrade(tcp, c, r)
	st.note(func() {
		c.settled, c.failure = true, err
		if g != nil {
			c.upgraded = true
			st.guests = append(st.guests, g)
		}
	})
	if g != nil {
		<-g.readDone
	}
}

// upgrade brings a connection as far as the rules want, and returns no guest where that is not far.
func (st *stage) upgrade(tcp net.Conn, c *caller, r rules) (*guest, error) {
	if r.refuse {
		return nil, nil // it was not to come to anything
	}
	if err := tcp.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return nil, fmt.Errorf("set a deadline: %w", err)
	}
	certificate := r.certificate
	if certificate == nil {
		certificate = st.run.proper
	}
	secure := tls.Server(tcp, &tls.Config{
		Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS10, MaxVersion: r.newest,
		// A connection that is taken up again would not show the certificate.
		SessionTicketsDisabled: true, NextProtos: []string{"http/1.1"},
	})
	if err := secure.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	state := secure.ConnectionState()
	st.note(func() { c.secure, c.server, c.version = true, state.ServerName, state.Version })
	reader := bufio.NewReader(secure)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return nil, fmt.Errorf("read the request for an upgrade: %w", err)
	}
	st.note(func() { c.asked = true })
	answer := &http.Response{StatusCode: r.status, ProtoMajor: 1, ProtoMinor: 1, Header: r.header, Close: true}
	key := request.Header.Get("Sec-WebSocket-Key")
	switch {
	case request.URL.Path == "/api/status":
		body := `{"status": "ok", "retry": 0}`
		answer.StatusCode, answer.ContentLength, answer.Body = 200, int64(len(body)), io.NopCloser(strings.NewReader(body))
		answer.Header = http.Header{"Access-Control-Allow-Origin": {"*"}, "Cache-Control": {"no-store"}, "Content-Type": {"application/json"}}
	case !strings.EqualFold(request.Header.Get("Upgrade"), "websocket") || key == "":
		answer.StatusCode, answer.Header = http.StatusUpgradeRequired, nil
	case r.status == 0:
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		answer.StatusCode, answer.Close = http.StatusSwitchingProtocols, false
		answer.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-WebSocket-Accept": {base64.StdEncoding.EncodeToString(sum[:])}}
	}
	if err := answer.Write(secure); err != nil {
		return nil, fmt.Errorf("answer the request for an upgrade: %w", err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil // it was not to come to anything
	}
	if err := tcp.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("lift the deadline: %w", err)
	}
	return st.newGuest(secure, reader, request, r), nil
}

// guest returns the next connection of the client that was upgraded.
func (st *stage) guest() *guest {
	g := st.guestWithin(st.s.patience)
	if g == nil {
		st.fatal(nil, "the client to connect", st.state())
	}
	return g
}

// guestWithin is guest with a time of its own; it returns nil when none came.
func (st *stage) guestWithin(d time.Duration) *guest {
	var g *guest
	st.within(d, func() bool {
		if st.met < len(st.guests) {
			g = st.guests[st.met]
			st.met++
		}
		return g != nil || st.program.hasEnded() != ""
	})
	return g
}

// again is guest after a loss: it allows for the pauses of a client that backs off.
func (st *stage) again() *guest {
	g := st.guestWithin(st.s.patience + backOff)
	if g == nil {
		st.fatal(nil, "the client to connect again", st.state())
	}
	return g
}

// backOff is longer than a client pauses that has lost its node a few times in a row.
const backOff = 16 * time.Second

// letter returns the next MESSAGE with a text that no scenario has looked at.
func (st *stage) letter(text string) *letter {
	l := st.letterWithin(text, st.s.patience)
	if l == nil {
		st.waited++
		st.fatal(st.lastConn(), fmt.Sprintf("a FORWARD of a MESSAGE with the text %q", text), st.state())
	}
	return l
}

func (st *stage) letterWithin(text string, d time.Duration) *letter {
	var found *letter
	st.within(d, func() bool {
		for _, l := range st.letters {
			if !l.taken && l.text == text {
				l.taken, found = true, l
				return true
			}
		}
		return st.program.hasEnded() != ""
	})
	return found
}

// countSent is how many letters have a text that begins so. The caller holds mu.
func (st *stage) countSent(text string) int {
	n := 0
	for _, l := range st.letters {
		if strings.HasPrefix(l.text, text) {
			n++
		}
	}
	return n
}

// lastConn is the newest connection, nil without one.
func (st *stage) lastConn() *conn {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.guests) == 0 {
		return nil
	}
	return st.guests[len(st.guests)-1].conn
}

// printed waits until a line of standard output has that text in it.
func (st *stage) printed(text string) bool {
	return st.await(func() bool { return st.countPrinted(text) > 0 })
}

// countPrinted is how many of the lines kept have that text in them. The caller holds mu.
func (st *stage) countPrinted(text string) int {
	n := 0
	for _, line := range st.program.out.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// connected starts the client and returns its first connection once it has signed in.
func (st *stage) connected() *guest {
	st.start()
	g := st.guest()
	st.signedIn(g)
	return g
}

// signedIn waits until a connection has signed in.
func (st *stage) signedIn(g *guest) {
	if !g.await(st.s.patience, func() bool { return g.in || g.end != nil }) || !g.isIn() {
		st.fatal(g.conn, "the client to sign in", g.state())
	}
}
