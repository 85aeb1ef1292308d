// Package tipt holds the vocabulary and the codec of the Tipt client-node
// protocol: enums, packets, bodies, errors, addresses and limits, as
// docs/protocol.md describes them. It does no I/O, starts no goroutine and
// asks no clock.
//
// # Conversation
//
// A client opens a secure WebSocket to its node. Each binary message is one
// [Packet]; either side sends requests, responses and events:
//
//	client                          node
//	REQUEST  HANDSHAKE         →
//	                           ←    RESPONSE {ver, comp}
//	REQUEST  SIGN_IN           →
//	                           ←    RESPONSE {addr, tok}
//	REQUEST  FORWARD           →
//	                           ←    RESPONSE nil, the message is on the disk
//	                           ←    REQUEST  DELIVER
//	RESPONSE nil, it is taken  →
//
// # Parsing
//
// Parse functions are pure and strict: they accept exactly what section 2
// of docs/protocol.md accepts and name the key, what was found and what was
// expected. Byte slices in a parsed value alias the input.
package tipt
