// Package tap puts the packets of a connection into words as they cross the
// wire, for people who want to see what a client and its node say. It shows
// shapes and sizes and short values; never a secret.
package tap

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/tipt/tipt-go"
)

// A Conversation is one connection's packets. Responses do not name their
// request on the wire; a Conversation remembers.
type Conversation struct {
	mu    sync.Mutex // guards the following field
	asked [2][256]string
}

// Describe returns a line for a packet. toNode says in which direction it crosses.
func (c *Conversation) Describe(toNode bool, packet []byte) string {
	p, err := tipt.ParsePacket(packet, tipt.RevisionSeed)
	if err != nil {
		return fmt.Sprintf("%d bytes that are no packet: %v", len(packet), err)
	}
	var what string
	switch p.Type {
	case tipt.PacketRequest:
		what = requestName(toNode, p.Code)
		c.remember(toNode, p.ID, what)
	case tipt.PacketResponse:
		what = c.recall(!toNode, p.ID)
	case tipt.PacketEvent:
		what = eventName(toNode, p.Code)
	}
	line := fmt.Sprintf("%-8s #%-3d %-12s %5d B  ", p.Type, p.ID, what, len(packet))
	if p.Err != nil {
		return line + "error " + p.Err.Error()
	}
	if p.Body == nil {
		return line + "nil"
	}
	return line + describe(p.Body)
}

func requestName(toNode bool, code uint8) string {
	if toNode {
		return tipt.NodeRequest(code).String()
	}
	return tipt.ClientRequest(code).String()
}

func eventName(toNode bool, code uint8) string {
	if toNode {
		return tipt.NodeRequest(code).String()
	}
	return tipt.ClientEvent(code).String()
}

func direction(toNode bool) int {
	if toNode {
		return 1
	}
	return 0
}

func (c *Conversation) remember(toNode bool, id uint8, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[direction(toNode)][id] = what
}

func (c *Conversation) recall(toNode bool, id uint8) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[direction(toNode)][id]
}

// secrets are the keys of bodies whose values are never shown.
var secrets = map[string]bool{"pass": true, "tok": true, "old": true, "new": true, "inv": true}

// maxShown is how many bytes of a value are shown.
const maxShown = 24

// describe puts an encoded value into words.
func describe(b []byte) string {
	var out strings.Builder
	if _, err := appendValue(&out, "", b); err != nil {
		return fmt.Sprintf("% x", b[:min(len(b), maxShown)])
	}
	return out.String()
}

func appendValue(out *strings.Builder, key string, b []byte) (rest []byte, err error) {
	switch msgp.NextType(b) {
	case msgp.MapType:
		return appendMap(out, b)
	case msgp.ArrayType:
		return appendArray(out, b)
	case msgp.StrType:
		value, rest, err := msgp.ReadStringBytes(b)
		if err != nil {
			return nil, err
		}
		if secrets[key] {
			fmt.Fprintf(out, "(%d secret bytes)", len(value))
			return rest, nil
		}
		out.WriteString(strconv.Quote(shorten(value)))
		return rest, nil
	case msgp.BinType:
		value, rest, err := msgp.ReadBytesZC(b)
		if err != nil {
			return nil, err
		}
		appendBinary(out, key, value)
		return rest, nil
	case msgp.BoolType:
		value, rest, err := msgp.ReadBoolBytes(b)
		fmt.Fprint(out, value)
		return rest, err
	case msgp.NilType:
		out.WriteString("nil")
		return msgp.ReadNilBytes(b)
	default:
		value, rest, err := msgp.ReadUint64Bytes(b)
		if err == nil && secrets[key] {
			// GET_NODE_KEY's `new` is a bool, SET_PASSWORD's a string; a number is neither.
			out.WriteString("(secret)")
			return rest, nil
		}
		fmt.Fprint(out, value)
		return rest, err
	}
}

func appendMap(out *strings.Builder, b []byte) ([]byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return nil, err
	}
	out.WriteByte('{')
	for i := range n {
		if i > 0 {
			out.WriteByte(' ')
		}
		var key string
		if key, rest, err = msgp.ReadStringBytes(rest); err != nil {
			return nil, err
		}
		out.WriteString(key + ":")
		if rest, err = appendValue(out, key, rest); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return rest, nil
}

func appendArray(out *strings.Builder, b []byte) ([]byte, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, err
	}
	out.WriteByte('[')
	for i := range n {
		if i > 0 {
			out.WriteByte(' ')
		}
		if rest, err = appendValue(out, "", rest); err != nil {
			return nil, err
		}
	}
	out.WriteByte(']')
	return rest, nil
}

func appendBinary(out *strings.Builder, key string, value []byte) {
	switch {
	case secrets[key]:
		fmt.Fprintf(out, "(%d secret bytes)", len(value))
	case len(value) <= tipt.MessageIDSize:
		out.WriteString(hex.EncodeToString(value))
	default:
		fmt.Fprintf(out, "%x…(%d bytes)", value[:4], len(value))
	}
}

// shorten cuts a text to maxShown bytes, at a rune's end.
func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
