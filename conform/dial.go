package conform

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1" // RFC 6455 wants it; nothing rests on it
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// dialTime is how long a connection may take to come about.
const dialTime = 15 * time.Second

// dialOptions are of one connection.
type dialOptions struct {
	path    string // /ws if empty
	headers []string
	newest  uint16 // TLS version; 0 for any
}

// connect opens a TLS connection to the node.
func (s *suite) connect(ctx context.Context, newest uint16) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	secure := tls.Client(tcp, &tls.Config{
		ServerName: s.host, RootCAs: s.Roots, MinVersion: tls.VersionTLS10, MaxVersion: newest, NextProtos: []string{"http/1.1"},
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = tcp.Close() // given up
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}

// An upgradeError is an HTTP response that is no upgrade.
type upgradeError struct{ response *http.Response }

func (e *upgradeError) Error() string { return "the upgrade was answered " + e.response.Status }

// upgrade opens a WebSocket. Its response's body is of no use.
func (s *suite) upgrade(ctx context.Context, o dialOptions) (*tls.Conn, *bufio.Reader, *http.Response, error) {
	secure, err := s.connect(ctx, o.newest)
	if err != nil {
		return nil, nil, nil, err
	}
	r, response, err := s.upgradeOn(secure, o)
	if err != nil {
		_ = secure.Close() // given up
		return nil, nil, nil, err
	}
	return secure, r, response, nil
}

func (s *suite) upgradeOn(secure *tls.Conn, o dialOptions) (*bufio.Reader, *http.Response, error) {
	if err := secure.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return nil, nil, fmt.Errorf("set a deadline: %w", err)
	}
	key := base64.StdEncoding.EncodeToString([]byte(rand.Text())[:16])
	if o.path == "" {
		o.path = "/ws"
	}
	lines := append([]string{
		"GET " + o.path + " HTTP/1.1", "Host: " + s.host, "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key,
	}, o.headers...)
	if _, err := secure.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		return nil, nil, fmt.Errorf("ask for the upgrade: %w", err)
	}
	r := bufio.NewReader(secure)
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, nil, fmt.Errorf("read the answer to the upgrade: %w", err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil, &upgradeError{response}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if got, want := response.Header.Get("Sec-WebSocket-Accept"), base64.StdEncoding.EncodeToString(sum[:]); got != want {
		return nil, nil, fmt.Errorf("Sec-WebSocket-Accept is %q, not %q", got, want)
	}
	if err := secure.SetDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("lift the deadline: %w", err)
	}
	return r, response, nil
}
