package node

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
)

const (
	statusPath           = "/api/status"
	minRetry, retryRange = 5, 25 // seconds; spread, so that clients do not come back as one
)

// state says whether a node takes connections.
type state uint8

const (
	// running: connections are served.
	running state = iota
	// maintenance: connections get 503 until an operator ends it.
	maintenance
	// stopping: connections get 503, the process ends. Nothing follows it.
	stopping
)

// ServeHTTP upgrades a WebSocket request on every path (section 1.1) and tells
// the node's status to those who cannot see why an upgrade failed (section 1.3).
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			n.log.Error("panic while admitting a connection", "value", v, "stack", string(debug.Stack()))
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}()
	if r.Header.Get("Upgrade") == "" && r.URL.Path == statusPath {
		n.serveStatus(w, r)
		return
	}
	if r.Header.Get("Upgrade") == "" && n.handler.Serves(r.URL.Path) {
		n.serveForward(w, r)
		return
	}
	if r.Header.Get("Upgrade") == "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusUpgradeRequired)
		_, _ = w.Write([]byte("This is the Tipt node " + string(n.config.Name) + ". Open a WebSocket here.\n"))
		return
	}
	if status := n.admit(); status != statusOK {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter()))
		http.Error(w, string(status), http.StatusServiceUnavailable)
		return
	}
	defer n.admitted()
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		n.log.Error("read a peer's address", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	conn, err := ws.Accept(w, r)
	if err != nil {
		n.log.Debug("upgrade refused", "error", err)
		return
	}
	conn.Watch(n.poller)
	n.serve(conn, from.Addr().Unmap())
}

// status is the `status` of /api/status.
type status string

const (
	statusOK          status = "ok"
	statusOverload    status = "overload"
	statusMaintenance status = "maintenance"
)

func (n *Node) serveStatus(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET here", http.StatusMethodNotAllowed)
		return
	}
	answer := struct {
		Status status `json:"status"`
		Retry  int    `json:"retry"`
	}{Status: n.status()}
	if answer.Status != statusOK {
		answer.Retry = retryAfter()
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	// A failure here is the peer's connection, which net/http ends.
	_ = json.NewEncoder(w).Encode(answer)
}

func retryAfter() int { return minRetry + rand.IntN(retryRange+1) }

// status says what a connection would meet now.
func (n *Node) status() status {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case state(n.state.Load()) != running:
		return statusMaintenance
	case len(n.sessions)+n.upgrades >= n.config.MaxConnections && n.oldestUnsignedLocked() == nil:
		return statusOverload
	default:
		return statusOK
	}
}

// admit makes room for one more connection, if need be at the expense of the
// oldest that has not signed in for 30 s (section 1.3). After statusOK the
// caller calls admitted once the connection is served or has failed.
func (n *Node) admit() status {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state(n.state.Load()) != running {
		return statusMaintenance
	}
	if len(n.sessions)+n.upgrades >= n.config.MaxConnections {
		oldest := n.oldestUnsignedLocked()
		if oldest == nil {
			return statusOverload
		}
		delete(n.sessions, oldest)
		delete(n.unsigned, oldest)
		oldest.link.Close(tipt.CloseOverload, "not signed in, and connections are short")
	}
	n.upgrades++
	return statusOK
}

func (n *Node) admitted() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.upgrades--
}

func (n *Node) oldestUnsignedLocked() *session {
	var oldest *session
	for s := range n.unsigned {
		if time.Since(s.opened) >= tipt.UnsignedTimeout && (oldest == nil || s.opened.Before(oldest.opened)) {
			oldest = s
		}
	}
	return oldest
}

// serve starts the session of an upgraded connection, which outlives the HTTP
// request that brought it.
func (n *Node) serve(conn link.Conn, from netip.Addr) {
	s := newSession(n, n.lastConnection.Add(1), from)
	s.link = link.New(conn, link.Options{Handler: s, Budget: n.budget, Logger: s.log, Ignored: n.ignored})
	s.link.SetReadLimit(tipt.MaxUnsignedPacketSize)
	s.link.SetForm(tipt.Form{Open: true})

	n.mu.Lock()
	defer n.mu.Unlock()
	if state(n.state.Load()) != running {
		// The state changed during the upgrade. Nobody waits for sessions that start now.
		s.link.CloseNow()
		return
	}
	n.sessions[s] = struct{}{}
	n.unsigned[s] = struct{}{}
	n.tasks.Add(1)
	s.link.Start(s.ended)
}
