package conform

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

func transportScenarios() []scenario {
	return []scenario{
		{name: "upgrade", clauses: []string{"T-1.3", "T-1.10", "T-1.29", "T-1.30"}, run: checkUpgrade},
		{name: "tls", clauses: []string{"T-1.6", "T-1.7"}, run: checkTLS},
		{name: "many-connections", clauses: []string{"T-1.11"}, run: checkManyConnections},
		{name: "status", clauses: []string{"T-1.13"}, run: checkStatus},
		{name: "no-upgrade", clauses: []string{"T-1.15"}, run: checkNoUpgrade},
		{name: "fragments", clauses: []string{"T-1.16", "T-1.22", "T-1.23", "T-1.24"}, run: checkFragments},
		{name: "text", clauses: []string{"T-1.18"}, run: checkText},
		{name: "sizes-signed-in", clauses: []string{"T-1.19", "T-1.20"}, run: checkLargeSignedIn},
		{name: "sizes-unsigned", clauses: []string{"T-1.20", "T-1.21"}, run: checkLargeUnsigned},
		{name: "close-lingers", clauses: []string{"T-1.34", "T-1.35"}, run: checkLinger},
		{name: "close", clauses: []string{"T-1.37"}, run: checkClose},
	}
}

func checkUpgrade(t *T) {
	t.on("T-1.3")
	for _, path := range []string{"/", "/ws", "/WS/", "/any/other/path?with=query", "/api/status", "/api/public_key", "/%C3%BC"} {
		c := t.dialWith(dialOptions{path: path})
		c.want(c.exchange(reqHandshake, nil), "HANDSHAKE on path "+path, ok)
	}
	t.on("T-1.10")
	for _, headers := range [][]string{
		{"Origin: https://elsewhere.example"},
		{"Origin: null", "User-Agent: curl/8"},
		{"User-Agent:", "Cookie: a=b", "Forwarded: for=192.0.2.1"},
	} {
		c := t.dialWith(dialOptions{headers: headers})
		c.want(c.exchange(reqHandshake, nil), fmt.Sprintf("HANDSHAKE after %q", headers), ok)
	}
	c := t.dialWith(dialOptions{headers: []string{"Sec-WebSocket-Protocol: tipt, chat"}})
	c.want(c.exchange(reqHandshake, nil), "HANDSHAKE after an offer of subprotocols", ok)
	t.on("T-1.30")
	if got := c.upgrade.Header.Values("Sec-WebSocket-Protocol"); got != nil {
		t.wrong(c, "no Sec-WebSocket-Protocol in the response", fmt.Sprintf("%q", got))
	}
	t.on("T-1.29")
	c = t.dialWith(dialOptions{headers: []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"}})
	if got := c.upgrade.Header.Values("Sec-WebSocket-Extensions"); got != nil {
		t.wrong(c, "no Sec-WebSocket-Extensions in the response", fmt.Sprintf("%q", got))
	}
	c.want(c.exchange(reqHandshake, nil), "HANDSHAKE after an offer of compression", ok)
}

func checkTLS(t *T) {
	t.on("T-1.6")
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		secure, err := t.s.connect(t.ctx, version)
		if err == nil {
			_ = secure.Close() // not wanted
			t.wrong(nil, "a refusal of "+tls.VersionName(version), "a connection")
		}
	}
	secure, err := t.s.connect(t.ctx, tls.VersionTLS12)
	if err != nil {
		t.wrong(nil, "a connection by TLS 1.2", err.Error())
	} else {
		_ = secure.Close() // enough
	}
	t.on("T-1.7")
	secure, err = t.s.connect(t.ctx, 0)
	if err != nil {
		t.fatal(nil, "a connection", err.Error())
	}
	got := secure.ConnectionState().Version
	_ = secure.Close() // enough
	if got != tls.VersionTLS13 {
		t.wrong(nil, "TLS 1.3", tls.VersionName(got))
	}
}

func checkManyConnections(t *T) {
	t.on("T-1.11")
	var all []*conn
	for range 48 {
		c := t.dial()
		c.ask(reqHandshake, nil)
		all = append(all, c)
	}
	for i, c := range all {
		if !c.await(t.s.patience, func() bool { return len(c.arrived) > 0 || c.end != nil }) || !c.open() {
			t.wrong(c, "all of 48 connections served", fmt.Sprintf("number %d: %s", i+1, c.state()))
		}
	}
}

func checkStatus(t *T) {
	t.on("T-1.13")
	t.checkStatus("ok", "overload")
}

func (t *T) checkStatus(want ...string) {
	response, body, err := t.http(http.MethodGet, "/api/status", nil, nil)
	if err != nil {
		t.fatal(nil, "an answer from /api/status", err.Error())
	}
	if response.StatusCode != http.StatusOK {
		t.wrong(nil, "status 200", response.Status)
	}
	for name, value := range map[string]string{"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"} {
		if got := response.Header.Get(name); got != value {
			t.wrong(nil, name+": "+value, name+": "+got)
		}
	}
	if got := response.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.wrong(nil, "Content-Type: application/json", "Content-Type: "+got)
	}
	var status struct {
		Status *string
		Retry  *float64
	}
	if err := json.Unmarshal(body, &status); err != nil || status.Status == nil || status.Retry == nil || *status.Retry < 0 {
		t.fatal(nil, "JSON with status and retry", fmt.Sprintf("%q", body))
	}
	for _, w := range want {
		if *status.Status == w {
			return
		}
	}
	t.wrong(nil, strings.Join(want, " or "), *status.Status)
}

func checkNoUpgrade(t *T) {
	t.on("T-1.15")
	response, _, err := t.http(http.MethodGet, "/ws", nil, nil)
	if err != nil {
		t.fatal(nil, "an answer", err.Error())
	}
	t.check(nil, response.StatusCode/100 == 4, "a 4xx for GET /ws without upgrade", response.Status)
	const version, key = "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	const get, upgrade, connection = "GET /ws HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"
	for name, request := range map[string][]string{
		"version 12":            {get, upgrade, connection, "Sec-WebSocket-Version: 12", key},
		"no version":            {get, upgrade, connection, key},
		"an empty key":          {get, upgrade, connection, version, "Sec-WebSocket-Key: "},
		"no key":                {get, upgrade, connection, version},
		"a key of 15 bytes":     {get, upgrade, connection, version, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"},
		"a key that is none":    {get, upgrade, connection, version, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="},
		"no Connection":         {get, upgrade, version, key},
		"Connection keep-alive": {get, upgrade, "Connection: keep-alive", version, key},
		"no Upgrade":            {get, connection, version, key},
		"another Upgrade":       {get, "Upgrade: h2c", connection, version, key},
		"POST":                  {"POST /ws HTTP/1.1", "Content-Length: 0", upgrade, connection, version, key},
	} {
		secure, err := t.s.connect(t.ctx, 0)
		if err != nil {
			t.fatal(nil, "a connection", err.Error())
		}
		_ = secure.SetDeadline(time.Now().Add(dialTime)) // fails as the write then does
		_, err = io.WriteString(secure, strings.Join(append(request, "Host: "+t.s.host), "\r\n")+"\r\n\r\n")
		line := make([]byte, len("HTTP/1.1 4"))
		if err == nil {
			_, err = io.ReadFull(secure, line)
		}
		_ = secure.Close() // enough
		if err != nil || string(line) != "HTTP/1.1 4" {
			t.wrong(nil, "a 4xx for an upgrade with "+name, fmt.Sprintf("%q, %v", line, err))
		}
	}
}

func checkFragments(t *T) {
	t.on("T-1.22")
	c := t.dial()
	c.ping("before HANDSHAKE", "before HANDSHAKE")
	c.ping("", "with no payload")
	c.ping(strings.Repeat("p", 125), "with 125 bytes of payload")
	t.on("T-1.16")
	id := c.freeID()
	c.expect(id, reqHandshake)
	b := c.request(id, reqHandshake, nil).pack()
	for i := range b {
		opcode := byte(opContinuation)
		if i == 0 {
			opcode = opBinary
		}
		c.sendFrame("fragment", i == len(b)-1, opcode, b[i:i+1])
	}
	c.want(c.response(id), "a HANDSHAKE in fragments of one byte", ok)
	c.signIn(t.registerOn(c))
	id = c.freeID()
	c.expect(id, reqForward)
	large := c.request(id, reqForward, t.forward(true, make([]byte, 1_900_000))).pack()
	c.sendFrame("fragment", false, opBinary, large[:1_000_000])
	t.on("T-1.23")
	c.ping("between fragments", "between the fragments of a large message")
	c.sendFrame("fragment", false, opContinuation, nil)
	c.sendFrame("fragment", false, opContinuation, large[1_000_000:1_800_000])
	c.ping("again between fragments", "between the fragments of a large message")
	c.sendFrame("fragment", true, opContinuation, large[1_800_000:])
	t.on("T-1.16")
	c.response(id) // how it is answered is another matter
	t.on("T-1.24")
	var ids []uint8
	for range 4 {
		ids = append(ids, c.ask(reqSetPassword, fields{"old", "a wrong one", "new", "long enough"}))
	}
	c.ping("work goes on", "while requests are being worked on")
	for _, id := range ids {
		c.response(id)
	}
}

func checkText(t *T) {
	t.on("T-1.18")
	for _, signedIn := range []bool{false, true} {
		c := t.dial()
		if signedIn {
			t.clause = ""
			c = t.member()
			t.on("T-1.18")
		}
		c.sendFrame("text", true, opText, []byte(`{"ver":"1.0.0"}`))
		c.wantClose("a text message", 1003)
	}
}

// padded is a request of exactly that many bytes, most of them in `body.msg`.
func (c *conn) padded(id uint8, size int) raw {
	for n := size; ; {
		b := c.request(id, reqForward, c.t.forward(true, make([]byte, n))).pack()
		if len(b) == size {
			return b
		}
		n += size - len(b)
	}
}

func checkLargeSignedIn(t *T) {
	c := t.member()
	t.on("T-1.19")
	id := c.freeID()
	c.expect(id, reqForward)
	c.sendBytes(c.padded(id, 2_100_000))
	c.want(c.response(id), "a FORWARD in a packet of 2,100,000 bytes", errTooLarge, errNodeRefused, errBusy)
	c.alive("a message of 2,100,000 bytes")
	t.on("T-1.20")
	header, _ := frameHeader(true, opBinary, 2_100_001)
	c.mu.Lock()
	c.note(true, "header of a frame of 2,100,001 bytes", header)
	c.mu.Unlock()
	c.write(header)
	c.wantClose("the header of a message of 2,100,001 bytes", 1009)
	c = t.signIn(c.user)
	part := make([]byte, 700_000)
	c.sendFrame("fragment", false, opBinary, part)
	for range 3 {
		c.sendFrame("fragment", false, opContinuation, part)
	}
	c.wantClose("fragments of together 2,800,000 bytes", 1009)
}

func checkLargeUnsigned(t *T) {
	for _, greeted := range []bool{false, true} {
		t.clause = ""
		c := t.dialAs(false)
		if greeted {
			c = t.greeted()
		}
		t.on("T-1.21")
		want := errHandshakeRequired
		if greeted {
			want = errSignInRequired
		}
		id := c.freeID()
		c.expect(id, reqForward)
		c.sendBytes(c.padded(id, 65_536))
		c.want(c.response(id), "a packet of 65,536 bytes before sign-in", want)
		id = c.freeID()
		c.expect(id, reqForward)
		c.sendBytes(c.padded(id, 65_537))
		if c.await(t.s.patience, func() bool { return len(c.arrived) > 0 || c.end != nil }); !c.open() {
			c.wantClose("a message of 65,537 bytes before sign-in", 1009)
			continue
		}
		c.want(c.response(id), "a packet of 65,537 bytes before sign-in", want)
		t.on("T-1.20")
		header, _ := frameHeader(true, opBinary, 2_100_001)
		c.write(header)
		c.wantClose("the header of a message of 2,100,001 bytes", 1009)
	}
}

func checkLinger(t *T) {
	t.on("T-1.34")
	c := t.greeted()
	c.sendFrame("text", true, opText, []byte("no packet"))
	for range 8 { // far more than sockets buffer, so that a node that does not read sends a reset
		c.sendFrame("packet", true, opBinary, make([]byte, 60_000))
	}
	c.wantClose("a text message with more behind it", 1003)
	t.on("T-1.35")
	for end := c.closedAt().Add(lingers); !c.isGone(); t.pause(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.wrong(c, fmt.Sprintf("the connection to be ended within %v of the close frame, whatever comes", lingers), c.state())
			break
		}
		c.sendFrame("packet", true, opBinary, nil)
	}
}

// lingers is how long a node may go on reading after its close frame, and what a busy machine adds.
const lingers = 5*time.Second + 2*time.Second

// isGone reports whether the TCP connection has ended.
func (c *conn) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

func checkClose(t *T) {
	t.on("T-1.37")
	c := t.greeted()
	c.sendFrame("close", true, opClose, []byte{1000 >> 8, 1000 & 0xff})
	c.wantClose("a close frame with 1000", 1000)
	c = t.dial()
	c.sendFrame("close", true, opClose, nil)
	c.wantClose("a close frame without a code", 1005, 1000)
}

// refused returns the HTTP response by which a connection was refused.
func (t *T) refused() *http.Response {
	secure, _, _, err := t.upgrade(dialOptions{})
	if err == nil {
		_ = secure.Close() // not wanted
		return nil
	}
	var refusal *upgradeError
	if errors.As(err, &refusal) {
		return refusal.response
	}
	t.fatal(nil, "an HTTP response", err.Error())
	return nil
}
