package node

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// TestPlainConns: whoever opens connections and asks nothing on them takes the place of those that are idle,
// and not of what is left for others.
func TestPlainConns(t *testing.T) {
	const few, most = 3, 6
	plain := newPlainConns(few, most)
	idle, closed := make(chan struct{}, 16), make(chan struct{}, 16)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	}))
	server.Config.ConnState = func(c net.Conn, s http.ConnState) {
		switch plain.note(c, s); s {
		case http.StateIdle:
			idle <- struct{}{}
		case http.StateClosed:
			closed <- struct{}{}
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ask := func(c net.Conn) {
		t.Helper()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: node.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		<-idle
	}
	wantEnd := func(what string, c net.Conn) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: read %d bytes, %v", what, n, err)
		}
	}
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com"
	asked := make([]net.Conn, few+1)
	for i := range asked {
		asked[i] = tls.Client(dial(), config)
		ask(asked[i])
	}
	wantEnd("idle longest", asked[0])
	<-closed
	for _, c := range asked[1:] {
		ask(c)
	}
	for i := range most {
		dial()
		if i < few { // for one that was idle
			wantEnd("idle, before those that say nothing", asked[i+1])
			<-closed
		}
	}
	wantEnd("one too many", dial())
}
