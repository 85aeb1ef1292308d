package conform

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// anyRequest is in place of a request's code.
const anyRequest = -2

// swap is a node that answers a request with one error where another, or none, is right.
func swap(clause string, request, from, to int) defect {
	name := "says " + errorName(to) + " for " + errorName(from)
	return defect{clause: clause, name: name, say: func(_ *bent, f fields, asked int) any {
		if asked < 0 || request != anyRequest && asked != request || f.code() != from {
			return nil
		}
		f = f.without("err")
		if to != ok {
			f = append(f.without("body"), "err", fields{"code", to})
		}
		return f
	}}
}

// edit is a node that changes responses to a request.
func edit(clause, name string, request int, change func(fields) fields) defect {
	return defect{clause: clause, name: name, say: func(_ *bent, f fields, asked int) any {
		if asked < 0 || request != anyRequest && asked != request {
			return nil
		}
		return change(f)
	}}
}

// editBody is a node that changes the bodies of responses to a request.
func editBody(clause, name string, request int, change func(fields) fields) defect {
	return edit(clause, name, request, func(f fields) fields {
		if body := f.part("body"); body != nil {
			return f.with("body", change(body))
		}
		return f
	})
}

// lenient is a node that takes what it should refuse, because it mends it first.
func lenient(clause, name string, mend func(fields) fields) defect {
	return defect{clause: clause, name: name, ask: func(_ *bent, f fields) []raw { return []raw{mend(f).pack()} }}
}

// strict is a node that refuses what it should take.
func strict(clause, name string, code int, refuses func(fields) bool) defect {
	return defect{clause: clause, name: name, ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktRequest && refuses(f) {
			return b.fail(f, code)
		}
		return nil
	}}
}

// requested is a node whose requests to the client are changed.
func requested(clause, name string, change func(b *bent, f fields) any) defect {
	return defect{clause: clause, name: name, say: func(b *bent, f fields, _ int) any {
		if number(f, "pakt") != pktRequest {
			return nil
		}
		return change(b, f)
	}}
}

// closes is a node that closes with another code.
func closes(clause string, from, to int) defect {
	return defect{clause: clause, name: "closes with another code", down: func(_ *bent, f frame) []frame {
		if f.opcode == opClose && len(f.payload) >= 2 && int(f.payload[0])<<8|int(f.payload[1]) == from {
			f.payload = []byte{byte(to >> 8), byte(to)}
		}
		return []frame{f}
	}}
}

// tolerant is a node that overlooks packets that must close the connection.
func tolerant(clause, name string, overlooks func(fields) bool) defect {
	return defect{clause: clause, name: name, ask: func(_ *bent, f fields) []raw {
		if overlooks(f) {
			return []raw{}
		}
		return nil
	}}
}

// rewrite packs a value anew, each part of it changed by f; nil drops a map's key.
func rewrite(b raw, f func(v *value, b raw) raw) raw {
	v, err := unpack(b)
	if err != nil {
		return b
	}
	return v.rewrite(b, f)
}

func (v *value) rewrite(b raw, f func(*value, raw) raw) raw {
	if changed := f(v, b); changed != nil {
		return changed
	}
	switch v.kind {
	case kindMap:
		var all fields
		for i := 0; i < len(v.items); i += 2 {
			all = append(all, v.items[i].rewrite(b, f), v.items[i+1].rewrite(b, f))
		}
		return all.pack()
	case kindArray:
		var all []any
		for _, item := range v.items {
			all = append(all, item.rewrite(b, f))
		}
		return pack(all)
	}
	return raw(b[v.head:v.end])
}

// mend is lenient by values rather than keys.
func mend(clause, name string, f func(v *value, b raw) raw) defect {
	return lenient(clause, name, func(p fields) fields {
		changed, err := unpackFields(rewrite(p.pack(), f))
		if err != nil {
			return p
		}
		return changed
	})
}

func isFirst(b *bent) bool {
	b.count++
	return b.count == 1
}

var defects = slices.Concat(transportDefects, packetDefects, exchangeDefects, accountDefects, messageDefects, nodeDefects, draftDefects, ownDefects, secondDefects, vouchDefects, statusDefects, quotaDefects)

func refuse(clause, name string, f func(*http.Request) bool) defect {
	return refuseWith(clause, name, http.StatusNotFound, f)
}

func refuseWith(clause, name string, status int, f func(*http.Request) bool) defect {
	return defect{clause: clause, name: name, admit: func(r *http.Request) int {
		if f(r) {
			return status
		}
		return 0
	}}
}

func fromScript(r *http.Request) bool { return r.Header.Get("Origin") != "" }

// crowded takes only some connections.
func crowded() defect {
	var count atomic.Int64
	return refuse("T-1.11", "counts connections", func(*http.Request) bool { return count.Add(1) > 20 })
}

var transportDefects = []defect{
	refuse("T-1.3", "knows one path", func(r *http.Request) bool { return r.URL.Path != "/ws" }),
	refuse("T-1.8", "minds the Origin", fromScript).during("upgrade"),
	refuse("T-1.10", "minds the Origin", fromScript),
	refuseWith("T-1.200", "says 502", http.StatusBadGateway, fromScript).during("upgrade"),
	refuseWith("T-1.200", "does not say when to come again", http.StatusServiceUnavailable, fromScript).during("upgrade"),
	{clause: "T-1.6", name: "speaks TLS 1.0", oldest: tls.VersionTLS10},
	{clause: "T-1.7", name: "speaks TLS 1.2 alone", newest: tls.VersionTLS12},
	crowded(),
	{clause: "T-1.35", name: "never ends", keep: true},
	{clause: "T-1.13", name: "no CORS", page: func(_ *http.Request, p *page) { p.header.Del("Access-Control-Allow-Origin") }},
	{clause: "T-1.15", name: "200 for no upgrade", page: func(_ *http.Request, p *page) {
		if p.status/100 == 4 {
			p.status = 200
		}
	}, only: "no-upgrade"},
	closes("T-1.39", 1003, 4003).during("text"),
	{clause: "T-1.16", name: "no fragments", up: func(b *bent, f frame) []frame {
		if !f.final && f.opcode < opClose || f.opcode == opContinuation {
			b.shut(1003)
			return nil
		}
		return []frame{f}
	}},
	{clause: "T-1.17", name: "text frames", only: "info", down: func(_ *bent, f frame) []frame {
		if f.opcode == opBinary {
			f.opcode = opText
		}
		return []frame{f}
	}},
	{clause: "T-1.17", name: "reserved bits", only: "info", down: func(_ *bent, f frame) []frame { f.bits = 4; return []frame{f} }},
	closes("T-1.18", 1003, 1002),
	closes("T-1.20", 1009, 1002),
	{clause: "T-1.19", name: "a limit that is too low", up: func(b *bent, f frame) []frame {
		if len(f.payload) > 2_000_500 {
			b.shut(1009)
			return nil
		}
		return []frame{f}
	}},
	{clause: "T-1.21", name: "a limit that is too low", up: func(b *bent, f frame) []frame {
		if len(f.payload) > 60_000 {
			b.shut(1009)
			return nil
		}
		return []frame{f}
	}},
	{clause: "T-1.22", name: "PONG of another payload", down: func(_ *bent, f frame) []frame {
		if f.opcode == opPong {
			f.payload = []byte("pong")
		}
		return []frame{f}
	}},
	{clause: "T-1.23", name: "no PONG between fragments", up: func(b *bent, f frame) []frame {
		if f.opcode < opClose && !f.final {
			b.note = "message"
		} else if f.opcode < opClose {
			b.note = ""
		}
		if f.opcode == opPing && b.note != "" {
			return nil
		}
		return []frame{f}
	}},
	{clause: "T-1.24", name: "no PONG while working", up: func(b *bent, f frame) []frame {
		if f.opcode == opPing && string(f.payload) == "work goes on" {
			return nil
		}
		return []frame{f}
	}},
	{clause: "T-1.29", name: "takes compression", head: func(h http.Header) { h.Set("Sec-WebSocket-Extensions", "permessage-deflate") }},
	{clause: "T-1.30", name: "takes a subprotocol", head: func(h http.Header) { h.Set("Sec-WebSocket-Protocol", "tipt") }},
	{clause: "T-1.37", name: "another code back", down: func(_ *bent, f frame) []frame {
		if f.opcode == opClose {
			f.payload = []byte{1002 >> 8, 1002 & 0xff}
		}
		return []frame{f}
	}},
}

func changed(clause, name string, change func(b *bent, f fields) fields) defect {
	return defect{clause: clause, name: name, only: "info", say: func(b *bent, f fields, _ int) any { return change(b, f) }}
}

var packetDefects = []defect{
	changed("T-2.1", "a key more", func(_ *bent, f fields) fields { return append(f, "more", 1) }),
	changed("T-2.2", "a short version", func(_ *bent, f fields) fields { return f.with("ver", "1.0") }),
	changed("T-2.4", "reqt in a RESPONSE", func(_ *bent, f fields) fields { return append(f, "reqt", 0) }),
	edit("T-2.8", "err beside body", reqGetInfo, func(f fields) fields { return append(f, "err", fields{"code", 0}) }).late(),
	changed("T-2.10", "wide ids", func(_ *bent, f fields) fields { return f.with("id", packAs(0xcd, number(f, "id"))) }),
	changed("T-2.210", "wide ids", func(_ *bent, f fields) fields { return f.with("id", packAs(0xcd, number(f, "id"))) }),
	{clause: "T-2.210", name: "a root in a map 32", only: "info", say: func(_ *bent, f fields, _ int) any { return []raw{f.packAs(0xdf)} }},
	changed("T-2.210", "a long key", func(_ *bent, f fields) fields { return append(f.without("pakt"), packAs(0xda, "pakt"), f.get("pakt")) }),
	edit("T-2.210", "a wide string", reqGetInfo, func(f fields) fields {
		return f.with("body", f.part("body").with("soft", packAs(0xda, "software")))
	}).during("info"),
	changed("T-4.10", "changing versions", func(b *bent, f fields) fields {
		if isFirst(b) {
			return f
		}
		return f.with("ver", "1.0.1")
	}),
	edit("T-6.1", "a key more", reqGetInfo, func(f fields) fields { return append(f.without("body"), "err", fields{"code", 1, "more", 2}) }).late(),
	edit("T-6.190", "does not say when to come again", reqGetInfo, func(f fields) fields { return append(f.without("body"), "err", fields{"code", errBusy}) }).late(),
	edit("T-6.2", "a code of its own", reqGetInfo, func(f fields) fields { return append(f.without("body"), "err", fields{"code", 0x7f}) }).late(),
	{clause: "T-2.29", name: "a request of its own", only: "info", say: func(_ *bent, f fields, _ int) any {
		return []raw{f.pack(), fields{"ver", "1.0.0", "id", 0, "pakt", 0, "reqt", 2}.pack()}
	}},
	{clause: "T-2.30", name: "an event of its own", only: "info", say: func(_ *bent, f fields, _ int) any {
		return []raw{f.pack(), fields{"ver", "1.0.0", "id", 0, "pakt", 2, "reqt", 1}.pack()}
	}},
	edit("T-2.38", "says something", reqSetKey, func(f fields) fields {
		if f.code() == ok {
			return append(f, "body", fields{"set", true})
		}
		return f
	}).during("set-key"),
	lenient("T-2.3", "takes every ver", func(f fields) fields { return f.with("ver", "1.0.0") }),
	lenient("T-2.5", "takes a wide reqt", func(f fields) fields {
		if n := number(f, "reqt"); n >= 0 {
			return f.with("reqt", n)
		}
		return f
	}),
	lenient("T-2.9", "overlooks err", func(f fields) fields { return f.without("err") }),
	strict("T-2.6", "minds a nil reqt", errMalformed, func(fields) bool { return false }).with(func(b *bent, f fields) []raw {
		if reqt, isRaw := f.get("reqt").(raw); number(f, "pakt") == pktResponse && isRaw && reqt[0] == 0xc0 {
			return b.shut(1002)
		}
		return nil
	}),
	strict("T-2.7", "minds a nil body", errMalformed, func(f fields) bool { body, _ := f.get("body").(raw); return len(body) > 0 && body[0] == 0xc0 }),
	strict("T-2.11", "minds what is not smallest", errMalformed, func(f fields) bool {
		v, err := unpack(f.pack())
		return err == nil && slices.ContainsFunc(v.faults(1), func(f fault) bool { return f.clause == "T-2.10" })
	}),
	mend("T-2.12", "takes wide markers", func(v *value, _ raw) raw {
		switch v.kind {
		case kindStr:
			return pack(string(v.content))
		case kindBin:
			return pack(bin(v.content))
		}
		return nil
	}),
	mend("T-2.13", "takes a binary for a string", func(v *value, _ raw) raw {
		if v.kind == kindBin && utf8.Valid(v.content) {
			return pack(string(v.content))
		}
		return nil
	}),
	edit("T-2.14", "does not say what is malformed", anyRequest, func(f fields) fields {
		if f.code() == errMalformed {
			return f.with("err", fields{"code", errMalformed})
		}
		return f
	}),
	edit("T-2.14", "does not say what is wrong with the root", anyRequest, func(f fields) fields {
		if f.code() == errMalformed {
			return f.with("err", fields{"code", errMalformed, "msg", "the packet is malformed"})
		}
		return f
	}).during("root-named"),
	mend("T-2.15", "takes every byte", func(v *value, _ raw) raw {
		if v.kind == kindStr && !utf8.Valid(v.content) {
			return pack("mended")
		}
		return nil
	}),
	swap("T-2.16", reqRemoveDevice, errMalformed, ok),
	lenient("T-2.17", "takes the first of two", func(f fields) fields {
		once := fields{}
		for i := 0; i < len(f); i += 2 {
			if key, isText := f[i].(string); !isText || once.get(key) == nil {
				once = append(once, f[i], f[i+1])
			}
		}
		return once
	}),
	lenient("T-2.18", "does not look behind the root", func(f fields) fields { return f }),
	{clause: "T-2.19", name: "takes the marker c1 for nil", up: func(_ *bent, f frame) []frame {
		if _, err := unpack(f.payload); f.opcode == opBinary && err != nil {
			f.payload = bytes.ReplaceAll(f.payload, unused, pack(nil))
		}
		return []frame{f}
	}},
	mend("T-2.19", "takes extensions", func(v *value, _ raw) raw {
		if v.kind == kindExt {
			return pack("mended")
		}
		return nil
	}),
	swap("T-2.20", anyRequest, errMalformed, errCredentials),
	lenient("T-2.21", "takes nil for absence", func(f fields) fields {
		body := f.part("body")
		if body == nil {
			return f
		}
		kept := fields{}
		for i := 0; i < len(body); i += 2 {
			if v, _ := body[i+1].(raw); len(v) == 0 || v[0] != 0xc0 {
				kept = append(kept, body[i], body[i+1])
			}
		}
		return f.with("body", kept)
	}),
	lenient("T-2.22", "takes every depth", func(f fields) fields { return f.without("new") }),
	mend("T-2.200", "takes an array 32", func(v *value, _ raw) raw {
		if v.marker == 0xdd {
			return pack(nil)
		}
		return nil
	}),
	mend("T-2.23", "takes a map 32", func(v *value, _ raw) raw {
		if v.marker == 0xdf && len(v.items) == 0 {
			return pack(nil)
		}
		return nil
	}),
	lenient("T-2.24", "skips all unknown keys", func(f fields) fields { return f.without("more") }),
	strict("T-2.25", "skips no unknown keys", errMalformed, func(f fields) bool { return f.get("more") != nil }),
	strict("T-2.25", "takes a pre-release for older", errMalformed, func(f fields) bool {
		ver, _ := f.get("ver").(raw)
		return f.get("more") != nil && bytes.Contains(ver, []byte("-rc"))
	}),
	lenient("T-2.26", "does not look at what it skips", func(f fields) fields { return f.without("more") }),
	swap("T-2.28", anyRequest, errUnsupported, errMalformed),
}

// late leaves a connection alone until somebody registers on it.
func (d defect) late() defect {
	say := d.say
	d.only = "info"
	d.say = func(b *bent, f fields, asked int) any {
		if asked == reqRegister {
			b.note = "late"
		}
		if b.note != "late" {
			return nil
		}
		return say(b, f, asked)
	}
	return d
}

// with replaces what a defect does with a client's packets.
func (d defect) with(ask func(*bent, fields) []raw) defect {
	d.ask = ask
	return d
}

// answeredEvents answers events as if they were requests.
func answeredEvents(clause string, codes ...int) defect {
	return defect{clause: clause, name: "answers an event", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktEvent && slices.Contains(codes, number(f, "reqt")) {
			return append([]raw{f.pack()}, b.fail(f, ok)...)
		}
		return nil
	}}
}

// dropped loses FORWARDs that came as an event.
func dropped(clause, name string, drops func(body fields) bool) defect {
	return defect{clause: clause, name: name, ask: func(_ *bent, f fields) []raw {
		if number(f, "pakt") == pktEvent && drops(f.part("body")) {
			return []raw{}
		}
		return nil
	}}
}

func has(b raw, text string) bool { return bytes.Contains(b, []byte(text)) }

func isBool(body fields, key string, want byte) bool {
	v, _ := body.get(key).(raw)
	return len(v) == 1 && v[0] == want
}

func words(f fields, key string) string {
	b, _ := f.get(key).(raw)
	v, err := unpack(b)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(v.str())
}
