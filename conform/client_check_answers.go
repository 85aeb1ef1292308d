package conform

import (
	"fmt"
	"io"
	"slices"
)

func clientAnswerScenarios() []clientScenario {
	var all []clientScenario
	for _, a := range []struct {
		name string
		reqt int
		all  []badAnswer
	}{
		{"client-bad-handshake", reqHandshake, badBodies(responses[reqHandshake].shape)},
		{"client-bad-sign-in", reqSignIn, badBodies(responses[reqSignIn].shape)},
		{"client-bad-node-key", reqGetNodeKey, badNodeKeys()},
		{"client-bad-forward", reqForward, badForwards()},
	} {
		all = append(all, clientScenario{name: a.name, clauses: []string{"T-2.27", "T-2.121"}, run: func(st *stage) {
			for _, bad := range a.all {
				st.answersBadly(a.reqt, bad)
			}
		}})
	}
	return append(all, clientScenario{name: "client-key-malformed", run: clientKeyMalformed, clauses: []string{"T-5.75", "T-8.5", "T-8.19"}})
}

// A badAnswer is a response that is not as it should be.
type badAnswer struct {
	what   string
	change func(good fields) raw
	asking bool // it is to a FORWARD of a GET_USER_KEY, in place of a MESSAGE
}

// badBodies are responses with a key of their body missing, of another type or length, and with another body.
func badBodies(s shape) (all []badAnswer) {
	add := func(what string, change func(good fields) raw) {
		all = append(all, badAnswer{what: what, change: change})
	}
	body := func(what string, change func(body fields) any) {
		add(what, func(good fields) raw {
			body, _ := good.get("body").(fields)
			return good.with("body", change(body)).pack()
		})
	}
	for _, f := range s {
		if !f.optional {
			body("without `"+f.key+"`", func(b fields) any { return b.without(f.key) })
		}
		for _, other := range brief(kindOf(f.declared)) {
			body("with "+other.name+" as `"+f.key+"`", func(b fields) any { return b.with(f.key, other.value) })
		}
		if f.exact {
			body(fmt.Sprintf("with %d bytes as `%s`", f.most-1, f.key), func(b fields) any { return b.with(f.key, randomBytes(int(f.most)-1)) })
		}
	}
	add("without a `body`", func(good fields) raw { return good.without("body").pack() })
	body("with an array as `body`", func(fields) any { return []any{1} })
	add("that is cut off in `body`", func(good fields) raw {
		whole, before := good.pack(), good.without("body").pack()
		return whole[:(len(before)+len(whole))/2]
	})
	add("that lacks its last byte", func(good fields) raw {
		whole := good.pack()
		return whole[:len(whole)-1]
	})
	return all
}

// brief are values of some other kinds.
func brief(not kind) (some []other) {
	for _, other := range others {
		if other.kind != not && slices.Contains([]kind{kindNil, kindUint, kindStr, kindBin, kindMap}, other.kind) {
			some = append(some, other)
		}
	}
	return some
}

func badNodeKeys() []badAnswer {
	return append(badBodies(responses[reqGetNodeKey].shape), badAnswer{what: "with a `key` that is no certificate", change: func(good fields) raw {
		return good.with("body", fields{"key", randomBytes(300)}).pack()
	}})
}

// badForwards are such to a FORWARD of a message, and to one of GET_USER_KEY.
func badForwards() (all []badAnswer) {
	add := func(what string, change func(good fields) raw) {
		all = append(all, badAnswer{what: what, change: change})
	}
	add("with an array as `body`", func(good fields) raw { return good.with("body", []any{1}).pack() })
	add("with a number as `body`", func(good fields) raw { return good.with("body", 1).pack() })
	add("with a `reqt`", func(good fields) raw { return append(good, "reqt", reqForward).pack() })
	add("with bytes behind it", func(good fields) raw { return append(good.pack(), 0) })
	for _, tt := range []struct {
		what string
		err  any
	}{
		{"an array", []any{1}},
		{"a string", "an error"},
		{"nil", nil},
	} {
		add("with "+tt.what+" as `err`", func(good fields) raw { return append(good.without("body"), "err", tt.err).pack() })
	}
	add("whose `err` is cut off", func(good fields) raw {
		whole := append(good.without("body"), "err", fields{"code", errOutboxFull}).pack()
		return whole[:len(whole)-1]
	})
	for _, bad := range badBodies(shape{{key: "resp", declared: "bin32"}}) {
		bad.asking = true
		all = append(all, bad)
	}
	return all
}

// answersBadly starts the client, and has the first response to a request be bad and all others good. The client is
// to have ended some time after its input has.
func (st *stage) answersBadly(reqt int, bad badAnswer) {
	what := fmt.Sprintf("a response to %s %s", requestNames[reqt], bad.what)
	text := "after " + what
	var at *guest // guarded by st.mu, as is again
	again := 0
	st.behave(func(r *rules) {
		r.answer = func(g *guest, p *packet, l *letter) bool {
			if p.reqt != reqt || p.pakt != pktRequest || reqt == reqForward && bad.asking == l.isMessage() {
				return false
			}
			st.mu.Lock()
			first := at == nil
			if first {
				at = g
			} else {
				again++
			}
			st.mu.Unlock()
			if first {
				g.encode = bad.change
				g.serve(p, l)
				g.encode = nil
			}
			return first
		}
	})
	st.clause = ""
	st.mu.Lock()
	st.met = len(st.guests)
	st.mu.Unlock()
	st.start()
	defer func() {
		st.program.end()
		st.behave(func(r *rules) { r.answer = nil })
	}()
	st.group.Go(func() {
		_, _ = io.WriteString(st.program.stdin, text+"\n") // it may have ended
		_ = st.program.stdin.Close()
	})
	if !st.within(st.s.patience, func() bool { return at != nil || st.program.hasEnded() != "" }) {
		st.fatal(st.lastConn(), "the client to send "+requestNames[reqt], st.state())
	}
	st.mu.Lock()
	g := at
	st.mu.Unlock()
	if g == nil {
		return // it does not send that
	}
	st.on("T-2.121")
	if !st.program.ended(st.s.patience + backOff) {
		st.fatal(g.conn, "the client to go on after "+what+", or to end", st.state())
	}
	st.on("T-2.27")
	g.mu.Lock()
	refused := g.end != nil && g.end.code != 1000
	g.mu.Unlock()
	st.mu.Lock()
	taken := !refused && again == 0 && st.program.err == nil && st.program.errs.count() == 0
	st.mu.Unlock()
	st.check(g.conn, !taken, what+" not to be taken for a good one", "no sign of a refusal")
}

// clientKeyMalformed has answers about the recipient's certificate be malformed within their seal.
func clientKeyMalformed(st *stage) {
	to := st.to + "@" + otherNode
	lure := st.lure(to)
	within := func(what string, answer fields) lie {
		return lie{what, nil, func(l *letter) bin { return l.sealed(answer.pack()) }, ""}
	}
	all := []lie{
		{"an answer with `body` and `err`", lure, func(l *letter) bin {
			return l.sealed(append(fields{"err", fields{"code", errUnsupported}}, "body", fields{"key", bin(lure.certificate)}).pack())
		}, ""},
		{"a sealed answer that is no map", nil, func(l *letter) bin { return l.sealed(pack([]any{"body", nil})) }, ""},
		{"a sealed answer that is cut off", nil, func(l *letter) bin { return l.sealed(raw{0x82, 0xa4, 'b', 'o', 'd', 'y', 0x81}) }, ""},
		{"a sealed answer of zeros", nil, func(l *letter) bin { return l.sealed(nil) }, ""},
		within("a sealed answer of an empty map", fields{}),
		within("a sealed answer with nil as `body`", fields{"body", nil}),
		within("a sealed answer without `key`", fields{"body", fields{}}),
		within("a sealed answer with nil as `err`", fields{"err", nil}),
		within("a sealed answer with a number as `err`", fields{"err", errNoSuchUser}),
		within("a sealed answer whose `err` has no `code`", fields{"err", fields{"msg", "none"}}),
	}
	for _, other := range others {
		if other.kind != kindMap && other.kind != kindNil {
			all = append(all, within("a sealed answer with "+other.name+" as `body`", fields{"body", other.value}))
		}
		if other.kind != kindBin && other.kind != kindNil {
			all = append(all, within("a sealed answer with "+other.name+" as `key`", fields{"body", fields{"key", other.value}}))
		}
	}
	st.lies("T-5.75", all...)
}
