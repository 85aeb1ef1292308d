package node

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// maxPlain is how many connections that are no WebSockets may be open before each new one ends the one that
// has been idle longest: they are of other nodes, of scripts that ask for the status, and of whoever wants
// to use up a node's memory and its files.
const maxPlain = 4096

// plainConns are the connections that are no WebSockets, or none yet. Those on which nothing is asked are kept
// while there is room, and all together are bounded.
type plainConns struct {
	// Static after construction.
	few  int // with more of them, idle ones go
	most int // more than these are not taken

	mu   sync.Mutex                 // guards the following fields
	open map[net.Conn]*list.Element // in idle; nil for one that is not
	idle list.List                  // of net.Conn, the one idle longest in front
}

func newPlainConns(few, most int) *plainConns {
	return &plainConns{few: few, most: most, open: make(map[net.Conn]*list.Element)}
}

// note is [http.Server.ConnState].
func (p *plainConns) note(c net.Conn, state http.ConnState) {
	tooMany := p.change(c, state)
	if tooMany == nil {
		return
	}
	if t, ok := tooMany.(*tls.Conn); ok {
		tooMany = t.NetConn() // TLS would first say goodbye, for up to 5 s
	}
	_ = tooMany.Close() // it is given up
}

// change notes the state of a connection and returns the one that is to be closed for it, nil for none.
func (p *plainConns) change(c net.Conn, state http.ConnState) (tooMany net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if place := p.open[c]; place != nil {
		p.idle.Remove(place)
	}
	switch state {
	case http.StateHijacked, http.StateClosed:
		delete(p.open, c)
		return nil
	case http.StateIdle:
		p.open[c] = p.idle.PushBack(c)
	default:
		p.open[c] = nil
	}
	switch longest := p.idle.Front(); {
	case len(p.open) > p.most && state == http.StateNew:
		return c
	case len(p.open) > p.few && longest != nil:
		p.open[longest.Value.(net.Conn)] = nil
		return p.idle.Remove(longest).(net.Conn)
	}
	return nil
}
