package main

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// A patient is a server that is as much of the node node.example as a doctor looks at. Unless
// changed before its start it is well.
type patient struct {
	t        *testing.T
	cert     *tls.Certificate
	version  uint16 // of TLS at most; 0: the newest
	key      *seal.NodeKey
	listener func(net.Conn)                     // nil, or what is done with connections in place of all else
	pages    map[string]http.HandlerFunc        // by path; / is all others
	answers  map[tipt.NodeRequest]func() []byte // the body; without one the connection is closed
	deaf     bool                               // nothing of what comes on a WebSocket is read

	running sync.WaitGroup // connections that were upgraded

	mu    sync.Mutex                  // guards the following
	open  []interface{ CloseNow() }   // connections that were upgraded
	asked map[tipt.NodeRequest][]byte // the body of the last request of a type
}

func newPatientKey(t *testing.T, name string) *seal.NodeKey {
	t.Helper()
	key, err := seal.NewNodeKey(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newPatient(t *testing.T, cert *tls.Certificate) *patient {
	t.Helper()
	p := &patient{t: t, cert: cert, key: newPatientKey(t, "node.example"), asked: make(map[tipt.NodeRequest][]byte)}
	p.pages = map[string]http.HandlerFunc{
		"/":   p.upgrade,
		"/ws": p.upgrade,
		"/api/status": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Cache-Control", "no-store")
			_, _ = io.WriteString(w, `{"status": "ok", "retry": 0}`) // the doctor's to notice
		},
		"/api/public_key": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(p.key.Certificate()) // likewise
		},
	}
	p.pages["/api/forward"] = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("asked for /api/forward by %s %v", r.Method, r.Header)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}
	p.answers = map[tipt.NodeRequest]func() []byte{
		tipt.RequestHandshake: func() []byte {
			return tipt.HandshakeResponse{Version: tipt.Version, Compatible: true}.Append(nil)
		},
		tipt.RequestGetInfo: func() []byte {
			return tipt.GetInfoResponse{Node: "node.example", Software: "fake", Time: time.Now()}.Append(nil)
		},
	}
	return p
}

// start starts the patient, until the end of the test, and returns its address.
func (p *patient) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if p.listener != nil {
		p.running.Go(func() { p.accept(l) })
		t.Cleanup(func() {
			_ = l.Close() // ends accept
			p.running.Wait()
		})
		return l.Addr().String()
	}
	mux := http.NewServeMux()
	for path, page := range p.pages {
		mux.HandleFunc(path, page)
	}
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	config := &tls.Config{Certificates: []tls.Certificate{*p.cert}, MinVersion: tls.VersionTLS10, MaxVersion: p.version}
	p.running.Go(func() { _ = server.Serve(tls.NewListener(l, config)) }) // until Close
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		for _, c := range p.open {
			c.CloseNow()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return l.Addr().String()
}

// accept takes connections, and keeps them until there are no more.
func (p *patient) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }() // the doctor may have
		p.listener(c)
	}
}

// plainHTTP answers as a server without TLS does.
func plainHTTP(c net.Conn) {
	_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n") // the doctor's to notice
}

// hangUp ends the connection instead of an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func (p *patient) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := ws.Accept(w, r)
	if err != nil {
		p.t.Errorf("upgrade: %v", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, conn)
	if p.deaf {
		return
	}
	handler := &patientHandler{patient: p}
	handler.link = link.New(conn, link.Options{Handler: handler})
	p.running.Go(func() { _ = handler.link.Run(context.Background()) }) // until the doctor hangs up
}

// A patientHandler answers on one connection.
type patientHandler struct {
	patient *patient
	link    *link.Link
}

func (h *patientHandler) ServeEvent(tipt.Packet) {}

func (h *patientHandler) ServeTipt(r *link.Request) {
	code := tipt.NodeRequest(r.Code)
	h.patient.mu.Lock()
	h.patient.asked[code] = r.Body
	h.patient.mu.Unlock()
	answer, ok := h.patient.answers[code]
	if !ok {
		h.link.Close(tipt.CloseProtocol, "not today")
		return
	}
	r.Reply(answer())
}
