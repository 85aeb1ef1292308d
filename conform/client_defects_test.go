package conform

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/tipt/tipt-go/client"
)

var clientDefects = slices.Concat(
	clientTransportDefects, clientPacketDefects, clientExchangeDefects, clientMessageDefects, clientConnectingDefects, clientDraftDefects,
	clientLetterDefects, clientScriptDefects, clientSealedDefects, clientIDDefects,
)

// asks is a client whose packets are changed; nil leaves one as it is.
func asks(clause, only, name string, change func(b *bent, f fields) []raw) clientDefect {
	return clientDefect{defect: defect{clause: clause, only: only, name: name, ask: change}}
}

// hears is a client that gets other packets of the node than were sent; nil leaves one as it is.
func hears(clause, only, name string, change func(b *bent, f fields, asked int) any) clientDefect {
	return clientDefect{defect: defect{clause: clause, only: only, name: name, say: change}}
}

// ends is a client that ends the connection for a packet of the node.
func ends(clause, only, name string, code int, for_ func(f fields, asked int) bool) clientDefect {
	return hears(clause, only, name, func(b *bent, f fields, asked int) any {
		if for_(f, asked) {
			return b.quit(code)
		}
		return nil
	})
}

// edits is a client that changes one kind of packet.
func edits(clause, only, name string, pakt, reqt int, change func(f fields) fields) clientDefect {
	return asks(clause, only, name, func(_ *bent, f fields) []raw {
		if number(f, "pakt") != pakt || pakt != pktResponse && number(f, "reqt") != reqt {
			return nil
		}
		return []raw{change(f).pack()}
	})
}

// responds is a client that answers with one error where another, or none, is right.
func responds(clause, only string, from, to int) clientDefect {
	return edits(clause, only, "says "+errorName(to)+" for "+errorName(from), pktResponse, 0, func(f fields) fields {
		if f.code() != from {
			return f
		}
		if f = f.without("err"); to != ok {
			f = append(f, "err", fields{"code", to})
		}
		return f
	})
}

// ups is a client whose frames are changed.
func ups(clause, only, name string, change func(b *bent, f frame) []frame) clientDefect {
	return clientDefect{defect: defect{clause: clause, only: only, name: name, up: change}}
}

// shuts is a client that closes with another code.
func shuts(clause, only string, from, to int) clientDefect {
	return ups(clause, only, fmt.Sprintf("closes with %d for %d", to, from), func(_ *bent, f frame) []frame {
		if f.opcode == opClose && len(f.payload) >= 2 && int(f.payload[0])<<8|int(f.payload[1]) == from {
			f.payload = []byte{byte(to >> 8), byte(to)}
		}
		return []frame{f}
	})
}

// told is a client to which the node closes with another code.
func told(clause, only string, from, to int) clientDefect {
	d := shuts(clause, only, from, to)
	d.up, d.down = nil, d.up
	d.name = fmt.Sprintf("takes %d for %d", from, to)
	return d
}

// pongless is a client that does not answer some PINGs.
func pongless(clause, only, payload string) clientDefect {
	return ups(clause, only, "no PONG to "+payload, func(_ *bent, f frame) []frame {
		if f.opcode == opPong && string(f.payload) == payload {
			return nil
		}
		return []frame{f}
	})
}

func trusting(only, name string, trusts func(n int) bool) clientDefect {
	return clientDefect{defect: defect{clause: "T-1.4", only: only, name: name}, tls: func(n int, config *tls.Config) {
		config.InsecureSkipVerify = trusts(n)
	}}
}

func everyTime(int) bool { return true }

var clientTransportDefects = []clientDefect{
	{defect: defect{clause: "T-1.1", only: everyClient, name: "another Host"}, hello: func(r *http.Request) { r.Host = "127.0.0.1" }},
	{defect: defect{clause: "T-1.1", only: everyClient, name: "no name for TLS"}, tls: func(_ int, config *tls.Config) {
		config.ServerName, config.InsecureSkipVerify = "127.0.0.1", true
	}},
	{defect: defect{clause: "T-1.2", only: everyClient, name: "another path"}, hello: func(r *http.Request) { r.URL.Path = "/" }},
	trusting("client-untrusted", "trusts every authority", everyTime),
	trusting("client-expired", "does not mind the date", everyTime),
	trusting("client-other-name", "does not mind the name", everyTime),
	trusting("client-certificate-later", "verifies the first connection", func(n int) bool { return n > 0 }),
	{defect: defect{clause: "T-1.6", name: "speaks TLS 1.0"}, tls: func(_ int, config *tls.Config) { config.MinVersion = tls.VersionTLS10 }},
	{defect: defect{clause: "T-1.7", only: everyClient, name: "speaks TLS 1.2 alone"}, tls: func(_ int, config *tls.Config) { config.MaxVersion = tls.VersionTLS12 }},
	pongless("T-1.22", "", "before HANDSHAKE"),
	ups("T-1.22", "", "PONG of another payload", func(_ *bent, f frame) []frame {
		if f.opcode == opPong {
			f.payload = []byte("pong")
		}
		return []frame{f}
	}),
	pongless("T-1.23", "", "between"),
	pongless("T-1.24", "", "waiting"),
	ups("T-1.70", everyClient, "text frames", func(_ *bent, f frame) []frame {
		if f.opcode == opBinary {
			f.opcode = opText
		}
		return []frame{f}
	}),
	shuts("T-1.74", everyClient, 1000, 1001),
	shuts("T-1.71", "", 1003, 1002),
	shuts("T-1.72", "", 1009, 1002),
	{defect: defect{clause: "T-1.73", name: "no fragments", down: func(b *bent, f frame) []frame {
		if f.opcode == opContinuation || f.opcode == opBinary && !f.final {
			b.quit(1003)
			return nil
		}
		return []frame{f}
	}}},
}

func isDeliver(f fields) bool {
	return number(f, "pakt") == pktRequest && number(f, "reqt") == reqDeliver
}

var clientPacketDefects = []clientDefect{
	responds("T-2.27", "client-malformed", errMalformed, ok),
	hears("T-2.27", "client-bad-sign-in", "minds no address", func(_ *bent, f fields, asked int) any {
		if body := f.part("body"); asked == reqSignIn && body != nil {
			return f.with("body", body.with("addr", "somebody@"+playedNode))
		}
		return nil
	}),
	edits("T-2.120", "", "does not say what is malformed", pktResponse, 0, func(f fields) fields {
		if f.code() == errMalformed {
			return f.with("err", fields{"code", errMalformed})
		}
		return f
	}),
	hears("T-2.121", "client-bad-forward", "waits for a good response", func(_ *bent, f fields, asked int) any {
		if asked == reqForward && number(f, "pakt") == pktResponse && f.get("body") != nil && f.part("body").get("resp") == nil {
			return []raw{}
		}
		return nil
	}),
	ends("T-2.35", "", "minds events", 1002, func(f fields, _ int) bool { return number(f, "pakt") == pktEvent }),
	edits("T-2.37", everyClient, "a short version", pktRequest, reqForward, func(f fields) fields { return f.with("ver", "1.0") }),
	edits("T-2.37", everyClient, "a key more", pktRequest, reqForward, func(f fields) fields { return append(f, "more", 1) }),
	edits("T-2.70", everyClient, "wide ids", pktRequest, reqForward, func(f fields) fields { return f.with("id", packAs(0xcc, number(f, "id"))) }),
	edits("T-2.71", everyClient, "reqt in a RESPONSE", pktResponse, 0, func(f fields) fields { return append(f, "reqt", 0) }),
	asks("T-2.71", everyClient, "a request of its own", func(_ *bent, f fields) []raw {
		if !isAsking(f, reqForward) {
			return nil
		}
		return []raw{f.with("id", 99).with("reqt", 0x55).without("body").pack(), f.pack()}
	}).ignoring(99),
	ends("T-2.72", "", "minds what is not smallest", 1002, func(f fields, _ int) bool {
		v, err := unpack(f.pack())
		return err == nil && slices.ContainsFunc(v.faults(1), func(f fault) bool { return f.clause == "T-2.10" })
	}),
	ends("T-2.72", "", "minds what is wide in a RETURN", 1002, func(f fields, _ int) bool {
		v, err := unpack(f.pack())
		return err == nil && number(f, "pakt") == pktRequest && number(f, "reqt") == reqReturn && !v.get("body").get("time").smallest()
	}),
	ends("T-2.35", "", "minds an event that is malformed", 1002, func(f fields, _ int) bool {
		return number(f, "pakt") == pktEvent && number(f, "reqt") == evtGoingAway && number(f.part("body"), "wait") < 0
	}),
	ends("T-2.73", "", "minds a nil reqt", 1002, func(f fields, _ int) bool { return number(f, "pakt") == pktResponse && f.get("reqt") != nil }),
	ends("T-2.74", "", "minds unknown keys", 1002, func(f fields, _ int) bool { return f.get("early") != nil }),
}

// ignoring is a client to which responses with an id do not come.
func (d clientDefect) ignoring(id int) clientDefect {
	d.say = func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") == pktResponse && number(f, "id") == id {
			return []raw{}
		}
		return nil
	}
	return d
}

var clientExchangeDefects = []clientDefect{
	asks("T-3.16", "", "frees an id after a second", func(b *bent, f fields) []raw {
		if isAsking(f, reqForward) {
			b.later(time.Second, func() { b.put(f.with("reqt", reqGetInfo).without("body")) })
		}
		return nil
	}),
	asks("T-3.37", everyClient, "asks before HANDSHAKE", func(_ *bent, f fields) []raw {
		if !isAsking(f, reqHandshake) {
			return nil
		}
		return []raw{f.with("id", 99).with("reqt", reqGetInfo).without("body").pack(), f.pack()}
	}).ignoring(99),
	asks("T-3.38", everyClient, "asks before SIGN_IN", func(_ *bent, f fields) []raw {
		if !isAsking(f, reqHandshake) {
			return nil
		}
		return []raw{f.pack(), f.with("id", 99).with("reqt", reqListDevices).without("body").pack()}
	}).ignoring(99),
	asks("T-3.38", everyClient, "signs in twice", func(b *bent, f fields) []raw {
		if isAsking(f, reqSignIn) {
			b.note = string(f.with("id", 99).pack())
		}
		if !isAsking(f, reqForward) {
			return nil
		}
		return []raw{raw(b.note), f.pack()}
	}).ignoring(99),
	asks("T-3.70", everyClient, "answers twice", func(_ *bent, f fields) []raw {
		if number(f, "pakt") != pktResponse {
			return nil
		}
		return []raw{f.pack(), f.pack()}
	}),
	hears("T-3.70", "client-flood", "loses requests", func(b *bent, f fields, _ int) any {
		if b.count++; isDeliver(f) && b.count%100 == 0 {
			return []raw{}
		}
		return nil
	}),
	responds("T-3.71", "", errUnsupported, errRejected),
	asks("T-3.72", "", "is silent about what is malformed", func(_ *bent, f fields) []raw {
		if number(f, "pakt") == pktResponse && f.code() == errMalformed {
			return []raw{}
		}
		return nil
	}),
	shuts("T-3.73", "client-no-id", 1002, 1011),
	shuts("T-3.73", "client-bad-response", 1002, 1011),
	hears("T-3.73", "client-unknown-pakt", "overlooks an unknown pakt", func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") > pktEvent {
			return []raw{}
		}
		return nil
	}),
	asks("T-3.74", "client-late", "uses an id twice", func(b *bent, f fields) []raw {
		if isAsking(f, reqForward) {
			b.later(time.Second, func() { b.put(f) })
		}
		return nil
	}),
	shuts("T-3.75", "client-doubled", 1002, 1011),
	hears("T-3.75", "client-unasked", "overlooks responses", func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") == pktResponse && number(f, "id") == 201 {
			return []raw{}
		}
		return nil
	}),
	shuts("T-3.76", "", 1002, 1011),
	hears("T-3.76", "", "overlooks a second request under an id", func(b *bent, f fields, _ int) any {
		if !isDeliver(f) {
			return nil
		}
		id := fmt.Sprint(number(f, "id"))
		if b.note == id {
			return []raw{}
		}
		b.note = id
		return nil
	}),
	asks("T-3.77", "client-ids", "one table of ids", func(b *bent, f fields) []raw {
		if isAsking(f, reqForward) {
			b.note = fmt.Sprint(number(f, "id"))
		}
		return nil
	}).hearing(func(b *bent, f fields, asked int) any {
		if asked == reqForward {
			b.note = ""
		}
		if isDeliver(f) && b.note == fmt.Sprint(number(f, "id")) {
			return b.quit(1002)
		}
		return nil
	}),
	ends("T-3.77", "client-flood", "minds id 255", 1002, func(f fields, _ int) bool { return isDeliver(f) && number(f, "id") == 255 }),
	inOrder(),
	asks("T-3.79", "", "has no patience", func(b *bent, f fields) []raw {
		if isAsking(f, reqForward) {
			b.note = "asked"
			b.later(2*time.Second, func() {
				if b.note == "asked" {
					b.quit(1000)
				}
			})
		}
		return nil
	}).hearing(func(b *bent, _ fields, asked int) any {
		if asked == reqForward {
			b.note = ""
		}
		return nil
	}),
	edits("T-2.210", everyClient, "a wide version", pktRequest, reqHandshake, func(f fields) fields { return f.with("ver", packAs(0xda, "1.0.0")) }),
	edits("T-2.210", everyClient, "a wide name", pktRequest, reqSignIn, func(f fields) fields {
		return f.with("body", f.part("body").with("user", packAs(0xda, words(f.part("body"), "user"))))
	}),
	edits("T-4.120", everyClient, "changing versions", pktRequest, reqForward, func(f fields) fields { return f.with("ver", "1.0.1") }),
	edits("T-4.121", everyClient, "a key more", pktRequest, reqSignIn, func(f fields) fields { return f.with("body", append(f.part("body"), "more", 1)) }),
	edits("T-4.121", everyClient, "a number as recv", pktRequest, reqSignIn, func(f fields) fields { return f.with("body", f.part("body").with("recv", 1)) }),
	edits("T-4.121", everyClient, "a body in a RESPONSE", pktResponse, 0, func(f fields) fields { return append(f, "body", fields{}) }),
	responds("T-6.20", "client-unknown", errUnsupported, errMailboxFull),
	edits("T-6.20", "client-unknown", "err without a map", pktResponse, 0, func(f fields) fields {
		if code := f.code(); code != ok {
			return f.with("err", code)
		}
		return f
	}),
	ends("T-6.7", "", "minds an unlisted code", 1002, func(f fields, _ int) bool { return f.code() == 0x7e }),
}

// inOrder is a client that wants responses in the order of its requests.
func inOrder() clientDefect {
	var ids []int
	d := asks("T-3.78", "", "wants responses in order", func(_ *bent, f fields) []raw {
		if isAsking(f, reqForward) {
			ids = append(ids, number(f, "id"))
		}
		return nil
	}).hearing(func(b *bent, f fields, asked int) any {
		if asked != reqForward {
			return nil
		}
		first := ids[0]
		ids = ids[1:]
		if first != number(f, "id") {
			return b.quit(1002)
		}
		return nil
	})
	d.parallel = true
	return d
}

// hearing adds what the client gets.
func (d clientDefect) hearing(say func(b *bent, f fields, asked int) any) clientDefect {
	d.say = say
	return d
}

// reseals is a client that seals something else.
func reseals(clause, only, name string, change func(m *resealed)) clientDefect {
	return clientDefect{defect: defect{clause: clause, only: only, name: name}, seal: change}
}

var oneMID = append([]byte{0, 1, 2, 3, 4, 5, 0x40, 7, 0x80}, randomBytes(7)...) // of version 4

var clientMessageDefects = []clientDefect{
	edits("T-4.36", everyClient, "the default device", pktRequest, reqSignIn, func(f fields) fields { return f.with("body", f.part("body").with("dev", "default")) }),
	hears("T-4.82", "", "takes each delivery for a new one", func(_ *bent, f fields, _ int) any {
		if !isDeliver(f) {
			return nil
		}
		return f.with("body", f.part("body").with("mid", randomBytes(16)))
	}),
	hears("T-4.82", "", "does not look at the sender", func(_ *bent, f fields, _ int) any {
		if !isDeliver(f) {
			return nil
		}
		return f.with("body", f.part("body").with("from", "friend@"+otherNode))
	}),
	{defect: defect{clause: "T-4.122", name: "a limit that is too low", down: func(b *bent, f frame) []frame {
		if len(f.payload) > 1<<20 {
			b.quit(1009)
			return nil
		}
		return []frame{f}
	}}},
	hears("T-4.123", "", "wants to know who", func(b *bent, f fields, _ int) any {
		if isDeliver(f) && f.part("body").get("from") == nil {
			return b.respond(f, errMalformed)
		}
		return nil
	}),
	hears("T-4.124", "", "knows no RETURN", func(b *bent, f fields, _ int) any {
		if number(f, "pakt") == pktRequest && number(f, "reqt") == reqReturn {
			return b.respond(f, errUnsupported)
		}
		return nil
	}),
	edits("T-4.125", everyClient, "another ref", pktRequest, reqForward, func(f fields) fields {
		return f.with("body", f.part("body").with("ref", randomBytes(16)))
	}),
	reseals("T-5.17", "client-mids", "seals to one subkey twice", func(m *resealed) { m.recipe.keys = 2 }),
	reseals("T-5.28", "client-mids", "one mid for all", func(m *resealed) { m.mid = oneMID }),
	reseals("T-5.74", "client-mids", "a random mid", func(m *resealed) { m.mid = oneMID }),
	reseals("T-5.70", everyClient, "session keys of the wrong version", func(m *resealed) { m.recipe.crossed, m.recipe.aead = true, true }),
	reseals("T-5.70", everyClient, "compresses", func(m *resealed) { m.recipe.inside = uncompressed }),
	reseals("T-5.70", everyClient, "a password besides", func(m *resealed) { m.recipe.password = true }),
	reseals("T-5.70", everyClient, "large chunks", func(m *resealed) { m.recipe.aead, m.recipe.chunk = true, 1<<20 }),
	reseals("T-5.104", "", "does not prefer ML-KEM", func(m *resealed) { m.recipe.to = m.keys[len(m.keys)-1] }),
	reseals("T-5.76", "client-revoked-subkey", "minds no revocation", func(m *resealed) { m.recipe.to = m.keys[len(m.keys)-1] }),
	reseals("T-5.76", "client-expired-subkey", "seals to the newest subkey", func(m *resealed) { m.recipe.to = m.keys[len(m.keys)-1] }),
	reseals("T-5.71", everyClient, "a key more", func(m *resealed) { m.extra = []any{"more", 1} }),
	reseals("T-2.100", everyClient, "seconds", func(m *resealed) {
		m.msg = bin(fields{"type", 0, "body", fields{"text", mustText(m.msg), "time", uint64(time.Now().Unix())}}.pack())
	}),
	reseals("T-8.2", everyClient, "a TEXT without a time", func(m *resealed) {
		m.msg = bin(fields{"type", 0, "body", fields{"text", mustText(m.msg)}}.pack())
	}),
	hears("T-5.73", "", "never fetches a key anew", func(b *bent, f fields, asked int) any {
		if asked == reqGetNodeKey && b.note == "" {
			b.note = string(f.part("body").get("key").(raw))
		}
		return nil
	}).asking(func(b *bent, f fields) []raw {
		if isAsking(f, reqGetNodeKey) && b.note != "" {
			return b.tell(fields{"ver", "1.0.0", "id", f.get("id"), "pakt", pktResponse, "body", fields{"key", raw(b.note)}})
		}
		return nil
	}),
	{defect: defect{clause: "T-7.8", only: "client-key-changed", name: "says nothing of a new key"}, warn: func(_, _ string, _ bool) {}},
	{defect: defect{clause: "T-7.8", only: "client-key-changed", name: "tells of each certificate alike"}, warn: func(_, _ string, _ bool) {
		fmt.Fprintln(os.Stderr, "there is another certificate")
	}},
	{defect: defect{clause: "T-7.8", only: "client-key-usurped", name: "believes each certification"}, warn: func(_, _ string, _ bool) {}},
	{defect: defect{clause: "T-7.8", only: "client-key-inherited", name: "knows no heirs"}, warn: func(_, _ string, same bool) {
		if same {
			fmt.Fprintln(os.Stderr, "the key has changed")
		}
	}},
	{defect: defect{clause: "T-7.9", name: "warns of each new certificate"}, warn: func(_, _ string, same bool) {
		if same {
			fmt.Fprintln(os.Stderr, "the key has changed")
		}
	}},
	{defect: defect{clause: "T-4.126", name: "answers before it has shown"}, print: func(m client.Message) []string {
		text, _ := m.Text()
		time.AfterFunc(time.Second, func() { fmt.Println(text) })
		return nil
	}},
	{defect: defect{clause: "T-8.6", name: "minds unknown keys in a TEXT"}, print: func(m client.Message) []string {
		if text, is := m.Text(); is && !has(m.Body, "more") {
			return []string{text}
		}
		return []string{"no text"}
	}},
	{defect: defect{clause: "T-8.4", name: "drops what is no text"}, print: func(m client.Message) []string {
		if text, is := m.Text(); is {
			return []string{text}
		}
		return nil
	}},
}

func mustText(msg bin) string {
	v, err := unpack(msg)
	if err != nil {
		return ""
	}
	return v.get("body").get("text").str()
}

// asking adds what the client sends.
func (d clientDefect) asking(ask func(b *bent, f fields) []raw) clientDefect {
	d.ask = ask
	return d
}
