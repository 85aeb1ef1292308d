package ws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/tipt/tipt-go"
)

// DialOptions are Dial's options. The zero value is usable.
type DialOptions struct {
	// TLS is the configuration; nil is crypto/tls's default. The certificate is
	// verified in any case (section 1.2): one that says otherwise is an error.
	TLS *tls.Config

	// DialContext makes the TCP connection; nil is net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A StatusError is Dial's error when the node answered the upgrade with
// another status than 101.
type StatusError struct {
	Status     int           // of HTTP: 503 when overloaded or in maintenance, 500 after an internal error (section 1.3)
	RetryAfter time.Duration // 0 when the node did not say
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("ws: the node answered with HTTP status %d", e.Status)
}

// Dial connects to a wss URL; ctx bounds the handshake alone. It follows no
// redirect and uses no proxy.
func Dial(ctx context.Context, url string, o DialOptions) (*ClientConn, error) {
	if !strings.HasPrefix(url, "wss://") {
		return nil, fmt.Errorf("ws: connect: %q is no wss URL", url)
	}
	config := &tls.Config{}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	if config.InsecureSkipVerify {
		return nil, errors.New("ws: connect: certificates are always verified")
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	dial := o.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}

	c := new(ClientConn)
	transport := &http.Transport{
		DisableKeepAlives: true, // nothing is asked of a node that did not upgrade
		TLSClientConfig:   config,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := dial(ctx, network, addr)
			c.nc = nc
			return nc, err
		},
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	wc, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:      client,
		CompressionMode: websocket.CompressionDisabled,
		OnPingReceived:  c.onPing,
		OnPongReceived:  c.onPong,
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &StatusError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
		}
		return nil, fmt.Errorf("ws: connect: %w", err)
	}
	wc.SetReadLimit(-1) // ClientConn has its own
	c.conn = wc
	c.limit.Store(tipt.MaxPacketSize)
	return c, nil
}

// retryAfter reads the header of that name, in either form (RFC 9110, section 10.2.3).
func retryAfter(s string) time.Duration {
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}
