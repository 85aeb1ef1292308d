package conform

import (
	"sync"
	"time"
)

// unclosed is a node that does not close with a code.
func unclosed(clause, only string, code int) defect {
	return defect{clause: clause, name: "does not close", only: only, down: func(_ *bent, f frame) []frame {
		if f.opcode == opClose && len(f.payload) >= 2 && int(f.payload[0])<<8|int(f.payload[1]) == code {
			return nil
		}
		return []frame{f}
	}}
}

// counting is a node that counts its ids, and does not look whether one is in flight.
func counting() defect {
	type ids struct {
		next uint8
		real map[int]any // the node's, by the one that it says
	}
	var mu sync.Mutex // guards all
	all := make(map[*bent]*ids)
	of := func(b *bent) *ids {
		mu.Lock()
		defer mu.Unlock()
		if all[b] == nil {
			all[b] = &ids{real: make(map[int]any)}
		}
		return all[b]
	}
	d := requested("T-3.13", "counts its ids", func(b *bent, f fields) any {
		ids := of(b)
		said := ids.next
		ids.next++
		ids.real[int(said)] = f.get("id")
		return f.with("id", said)
	})
	return d.with(func(b *bent, f fields) []raw {
		if number(f, "pakt") != pktResponse {
			return nil
		}
		return []raw{f.with("id", of(b).real[number(f, "id")]).pack()}
	})
}

// overdue is a node that closes for a missing HANDSHAKE later than it should.
func overdue(clause string) defect {
	return defect{clause: clause, name: "is too patient", down: func(b *bent, f frame) []frame {
		if f.opcode != opClose {
			return []frame{f}
		}
		time.AfterFunc(3500*time.Millisecond, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.send(f)
		})
		return nil
	}}
}

var exchangeDefects = []defect{
	answeredEvents("T-2.31", reqForward),
	{clause: "T-2.34", name: "closes for an unknown EVENT", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktEvent && number(f, "reqt") == 0x7f {
			return b.shut(1002)
		}
		return nil
	}},
	{clause: "T-2.34", name: "carries out a HANDSHAKE as an EVENT", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktEvent && number(f, "reqt") == reqHandshake {
			b.note = "greeted"
		}
		if b.note == "greeted" && number(f, "pakt") == pktRequest && number(f, "reqt") == reqHandshake {
			return b.fail(f, errHandshakeDone)
		}
		return nil
	}},
	dropped("T-2.31", "loses events", func(fields) bool { return true }),
	dropped("T-2.32", "wants a wait", func(body fields) bool { return !isBool(body, "wait", 0xc2) && !isBool(body, "wait", 0xc3) }),
	{clause: "T-2.33", name: "carries out what it should drop", ask: func(_ *bent, f fields) []raw {
		if number(f, "pakt") == pktEvent && words(f, "ver") != "1.0.0" {
			return []raw{f.with("ver", "1.0.0").pack()}
		}
		return nil
	}},
	{clause: "T-2.36", name: "minds the id of an EVENT", ask: func(b *bent, f fields) []raw {
		if _, used := b.asked[uint8(number(f, "id"))]; used && number(f, "pakt") == pktEvent {
			return b.shut(1002)
		}
		return nil
	}},
	{clause: "T-3.1", name: "answers twice", only: "info", say: func(_ *bent, f fields, asked int) any {
		if asked < 0 {
			return nil
		}
		return []raw{f.pack(), f.pack()}
	}},
	edit("T-3.1", "answers with another id", reqSetKey, func(f fields) fields { return f.with("id", (number(f, "id")+1)%256) }).during("set-key"),
	{clause: "T-3.2", name: "closes for malformed requests", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktRequest && f.get("ver") == nil {
			return b.shut(1002)
		}
		return nil
	}},
	{clause: "T-3.3", name: "closes for what it should step over", ask: func(b *bent, f fields) []raw {
		if ver, is := f.get("ver").(raw); is && len(ver) > 0 && ver[0]&0xe0 != 0xa0 {
			return b.shut(1002)
		}
		return nil
	}},
	answeredEvents("T-3.4", reqGetInfo),
	unclosed("T-3.5", "", 1002),
	tolerant("T-3.6", "takes every EVENT", func(f fields) bool { return number(f, "pakt") == pktEvent }),
	tolerant("T-3.7", "overlooks an unknown pakt", func(f fields) bool { return number(f, "pakt") > pktEvent }),
	closes("T-3.8", 1002, 1011),
	strict("T-3.9", "minds id 255", errMalformed, func(f fields) bool { return number(f, "id") == 255 }),
	{clause: "T-3.10", name: "64 ids", ask: func(b *bent, f fields) []raw {
		if number(f, "id") == 100 && b.count > 800 {
			return b.shut(1002)
		}
		b.count++
		return nil
	}},
	{clause: "T-3.11", name: "overlooks a second REQUEST", ask: func(b *bent, f fields) []raw {
		switch {
		case number(f, "reqt") == reqSetPassword:
			b.note = "at work"
		case number(f, "reqt") == reqGetInfo && b.note != "":
			return []raw{}
		}
		return nil
	}},
	tolerant("T-3.12", "overlooks responses", func(f fields) bool { return number(f, "pakt") == pktResponse }),
	counting().during("deliver-ids"),
	requested("T-3.13", "uses one id", func(_ *bent, f fields) any { return f.with("id", 0) }).during("deliver-window"),
	{clause: "T-3.14", name: "one table of ids", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktRequest && b.note == "delivering" && number(f, "id") == b.count {
			return b.shut(1002)
		}
		return nil
	}, say: func(b *bent, f fields, _ int) any {
		if number(f, "pakt") == pktRequest {
			b.note, b.count = "delivering", number(f, "id")
		}
		return nil
	}},
	{clause: "T-3.15", name: "an id serves once", ask: func(b *bent, f fields) []raw {
		if number(f, "id") == 7 && number(f, "pakt") == pktRequest {
			if b.count++; b.count > 1 {
				return b.shut(1002)
			}
		}
		return nil
	}},
	{clause: "T-3.17", name: "delivers out of order", say: func(b *bent, f fields, _ int) any {
		if number(f, "pakt") != pktRequest {
			return nil
		}
		if b.count++; b.count == 1 {
			body := f.part("body")
			return f.with("body", body.with("msg", bin("1")))
		}
		return nil
	}},
	closes("T-3.20", 1008, 1002),
	overdue("T-3.20"),
	overdue("T-3.21"),
	{clause: "T-3.21", name: "every HANDSHAKE stops the clock", down: func(b *bent, f frame) []frame {
		if f.opcode == opClose {
			return nil
		}
		return []frame{f}
	}},
	strict("T-3.22", "does not wait for SIGN_IN", errSignInRequired, func(f fields) bool { return number(f, "reqt") == reqListDevices }),
	{clause: "T-3.23", name: "delivers before SIGN_IN's response", say: func(b *bent, f fields, asked int) any {
		if asked == reqSignIn && f.code() == ok {
			deliver := fields{"ver", "1.0.0", "id", 200, "pakt", 0, "reqt", 0, "body", fields{"mid", randomBytes(16), "time", 1, "msg", bin("x")}}
			return []raw{deliver.pack(), f.pack()}
		}
		return nil
	}},
	{clause: "T-3.24", name: "looks at the state first", ask: func(b *bent, f fields) []raw {
		if reqt := number(f, "reqt"); reqt == reqHandshake && number(f, "pakt") == pktRequest {
			b.note = "greeted"
		} else if b.note == "" && reqt > 0 {
			return b.fail(f, errHandshakeRequired)
		}
		return nil
	}},
	swap("T-3.25", anyRequest, errHandshakeRequired, errSignInRequired),
	swap("T-3.26", reqHandshake, errHandshakeDone, errMalformed),
	swap("T-3.200", reqHandshake, errMalformed, errHandshakeDone),
	swap("T-3.200", reqGetInfo, errMalformed, errVersion),
	swap("T-3.27", anyRequest, errVersion, errMalformed),
	swap("T-3.28", anyRequest, errUnsupported, errSignInRequired),
	swap("T-3.29", anyRequest, errSignInRequired, errCredentials),
	swap("T-3.30", anyRequest, errSignedIn, errMalformed),
	strict("T-3.31", "looks at body late", errUnsupported, func(f fields) bool { return number(f, "reqt") == 0x22 }),
	{clause: "T-3.32", name: "no HANDSHAKE after an error", ask: func(b *bent, f fields) []raw {
		if b.count > 0 && number(f, "reqt") == reqHandshake {
			return b.fail(f, errInternal)
		}
		return nil
	}, say: func(b *bent, f fields, _ int) any {
		if f.code() != ok {
			b.count++
		}
		return nil
	}},
	{clause: "T-3.33", name: "REGISTER signs in", ask: func(b *bent, f fields) []raw {
		if reqt := number(f, "reqt"); reqt == reqRegister {
			b.note = "registered"
		} else if reqt == reqListDevices && b.note != "" {
			return b.fail(f, ok)
		}
		return nil
	}},
	swap("T-3.34", reqSignIn, errSignedIn, ok),
	{clause: "T-3.141", name: "compares the ver of a RESPONSE", ask: func(b *bent, f fields) []raw {
		if number(f, "pakt") == pktResponse && words(f, "ver") != "1.0.0" {
			return b.shut(1002)
		}
		return nil
	}},
	{clause: "T-3.142", name: "looks at the password first", ask: func(b *bent, f fields) []raw {
		if number(f, "reqt") == reqSetPassword && words(f.part("body"), "old") == "a wrong one" {
			return b.fail(f, errCredentials)
		}
		return nil
	}},
	swap("T-3.143", reqListDevices, errMalformed, errSignInRequired),
}

func (d defect) during(scenario string) defect {
	d.only = scenario
	return d
}

// refusing is a node that does not refuse names, passwords and so on: it says that all is well.
func refusing(clause string, request, code int) defect { return swap(clause, request, code, ok) }

// keepsOpen is a node that does not close with a code.
func keepsOpen(clause string, code int) defect { return unclosed(clause, "", code) }

var accountDefects = []defect{
	swap("T-4.1", reqGetNodeKey, ok, errNodeInvalid),
	strict("T-4.2", "minds 253 bytes", errNodeInvalid, func(f fields) bool { return len(words(f.part("body"), "node")) == 253 }),
	strict("T-4.2", "minds 300 bytes that are mapped to fewer", errNodeInvalid, func(f fields) bool {
		n := len(words(f.part("body"), "node"))
		return n > 300 && n <= 500
	}),
	swap("T-4.2", anyRequest, errNodeInvalid, errMalformed),
	editBody("T-4.3", "names itself with a dot", reqGetInfo, func(f fields) fields { return f.with("node", words(f, "node")+".") }),
	swap("T-4.4", reqSignIn, ok, errCredentials),
	refusing("T-4.5", reqRegister, errNameInvalid),
	swap("T-4.6", reqRegister, errNameInvalid, errMalformed),
	swap("T-4.7", reqHandshake, errMalformed, ok),
	editBody("T-4.8", "everybody is too new", reqHandshake, func(f fields) fields { return f.with("comp", false) }),
	unclosed("T-4.9", "", 1002),
	edit("T-4.11", "says something", reqRegister, func(f fields) fields {
		if f.code() == ok {
			return append(f, "body", fields{"welcome", true})
		}
		return f
	}),
	swap("T-4.140", reqSignIn, errCredentials, ok),
	swap("T-4.141", reqRegister, errInviteInvalid, ok),
	strict("T-4.141", "wants no invitation", errInviteInvalid, func(f fields) bool {
		return number(f, "reqt") == reqRegister && words(f.part("body"), "inv") == "x"
	}),
	{clause: "T-4.144", name: "closes those beside", ask: func(b *bent, f fields) []raw {
		switch body := f.part("body"); {
		case number(f, "reqt") == reqSignIn && words(body, "dev") == "mine" && isBool(body, "recv", 0xc2):
			b.note = "beside"
		case number(f, "reqt") == reqGetInfo && b.note != "":
			return b.shut(4002)
		}
		return nil
	}},
	{clause: "T-4.145", name: "closes before it answers", ask: func(b *bent, f fields) []raw {
		switch body := f.part("body"); {
		case number(f, "reqt") == reqSignIn:
			b.note = words(body, "dev")
		case number(f, "reqt") == reqRemoveDevice && words(body, "dev") == b.note:
			b.shut(4002)
		}
		return nil
	}},
	refusing("T-4.12", reqRegister, errPasswordInvalid),
	swap("T-4.13", reqRegister, errPasswordInvalid, errNameTaken),
	swap("T-4.14", reqRegister, errNameTaken, errNameInvalid),
	swap("T-4.15", reqRegister, errInviteInvalid, errNameInvalid),
	editBody("T-4.19", "a short token", reqSignIn, func(f fields) fields { return f.with("tok", bin("short")) }),
	swap("T-4.20", reqSignIn, errCredentials, ok),
	swap("T-4.21", reqSignIn, errCredentials, ok),
	swap("T-4.22", reqSignIn, errMalformed, errCredentials),
	swap("T-4.23", reqSignIn, errCredentials, errNameInvalid),
	swap("T-4.24", reqSignIn, errCredentials, errMalformed),
	swap("T-4.26", reqSignIn, errMalformed, ok),
	{clause: "T-4.27", name: "delivers whatever recv says", ask: func(b *bent, f fields) []raw {
		if body := f.part("body"); number(f, "reqt") == reqSignIn && isBool(body, "recv", 0xc2) {
			b.note = "recv false"
		}
		return nil
	}, say: func(b *bent, f fields, asked int) any {
		if asked == reqSignIn && b.note != "" {
			deliver := fields{"ver", "1.0.0", "id", 0, "pakt", 0, "reqt", 0, "body", fields{"mid", randomBytes(16), "time", 1, "msg", bin("x")}}
			return []raw{f.pack(), deliver.pack()}
		}
		return nil
	}},
	keepsOpen("T-4.28", 4001),
	editBody("T-4.29", "always a token", reqSignIn, func(f fields) fields { return f.with("tok", randomBytes(32)) }),
	strict("T-4.30", "one sender", errBusy, func(f fields) bool {
		return number(f, "reqt") == reqSignIn && isBool(f.part("body"), "recv", 0xc2) && f.part("body").get("tok") != nil
	}),
	closes("T-4.31", 4001, 4002),
	editBody("T-4.37", "no software", reqGetInfo, func(f fields) fields { return f.without("soft") }),
	swap("T-4.38", reqSignIn, errCredentials, ok),
	closes("T-4.39", 4002, 4001),
	swap("T-4.41", reqSetPassword, errCredentials, errPasswordInvalid),
	editBody("T-4.42", "no devices", reqListDevices, func(f fields) fields { return f.with("devs", []any{}) }),
	{clause: "T-4.202", name: "takes a missing recv for false", ask: func(_ *bent, f fields) []raw {
		if body := f.part("body"); number(f, "reqt") == reqSignIn && body != nil && body.get("recv") == nil {
			return []raw{f.with("body", append(body, "recv", false)).pack()}
		}
		return nil
	}},
	editBody("T-4.203", "lists those alone that receive", reqListDevices, func(f fields) fields {
		b := rawOf(f.get("devs"))
		v, err := unpack(b)
		if err != nil {
			return f
		}
		all := []any{}
		for _, item := range v.items {
			if item.get("dev").str() != "sender" {
				all = append(all, b[item.head:item.end])
			}
		}
		return f.with("devs", all)
	}),
	closes("T-4.43", 4002, 1001),
	requested("T-4.44", "forgets", func(_ *bent, f fields) any { return f.with("body", f.part("body").with("msg", bin("another"))) }),
	swap("T-4.45", reqRemoveDevice, ok, errCredentials),
	swap("T-4.46", reqDeleteAccount, errCredentials, errPasswordInvalid),
	closes("T-4.47", 4002, 1001),
	swap("T-4.48", reqRegister, errNameTaken, errNameInvalid),
	{clause: "T-4.101", name: "keeps a device", ask: func(b *bent, f fields) []raw {
		if body := f.part("body"); number(f, "reqt") == reqSignIn && words(body, "dev") == "other" && body.get("tok") != nil {
			return b.fail(f, ok)
		}
		return nil
	}},
	swap("T-4.51", reqSetKey, errTooLarge, errMalformed),
	swap("T-4.52", reqSetKey, errMalformed, ok),
	{clause: "T-4.40", name: "a place at the start", say: func(b *bent, f fields, _ int) any {
		if number(f, "pakt") == pktRequest && isFirst(b) {
			return f.with("body", f.part("body").with("msg", bin("before")))
		}
		return nil
	}},
	keepsOpen("T-4.93", 4002),
	editBody("T-4.92", "33 devices", reqListDevices, func(f fields) fields {
		b, _ := f.get("devs").(raw)
		v, err := unpack(b)
		if err != nil || len(v.items) < 32 {
			return f
		}
		all := raw{}
		for _, item := range v.items {
			all = append(all, b[item.head:item.end]...)
		}
		first := v.items[0]
		return f.with("devs", append(head(0xdc, uint64(len(v.items)+1)), append(all, b[first.head:first.end]...)...))
	}),
}
