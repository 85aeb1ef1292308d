package tap

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/msgpack"
)

// Describe returns a line for a packet, which is the next of the conversation.
func (c *Conversation) Describe(toNode bool, packet []byte) string {
	p := c.Read(toNode, packet)
	said := p.root
	kind, id, _ := strings.Cut(p.Title, " #")
	id, name, _ := strings.Cut(id, " ")
	name, _, _ = strings.Cut(name, ",")
	if id == "" { // an EVENT
		kind, name, _ = strings.Cut(kind, " ")
	} else {
		id = "#" + id
	}
	line := fmt.Sprintf("%-8s %-4s %-12s %5d B  ", kind, id, name, len(packet))
	body := said.Get(packet, "body")
	switch failure := said.Get(packet, "err"); {
	case strings.HasPrefix(p.Title, "MALFORMED"):
		return fmt.Sprintf("%s %d B  %s", p.Title, len(packet), p.Notes[0].Text)
	case failure != nil:
		return line + "error " + p.value("err", failure, packet)
	case body == nil:
		return line + "nil"
	}
	return line + p.value("body", body, packet)
}

// maxShown is how many bytes of a value a line shows.
const maxShown = 24

// value puts a value of the packet b into words. The path is that of its key.
func (p *Packet) value(path string, v *msgpack.Value, b []byte) string {
	if n := p.masked(v); n > 0 {
		return fmt.Sprintf("(%d secret bytes)", n)
	}
	switch v.Family {
	case msgpack.Object:
		var parts []string
		for i := 0; i+1 < len(v.Items); i += 2 {
			key := join("", &v.Items[i], b)
			parts = append(parts, key+":"+p.value(path+"."+key, &v.Items[i+1], b))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case msgpack.Array:
		var parts []string
		for i := range v.Items {
			parts = append(parts, p.value(path+"[]", &v.Items[i], b))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case msgpack.Null:
		return "nil"
	case msgpack.Bool:
		return strconv.FormatBool(v.N == 1)
	case msgpack.Str:
		text := string(v.Text(b))
		if path != "err.msg" { // which is made to be read
			text = shorten(text)
		}
		return strconv.Quote(text)
	case msgpack.Bin:
		return p.binary(path, v.Text(b))
	case msgpack.Uint:
		return p.number(path, v.N)
	}
	return msgpack.Describe(v.First)
}

// masked returns how many bytes of a value that holds no others are not to be shown.
func (p *Packet) masked(v *msgpack.Value) int {
	if v.Family == msgpack.Object || v.Family == msgpack.Array {
		return 0
	}
	n := 0
	for _, m := range p.Masks {
		if at, end := max(m.At, v.Start), min(m.At+m.Size, v.End); !m.shown && at < end {
			n += end - at
		}
	}
	return n
}

// number puts a number into words, where it is the code of something.
func (p *Packet) number(path string, n uint64) string {
	text := strconv.FormatUint(n, 10)
	code := uint8(min(n, 0xff))
	switch {
	case isTime(path) && n < 1<<50:
		return time.UnixMilli(int64(n)).UTC().Format("2006-01-02T15:04:05.000Z")
	case n > 0x7f:
	case path == "pakt":
		return tipt.PacketType(code).String()
	case path == "reqt" && p.name != "":
		return p.name
	case path == "err" && p.revision == tipt.RevisionDraft, path == "err.code", path == "body.code" && p.name == tipt.RequestReturn.String():
		return tipt.ErrorCode(code).String()
	case path == "resp.err.code":
		return tipt.ForwardErrorCode(code).String()
	case path == "body.reg":
		return tipt.Registration(code).String()
	case path == "msg.type":
		return tipt.ContentType(code).String()
	}
	return text
}

// isTime reports whether a key's value is a time.
func isTime(path string) bool {
	return path == "body.time" || path == "body.devs[].seen" || path == "msg.body.time"
}

// binary puts bytes into words. Some hold a map, which is shown too.
func (p *Packet) binary(path string, b []byte) string {
	inner := map[string]string{"body.resp": "resp", "body.msg": "msg"}[path]
	if inner != "" && len(b) > 0 && len(b) <= maxInner && p.name != tipt.RequestForward.String() || inner == "resp" && len(b) <= maxInner {
		if v, err := msgpack.Dissect(b, maxValues); err == nil && v.Family == msgpack.Object && v.End == len(b) {
			return fmt.Sprintf("%d bytes: %s", len(b), (&Packet{name: p.name}).value(inner, &v, b))
		}
	}
	if len(b) <= tipt.MessageIDSize {
		return hex.EncodeToString(b)
	}
	return fmt.Sprintf("%x…(%d bytes)", b[:4], len(b))
}

// maxInner is the size up to which what a binary holds is looked at.
const maxInner = 4096

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
