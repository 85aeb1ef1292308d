package conform

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/tipt/tipt-go/node"
)

// answers is a node whose answers to sealed requests are changed.
func answers(clause, name string, change func(resp raw) raw) defect {
	return editBody(clause, name, reqForward, func(f fields) fields {
		b, _ := f.get("resp").(raw)
		v, err := unpack(b)
		if err != nil || v.bytes() == nil {
			return f
		}
		return f.with("resp", bin(change(v.bytes())))
	})
}

// answersWith is a node that answers sealed requests with one error in place of another.
func answersWith(clause string, from, to int) defect {
	return answers(clause, "another answer", func(resp raw) raw {
		v, err := unpack(resp)
		if err != nil || v.end != len(resp) || answerCode(v) != from {
			return resp
		}
		if to == ok {
			return fields{}.pack()
		}
		return fields{"err", fields{"code", to}}.pack()
	})
}

// delivering is a node whose DELIVERs and RETURNs are changed.
func delivering(clause, name string, change func(body fields) fields) defect {
	return requested(clause, name, func(_ *bent, f fields) any { return f.with("body", change(f.part("body"))) })
}

// lost is a node that loses some of its requests to clients.
func lost(clause string, which func(b *bent, f fields) bool) defect {
	return requested(clause, "loses messages", func(b *bent, f fields) any {
		if which(b, f) {
			return []raw{}
		}
		return nil
	})
}

// says reports whether a DELIVER's `msg` is that.
func says(f fields, text string) bool {
	b, _ := f.part("body").get("msg").(raw)
	return bytes.Equal(b, pack(bin(text)))
}

// signedIn is a node that treats one device in its own way, from SIGN_IN's response on.
func signedIn(clause, name, device string, say func(*bent, fields) any) defect {
	return defect{clause: clause, name: name, ask: func(b *bent, f fields) []raw {
		if number(f, "reqt") == reqSignIn && strings.HasPrefix(words(f.part("body"), "dev"), device) {
			b.note = device
		}
		return nil
	}, say: func(b *bent, f fields, _ int) any {
		if b.note == "" {
			return nil
		}
		return say(b, f)
	}}
}

// otherKey serves a key that is not as section 5.1 wants it.
func otherKey(r *http.Request, p *page) {
	if r.URL.Path != "/api/public_key" {
		return
	}
	p.body = strangersKey()
}

// keyOnP256 serves a key whose subkey that encrypts is of another curve.
func keyOnP256(r *http.Request, p *page) {
	if r.URL.Path != "/api/public_key" {
		return
	}
	s, err := newSigner(r.Host)
	if err != nil {
		panic(err)
	}
	s.entity.Subkeys = s.entity.Subkeys[1:]
	config := openingConfig(time.Minute)
	config.Curve = pgp.CurveNistP256
	if err := s.entity.AddEncryptionSubkey(config); err != nil {
		panic(err)
	}
	if p.body, err = s.certificate(); err != nil {
		panic(err)
	}
}

// strangersKey is a certificate of nobody whom the suite knows.
func strangersKey() []byte {
	e, err := openpgp.NewEntity("another", "", "", &pgp.Config{Algorithm: pgp.PubKeyAlgoEdDSA})
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func everySecond(b *bent, _ fields) bool { b.count++; return b.count%2 == 0 }

// answered changes a client's answers to the node's requests.
func answered(clause, name string, from int, to any) defect {
	return defect{clause: clause, name: name, ask: func(_ *bent, f fields) []raw {
		if number(f, "pakt") != pktResponse || f.code() != from {
			return nil
		}
		f = f.without("err")
		if to != nil {
			f = append(f, "err", to)
		}
		return []raw{f.pack()}
	}}
}

var messageDefects = []defect{
	answersWith("T-4.60", ok, errMailboxFull),
	strict("T-4.61", "takes nothing", errOutboxFull, func(f fields) bool {
		return number(f, "reqt") == reqForward && isBool(f.part("body"), "wait", 0xc2)
	}),
	swap("T-4.64", reqForward, errTooLarge, errMalformed),
	swap("T-4.65", reqForward, errMalformed, ok),
	swap("T-4.66", reqForward, ok, errOutboxFull),
	edit("T-4.68", "no wait", reqForward, func(f fields) fields {
		if f.code() == errNodeUnreachable {
			return f.with("err", fields{"code", errNodeUnreachable})
		}
		return f
	}),
	swap("T-4.69", reqForward, errNodeRefused, errMalformed),
	editBody("T-4.70", "another key", reqGetNodeKey, func(f fields) fields { return f.with("key", randomBytes(100)) }),
	swap("T-4.71", reqGetNodeKey, errNodeUnreachable, errNodeInvalid),
	edit("T-4.72", "no wait", reqGetNodeKey, func(f fields) fields {
		if f.code() == errNodeUnreachable {
			return f.with("err", fields{"code", errNodeUnreachable})
		}
		return f
	}),
	delivering("T-4.74", "another mid", func(f fields) fields { return f.with("mid", randomBytes(16)) }),
	delivering("T-2.100", "seconds", func(f fields) fields { return f.with("time", number(f, "time")/1000) }),
	editBody("T-2.100", "microseconds", reqGetInfo, func(f fields) fields { return f.with("time", uint64(number(f, "time"))*1000) }),
	delivering("T-4.74", "a clock of its own", func(f fields) fields { return f.with("time", number(f, "time")+60_000) }),
	delivering("T-4.74", "no time", func(f fields) fields { return f.without("time") }),
	{clause: "T-4.75", name: "spoils what is long", down: func(_ *bent, f frame) []frame {
		if len(f.payload) > 5000 {
			f.payload[4000] ^= 1
		}
		return []frame{f}
	}},
	answered("T-4.76", "nil is INTERNAL", ok, fields{"code", errInternal}),
	answered("T-4.77", "REJECTED is INTERNAL", errRejected, fields{"code", errInternal}),
	answered("T-4.78", "does not pause", errBusy, fields{"code", errBusy, "wait", 1}),
	answered("T-4.78", "BUSY is taken", errBusy, nil),
	answered("T-4.80", "INTERNAL is taken", errInternal, nil),
	answered("T-4.81", "nothing is taken", ok, fields{"code", errInternal}),
	lost("T-4.83", func(b *bent, _ fields) bool { b.count++; return b.count > 32 }),
	delivering("T-4.84", "out of order", func(f fields) fields {
		if words(f, "msg") == "" && has(f.pack(), "65") {
			return f
		}
		return f.with("msg", bin("7"))
	}),
	lost("T-4.85", func(_ *bent, f fields) bool { return says(f, "4") }),
	{clause: "T-4.86", name: "one answer takes all before it", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") != pktResponse {
			return nil
		}
		all := []raw{} // ids of a connection's DELIVERs begin with 0
		for id := b.count; id <= number(f, "id"); id++ {
			all = append(all, f.with("id", id).pack())
			b.count = id + 1
		}
		return all
	}},
	{clause: "T-4.79", name: "sends what followed again", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktResponse && f.code() == errBusy {
			b.note = "busy"
		}
		return nil
	}, say: func(b *bent, f fields, _ int) any {
		if number(f, "pakt") != pktRequest || b.note == "" {
			return nil
		}
		return []raw{f.pack(), f.with("id", 250).with("body", f.part("body").with("msg", bin("2"))).pack()}
	}},
	lost("T-4.87", everySecond),
	lost("T-4.88", func(_ *bent, f fields) bool { return says(f, "3") }),
	signedIn("T-4.89", "forgets what one device took", "late", func(b *bent, f fields) any {
		if number(f, "pakt") == pktRequest {
			return []raw{}
		}
		return nil
	}),
	signedIn("T-4.90", "forgets nothing", "new-", func(b *bent, f fields) any {
		if isFirst(b) {
			return []raw{f.pack(), fields{"ver", "1.0.0", "id", 0, "pakt", 0, "reqt", 0, "body", fields{"mid", randomBytes(16), "time", 1, "msg", bin("held")}}.pack()}
		}
		return nil
	}),
	delivering("T-4.95", "neither resp nor code", func(f fields) fields { return f.without("resp").without("code") }),
	delivering("T-4.100", "the name as it came", func(f fields) fields { return f.with("node", strings.ToUpper(words(f, "node"))) }),
	answered("T-4.97", "INTERNAL is taken", errInternal, nil),
	delivering("T-4.200", "one mid for all", func(f fields) fields { return f.with("mid", bin("0123456789abcdef")) }),
	signedIn("T-4.201", "keeps no RETURN", "other", func(_ *bent, f fields) any {
		if number(f, "pakt") == pktRequest && number(f, "reqt") == reqReturn {
			return []raw{}
		}
		return nil
	}),
	delivering("T-4.97", "a new mid each time", func(f fields) fields { return f.with("mid", randomBytes(16)) }),
	delivering("T-8.1", "looks inside", func(f fields) fields { return f.with("msg", bin("text")) }),
}

// pages changes what is served at a path.
func pages(clause, name, path string, change func(*page)) defect {
	d := defect{clause: clause, name: name}
	d.page = func(r *http.Request, p *page) {
		if r.URL.Path == path {
			change(p)
		}
	}
	return d
}

// opens is a node that takes messages with a packet of that kind at the end.
func opens(clause, name string, tag byte) defect {
	return defect{clause: clause, name: name, ask: func(b *bent, f fields) []raw {
		v, err := unpack(rawOf(f.part("body").get("msg")))
		if number(f, "reqt") != reqForward || err != nil {
			return nil
		}
		r, kind := pgp.NewOpaqueReader(bytes.NewReader(v.bytes())), byte(0)
		for p, err := r.Next(); err == nil; p, err = r.Next() {
			kind = p.Tag
		}
		if kind != tag {
			return nil
		}
		return b.tell(fields{"ver", "1.0.0", "id", f.get("id"), "pakt", pktResponse, "body", fields{"resp", bin(fields{}.pack())}})
	}}
}

// repeating is a node that answers one message as it did the first time, without a look at it.
func repeating(clause, name string) defect {
	var mu sync.Mutex // guards known
	known := make(map[string]any)
	return defect{clause: clause, name: name, ask: func(b *bent, f fields) []raw {
		if number(f, "reqt") == reqForward {
			b.note = string(rawOf(f.part("body").get("msg")))
		}
		return nil
	}, say: func(b *bent, f fields, asked int) any {
		if asked != reqForward {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if body, is := known[b.note]; is {
			return f.with("body", body)
		}
		known[b.note] = f.get("body")
		return nil
	}}
}

// grudging is a node that refuses a message for what came before it with the same session key.
func grudging(clause, name string) defect {
	return defect{clause: clause, name: name, ask: func(b *bent, f fields) []raw {
		v, err := unpack(rawOf(f.part("body").get("msg")))
		if number(f, "reqt") != reqForward || err != nil {
			return nil
		}
		session, err := pgp.NewOpaqueReader(bytes.NewReader(v.bytes())).Next()
		if err != nil {
			return nil
		}
		if refused := b.note; refused == string(session.Contents) && b.count > 0 {
			return b.fail(f, errNodeRefused)
		}
		b.note, b.count = string(session.Contents), 0
		return nil
	}, say: func(b *bent, f fields, asked int) any {
		if asked == reqForward && f.code() == errNodeRefused {
			b.count++
		}
		return nil
	}}
}

// withMLKEM is a node that has a subkey of ML-KEM, which it is given anew at each start.
func withMLKEM(c *node.Config) {
	if key, err := c.Key.AddMLKEM(time.Now()); err == nil {
		c.Key = key
	}
}

func rawOf(v any) raw {
	b, _ := v.(raw)
	return b
}

var nodeDefects = []defect{
	pages("T-5.1", "another type", "/api/public_key", func(p *page) { p.header.Set("Content-Type", "text/plain") }),
	pages("T-5.2", "a day", "/api/public_key", func(p *page) { p.header.Set("Cache-Control", "public, max-age=86400") }),
	pages("T-5.2", "no caching", "/api/public_key", func(p *page) { p.header.Set("Cache-Control", "no-cache") }),
	swap("T-5.6", reqForward, ok, errNodeRefused),
	swap("T-5.7", reqForward, ok, errNodeRefused),
	swap("T-5.8", reqForward, ok, errNodeRefused),
	swap("T-5.13", reqForward, ok, errNodeRefused),
	swap("T-5.9", reqForward, errNodeRefused, ok),
	swap("T-5.10", reqForward, errNodeRefused, ok),
	swap("T-5.11", reqForward, errNodeRefused, ok),
	swap("T-5.12", reqForward, errNodeRefused, ok),
	swap("T-5.14", reqForward, errNodeRefused, ok),
	swap("T-5.15", reqForward, errNodeRefused, ok),
	swap("T-5.16", reqForward, errNodeRefused, ok),
	swap("T-5.54", reqForward, ok, errNodeRefused),
	swap("T-5.112", reqForward, ok, errNodeRefused),
	swap("T-5.48", reqForward, errNodeRefused, ok),
	opens("T-5.15", "opens what has no integrity protection", tagUnprotected),
	grudging("T-5.187", "takes nothing of a session key that came with what it refused"),
	answersWith("T-5.181", ok, errCannotOpen).of(withMLKEM),
	answersWith("T-5.19", errCannotOpen, errMalformed),
	answersWith("T-5.20", ok, errMalformed),
	answersWith("T-5.21", errMalformed, ok),
	answersWith("T-5.140", ok, errMalformed),
	answersWith("T-5.22", errUnsupported, errMalformed),
	answersWith("T-5.23", errNoSuchUser, ok),
	answersWith("T-5.24", errMalformed, ok),
	answersWith("T-4.49", errNoSuchUser, ok),
	answersWith("T-5.25", ok, errMailboxFull),
	lost("T-5.26", func(_ *bent, f fields) bool { return says(f, "b") }),
	{clause: "T-5.3", name: "a key of another name", page: otherKey},
	{clause: "T-5.3", name: "a key of another curve", page: keyOnP256},
	{clause: "T-5.4", name: "a key without features", page: otherKey},
	{clause: "T-5.30", name: "sets no keys", ask: func(b *bent, f fields) []raw {
		if number(f, "reqt") == reqSetKey && number(f, "pakt") == pktRequest {
			return b.fail(f, ok)
		}
		return nil
	}},
	edit("T-5.32", "returns what has no return", reqForward, func(f fields) fields { return f }).with(func(b *bent, f fields) []raw {
		if number(f, "reqt") == reqForward && isBool(f.part("body"), "wait", 0xc2) {
			body := fields{"mid", randomBytes(16), "node", "node.example", "time", 1, "code", errNodeRefused}
			b.tell(fields{"ver", "1.0.0", "id", 250, "pakt", 0, "reqt", reqReturn, "body", body})
		}
		return nil
	}),
	answers("T-5.29", "a short answer", func(resp raw) raw { return resp[:len(resp)-1] }),
	repeating("T-5.29", "has one nonce for one seal"),
	answers("T-5.31", "unsealed errors", func(resp raw) raw { return fields{"err", fields{"code", errNoSuchUser}}.pack() }),
	answers("T-5.34", "a key more", func(resp raw) raw {
		f, err := unpackFields(resp)
		if err != nil {
			return resp
		}
		return append(f, "more", 1).pack()
	}),
	pages("T-5.37", "takes every spelling", "/api/forward", func(p *page) { p.status = 200 }),
	pages("T-5.39", "says 403", "/api/forward", func(p *page) { p.status = 403 }),
	pages("T-5.40", "says 400", "/api/forward", func(p *page) { p.status = 400 }),
	swap("T-5.43", anyRequest, errNodeInvalid, errNodeUnreachable),
	{clause: "T-6.3", name: "minds codes it does not know", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktResponse && slices.Contains([]int{0x7f}, f.code()) {
			return b.shut(1002)
		}
		return nil
	}},
	closes("T-6.4", 1002, 1011),
	answersWith("T-6.5", errNoSuchUser, 0x7e),
}
