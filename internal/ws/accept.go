// Package ws carries Tipt's messages over WebSocket (docs/protocol.md, section
// 1): [Accept] for a node, [Dial] for a client.
package ws

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tipt/tipt-go/link"
)

// Accept upgrades a request, whatever its path and Origin; offers of a
// subprotocol or of compression are ignored. It answers a request that is no valid
// upgrade itself, with 400 or 426, and returns an error. Nothing of the request is kept,
// so the handler should return and leave the connection to a goroutine of its own. It needs
// HTTP/1.1.
func Accept(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	status, fault := http.StatusBadRequest, ""
	switch nonce, err := base64.StdEncoding.DecodeString(key); {
	case r.Method != http.MethodGet:
		fault = "the method is not GET"
	case !r.ProtoAtLeast(1, 1):
		fault = "the protocol is older than HTTP/1.1"
	case !hasToken(r.Header, "Upgrade", "websocket"):
		status, fault = http.StatusUpgradeRequired, "no upgrade to websocket is asked for"
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
	case !hasToken(r.Header, "Connection", "upgrade"):
		fault = "the Connection header lacks Upgrade"
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		status, fault = http.StatusUpgradeRequired, "the WebSocket version is not 13"
		w.Header().Set("Sec-WebSocket-Version", "13")
	case err != nil || len(nonce) != 16:
		fault = "the Sec-WebSocket-Key is not 16 bytes in base64"
	}
	if fault != "" {
		http.Error(w, "no WebSocket upgrade: "+fault, status)
		return nil, errors.New("ws: " + fault)
	}

	nc, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "the connection cannot be upgraded", http.StatusInternalServerError)
		return nil, fmt.Errorf("ws: take over connection: %w", err)
	}
	// What the client sent behind its request was read with it.
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err == nil {
		early = slices.Clone(early)
		err = nc.SetDeadline(time.Time{}) // those of the HTTP server
	}
	if err == nil {
		err = nc.SetWriteDeadline(time.Now().Add(link.StallTimeout))
	}
	if err == nil {
		_, err = nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n" +
			"Upgrade: websocket\r\n" +
			"Connection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: " + acceptance(key) + "\r\n\r\n"))
	}
	if err == nil {
		err = nc.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ws: upgrade: %w", anonymous(err)), anonymous(nc.Close()))
	}
	return newConn(nc, early), nil
}

// acceptance is the Sec-WebSocket-Accept for a key (RFC 6455, section 4.2.2).
func acceptance(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// hasToken reports whether a comma-separated header has a member, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for member := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(member), token) {
				return true
			}
		}
	}
	return false
}
