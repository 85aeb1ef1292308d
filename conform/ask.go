package conform

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// request is a packet as a good client sends it; changes replace its keys.
func (c *conn) request(id uint8, code int, body any) fields {
	f := fields{"ver", c.ver, "id", id, "pakt", pktRequest, "reqt", code}
	if c.drafts && c.guest == nil && code == reqHandshake && body == nil {
		body = fields{"ver", c.ver}
	}
	if body != nil {
		f = append(f, "body", body)
	}
	return c.root(f)
}

// freeID returns an id that is not in flight.
func (c *conn) freeID() uint8 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range 256 {
		id := c.next
		c.next++
		if _, busy := c.asked[id]; !busy {
			return id
		}
	}
	panic("conform: 256 requests in flight")
}

// expect says that a response with that id is to come to what is sent next.
func (c *conn) expect(id uint8, code int) {
	c.mu.Lock()
	c.asked[id] = code
	c.mu.Unlock()
}

// ask sends a request and returns its id.
func (c *conn) ask(code int, body any) uint8 {
	id := c.freeID()
	c.expect(id, code)
	c.sendBytes(c.request(id, code, body).pack())
	return id
}

// response returns the response with that id.
func (c *conn) response(id uint8) *packet {
	p := c.find(func(p *packet) bool { return p.pakt == pktResponse && p.id == id })
	if p == nil {
		c.t.fatal(c, fmt.Sprintf("a response with id %d", id), c.state())
	}
	return p
}

// patient is how often a request is made again that is answered BUSY.
const patient = 20

// exchange makes a request and returns its response; when that is BUSY, again after its
// `wait`.
func (c *conn) exchange(code int, body any) *packet {
	return c.exchangeBytes(code, func(id uint8) raw { return c.request(id, code, body).pack() })
}

// exchangeBytes is exchange with the packet given in bytes, made for an id.
func (c *conn) exchangeBytes(code int, make func(id uint8) raw) *packet {
	for n := 0; ; n++ {
		id := c.freeID()
		c.expect(id, code)
		c.sendBytes(make(id))
		p := c.response(id)
		if p.code != errBusy || n == patient {
			return p
		}
		c.t.pause(time.Duration(max(p.wait(), 100)) * time.Millisecond)
	}
}

// want checks how a request was answered.
func (c *conn) want(p *packet, what string, codes ...int) bool {
	if slices.Contains(codes, p.code) {
		return true
	}
	var names []string
	for _, code := range codes {
		names = append(names, errorName(code))
	}
	c.t.wrong(c, strings.Join(names, " or ")+" for "+what, p.String())
	return false
}

// wantOK ends the scenario unless the response is without an error.
func (c *conn) wantOK(p *packet) *packet {
	if p.code != ok {
		c.t.fatal(c, "a response without an error", p.String())
	}
	return p
}

// try makes a request and checks how it is answered.
func (c *conn) try(code int, body any, what string, want ...int) *packet {
	p := c.exchange(code, body)
	c.want(p, requestNames[code]+" with "+what, want...)
	return p
}

// deliver returns the node's next request, a DELIVER or RETURN.
func (c *conn) deliver() *packet {
	p := c.find(func(p *packet) bool { return p.pakt == pktRequest })
	if p == nil {
		c.t.fatal(c, "a DELIVER or RETURN", c.state())
	}
	return p
}

// answer answers a request of the node with nil, or an error's code and further keys.
func (c *conn) answer(p *packet, code int, more ...any) {
	f := c.root(fields{"ver", c.ver, "id", p.id, "pakt", pktResponse})
	switch {
	case code != ok && c.drafts:
		f = append(f, "err", code)
	case code != ok:
		f = append(f, "err", append(fields{"code", code}, more...))
	}
	c.mu.Lock()
	delete(c.theirs, p.id)
	c.mu.Unlock()
	c.sendBytes(f.pack())
}

// quiet shows that the node has nothing to say: what it is asked now it answers next.
func (c *conn) quiet(what string) bool {
	id := c.ask(reqGetInfo, nil)
	p := c.find(func(*packet) bool { return true })
	if p == nil {
		c.t.fatal(c, what, c.state())
	}
	if p.pakt == pktResponse && p.id == id {
		return true
	}
	c.t.wrong(c, what, p.String())
	return false
}

// wantClose waits for the node to close, and checks with which code.
func (c *conn) wantClose(what string, codes ...int) bool {
	c.await(c.t.s.patience, func() bool { return c.end != nil })
	c.mu.Lock()
	end := c.end
	c.mu.Unlock()
	want := fmt.Sprintf("a close with %s after %s", strings.ReplaceAll(strings.Trim(fmt.Sprint(codes), "[]"), " ", " or "), what)
	switch {
	case end == nil:
		c.t.wrong(c, want, c.state())
	case !slices.Contains(codes, end.code):
		c.t.wrong(c, want, end.String())
	default:
		return true
	}
	return false
}

// open reports whether the connection has not ended.
func (c *conn) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end == nil
}

// has reports whether a packet has come that is wanted, and leaves it there.
func (c *conn) has(wanted func(*packet) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.arrived, wanted)
}

// alive shows that the connection goes on: GET_INFO is answered.
func (c *conn) alive(what string) bool {
	id := c.ask(reqGetInfo, nil)
	p := c.find(func(p *packet) bool { return p.pakt == pktResponse && p.id == id })
	if p == nil || !c.open() { // it may answer after its close frame
		c.t.wrong(c, "the connection to go on after "+what, c.state())
		return false
	}
	return true
}

// ping sends a PING and waits for its PONG.
func (c *conn) ping(payload, when string) {
	c.sendFrame("PING", true, opPing, []byte(payload))
	c.wantPong(payload, when)
}

// wantPong waits for the PONG to a PING that was sent.
func (c *conn) wantPong(payload, when string) {
	if !c.await(c.t.s.patience, func() bool { return slices.Contains(c.pongs, payload) || c.end != nil }) || !c.open() {
		c.t.wrong(c, "a PONG of the same payload "+when, c.state())
	}
}

// eventually waits until f is true, which it asks anew from time to time.
func (c *conn) eventually(what string, f func() bool) {
	for end := time.Now().Add(c.t.s.patience); !f(); {
		if time.Now().After(end) {
			c.t.fatal(c, what, fmt.Sprintf("not within %v", c.t.s.patience))
		}
		c.t.pause(20 * time.Millisecond)
	}
}
