package bare

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxHead bounds the head of a request or response in bytes.
const maxHead = 8 << 10

// key is the Sec-WebSocket-Key of every upgrade. It only keeps caches from answering, and there is none.
const key = "dGhlIGxvYWQgZ2VuZXJhdA=="

// acceptance is the Sec-WebSocket-Accept for a key (RFC 6455, section 4.2.2).
func acceptance(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var accepted = []byte("sec-websocket-accept: " + strings.ToLower(acceptance(key)) + "\r\n")

// A StatusError is Dial's error when the upgrade was answered with another status than 101.
type StatusError struct{ Line string }

func (e *StatusError) Error() string { return "the upgrade was answered " + e.Line }

// Dial connects to a node at HOST:PORT, whose certificate is verified against the
// configuration's ServerName. ctx bounds the handshakes.
func Dial(ctx context.Context, address string, config *tls.Config) (*Conn, error) {
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return Upgrade(ctx, tcp, config)
}

// Upgrade is Dial over a connection that is there already. It takes it over.
func Upgrade(ctx context.Context, tcp net.Conn, config *tls.Config) (*Conn, error) {
	nc := tls.Client(tcp, config)
	early, err := upgrade(ctx, nc, config.ServerName)
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return newConn(nc, true, early), nil
}

// PeerCertificate returns the certificate that Dial has verified.
func (c *Conn) PeerCertificate() *x509.Certificate {
	return c.nc.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

func upgrade(ctx context.Context, nc *tls.Conn, name string) (early []byte, err error) {
	if err := nc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	// A context that ends cuts the connection: nothing else does while the answer is awaited.
	stop := context.AfterFunc(ctx, func() { _ = nc.NetConn().Close() })
	defer stop()
	if _, err := nc.Write([]byte("GET /ws HTTP/1.1\r\nHost: " + name + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n\r\n")); err != nil {
		return nil, fmt.Errorf("ask for the upgrade: %w", err)
	}
	head, early, err := readHead(nc)
	if err != nil {
		return nil, fmt.Errorf("read the answer to the upgrade: %w", errors.Join(err, ctx.Err()))
	}
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 101 ")) {
		return nil, &StatusError{Line: string(line)}
	}
	if !bytes.Contains(bytes.ToLower(head), accepted) {
		return nil, errors.New("the upgrade was not accepted")
	}
	return early, nil
}

// readHead reads up to the empty line, and what came behind it.
func readHead(r io.Reader) (head, early []byte, err error) {
	var b []byte
	chunk := make([]byte, 512)
	for len(b) < maxHead {
		n, err := r.Read(chunk)
		b = append(b, chunk[:n]...)
		if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
			return b[:i+4], b[i+4:], nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("a head of more than %d bytes", maxHead)
}

// Accept upgrades a connection of a client that is known to ask for it rightly.
func Accept(nc net.Conn) (*Conn, error) {
	head, early, err := readHead(nc)
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if _, err := nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + acceptance(r.Header.Get("Sec-WebSocket-Key")) + "\r\n\r\n")); err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return newConn(nc, false, early), nil
}
