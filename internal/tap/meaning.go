package tap

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/msgpack"
)

// sealedAnswerSize is that of an answer to GET_USER_KEY: what is in it only its asker reads.
const sealedAnswerSize = 12 + tipt.SealedAnswerSize + 16

// meaning returns what a packet of a node says, a line for each value, in an order of its own.
// What changes from one time to the next is there by its shape: docs/tap.md has the list. Two packets that
// mean the same have the same lines.
func (p *Packet) meaning(b []byte) []string {
	title := p.kind.String() + " " + p.name
	if strings.HasPrefix(p.Title, "MALFORMED") {
		return []string{"MALFORMED", fmt.Sprintf("bytes: %x", p.hide(b))}
	}
	lines := []string{title}
	for _, key := range []string{"body", "err"} {
		v := p.root.Get(b, key)
		if v != nil && v.Family != msgpack.Null {
			lines = append(lines, p.flatten(key, v, b)...)
		}
	}
	if v := p.root.Get(b, "ver"); v == nil && p.revision == tipt.RevisionSeed {
		lines = append(lines, "no ver")
	}
	return lines
}

// flatten returns the lines of a value.
func (p *Packet) flatten(path string, v *msgpack.Value, b []byte) []string {
	if shape, volatile := p.shape(path, v, b); volatile {
		if shape == "" {
			return nil
		}
		return []string{path + ": " + shape}
	}
	var lines []string
	switch v.Family {
	case msgpack.Object:
		if len(v.Items) == 0 {
			return []string{path + ": {}"}
		}
		for i := 0; i+1 < len(v.Items); i += 2 {
			lines = append(lines, p.flatten(join(path, &v.Items[i], b), &v.Items[i+1], b)...)
		}
		slices.Sort(lines)
		return lines
	case msgpack.Array:
		// The only array, `devs`, is in no order.
		var items []string
		for i := range v.Items {
			items = append(items, strings.Join(p.flatten(path+"[]", &v.Items[i], b), ", "))
		}
		slices.Sort(items)
		return append([]string{fmt.Sprintf("%s: array of %d", path, len(items))}, items...)
	case msgpack.Str:
		return []string{path + ": " + strconv.Quote(string(v.Text(b)))}
	case msgpack.Bin:
		return p.flattenBin(path, v.Text(b))
	case msgpack.Uint:
		return []string{path + ": " + p.number(path, v.N)}
	case msgpack.Bool, msgpack.Null:
		return []string{path + ": " + p.value(path, v, b)}
	}
	return []string{fmt.Sprintf("%s: %s % x", path, msgpack.Describe(v.First), b[v.Start:v.End])}
}

// flattenBin looks into what is known to hold a map.
func (p *Packet) flattenBin(path string, b []byte) []string {
	if inner := map[string]string{"body.resp": "resp", "body.msg": "msg"}[path]; inner != "" {
		if v, err := msgpack.Dissect(b, maxValues); err == nil && v.Family == msgpack.Object && v.End == len(b) {
			return (&Packet{name: p.name}).flatten(inner, &v, b)
		}
	}
	if len(b) <= 64 {
		return []string{fmt.Sprintf("%s: %x", path, b)}
	}
	sum := sha256.Sum256(b)
	return []string{fmt.Sprintf("%s: %x… (%s, SHA-256 %x…)", path, b[:16], count(len(b), "byte"), sum[:8])}
}

// shape returns what is compared of a value that changes from one time to the next; nothing if
// it is empty.
func (p *Packet) shape(path string, v *msgpack.Value, b []byte) (shape string, volatile bool) {
	text := v.Text(b)
	switch {
	case (path == "err.msg" || path == "resp.err.msg") && v.Family == msgpack.Str:
		return "", true
	case (path == "err.wait" || path == "resp.err.wait") && v.Family == msgpack.Uint,
		path == "body.wait" && p.name == tipt.EventGoingAway.String() && v.Family == msgpack.Uint:
		return "a wait", true
	case isTime(path) && v.Family == msgpack.Uint:
		return "a time", true
	case path == "body.ver" && v.Family == msgpack.Str:
		_, err := tipt.ParseVersion(string(text))
		return "a version", err == nil
	case path == "body.soft" && v.Family == msgpack.Str:
		return "a text", true
	case path == "body.tok" && v.Family == msgpack.Bin, path == "body.mid" && v.Family == msgpack.Bin:
		return count(len(text), "byte"), true
	case path == "body.key" && p.name == tipt.RequestGetNodeKey.String() && v.Family == msgpack.Bin:
		return "a certificate", len(text) > 0 && len(text) <= tipt.MaxKeySize
	case path == "body.resp" && v.Family == msgpack.Bin:
		return "a sealed answer", len(text) == sealedAnswerSize
	case path == "msg.body" && v.Family == msgpack.Bin:
		return "a sealed message", true
	}
	return "", false
}

// differences returns the lines that only one of two has, with a sign before each.
func differences(recorded, now []string) []string {
	var lines []string
	for _, l := range recorded {
		if !slices.Contains(now, l) {
			lines = append(lines, "- "+plain(l))
		}
	}
	for _, l := range now {
		if !slices.Contains(recorded, l) {
			lines = append(lines, "+ "+plain(l))
		}
	}
	if len(lines) == 0 && !slices.Equal(recorded, now) { // one has a line twice
		lines = append(lines, fmt.Sprintf("- %d lines", len(recorded)), fmt.Sprintf("+ %d lines", len(now)))
	}
	return lines
}
