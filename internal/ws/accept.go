// Package ws carries Tipt's messages over WebSocket (docs/protocol.md, section
// 1): [Accept] for a node, [Dial] for a client.
package ws

import "net/http"

// Accept upgrades a request, whatever its path and Origin; offers of a
// subprotocol or of compression are ignored. It answers a request that is no valid
// upgrade itself and returns an error. Nothing of the request is kept, so the handler
// should return and leave the connection to a goroutine of its own.
func Accept(w http.ResponseWriter, r *http.Request) (*Conn, error) { panic("unwritten") }
