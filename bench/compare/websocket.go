package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Frames' opcodes (RFC 6455, section 5.2).
const (
	wsText   = 0x1
	wsBinary = 0x2
	wsClose  = 0x8
	wsPing   = 0x9
	wsPong   = 0xa
	wsFinal  = 0x80
	wsMasked = 0x80
)

// wsUpgrade upgrades the connection.
func wsUpgrade(c *conn, path string) error {
	if err := c.send("GET " + path + " HTTP/1.1\r\nHost: " + c.serverName() + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIGxvYWQgZ2VuZXJhdA==\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("read the answer to the upgrade: %w", err)
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		return errors.New("the upgrade was answered " + r.Status)
	}
	return nil
}

// appendFrame appends a frame of a client, whose mask is zero.
func appendFrame(b []byte, op byte, payload string) []byte {
	b = append(b, wsFinal|op)
	if n := len(payload); n < 126 {
		b = append(b, wsMasked|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, wsMasked|126), uint16(n)) // what is sent here is short
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// wsSend sends a text.
func wsSend(c *conn, text string) error { return c.send(string(appendFrame(nil, wsText, text))) }

// wsNext reads the next message, which is to have one frame, and answers PINGs before it.
func wsNext(c *conn) ([]byte, error) {
	for {
		op, payload, err := wsFrame(c)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		switch op {
		case wsFinal | wsText, wsFinal | wsBinary:
			return payload, nil
		case wsFinal | wsPing:
			if err := c.send(string(appendFrame(nil, wsPong, string(payload)))); err != nil {
				return nil, err
			}
		case wsFinal | wsClose:
			return nil, fmt.Errorf("closed with %q", payload)
		default:
			return nil, fmt.Errorf("frame of kind %#x", op)
		}
	}
}

// wsFrame reads a frame.
func wsFrame(c *conn) (op byte, payload []byte, err error) {
	var header [10]byte
	if _, err := io.ReadFull(c.in, header[:2]); err != nil {
		return 0, nil, err
	}
	size := uint64(header[1])
	switch size {
	case 126:
		_, err = io.ReadFull(c.in, header[2:4])
		size = uint64(binary.BigEndian.Uint16(header[2:]))
	case 127:
		_, err = io.ReadFull(c.in, header[2:10])
		size = binary.BigEndian.Uint64(header[2:])
	}
	if err != nil {
		return 0, nil, err
	}
	if header[1] > 127 || size > maxMessage {
		return 0, nil, fmt.Errorf("a frame that is masked or has %d bytes", size)
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(c.in, payload)
	return header[0], payload, err
}
