package conform

import (
	"bytes"
	"fmt"
	"slices"
)

func killedScenarios() []scenario {
	return []scenario{
		{name: "killed", clauses: []string{"T-4.62", "T-5.25", "T-5.49"}, run: checkKilled, admin: true, alone: true},
	}
}

// checkKilled has the node's process killed in the midst of messages. What was answered before that is there
// when the node is started again.
func checkKilled(t *T) {
	writer, u := t.member(), t.newUser()
	t.signIn(u, "dev", "one").hang() // so that it has its place
	const (
		most    = 5_000 // messages: the operator is not that slow
		first   = 40    // that are on their way before he is asked
		atATime = 16
	)
	type request struct {
		id     uint8
		text   string
		clause string // of its answer
		sealed []byte
	}
	var flight, kept []request
	settle := func() {
		one := flight[0]
		flight = flight[1:]
		p := writer.find(func(p *packet) bool { return p.pakt == pktResponse && p.id == one.id })
		if p != nil && forwarded(p) == ok {
			kept = append(kept, one)
		}
	}
	var killed *errand
	session := new(session)
	for i := 0; i < most && writer.open() && (killed == nil || !killed.over() || killed.err == nil); i++ {
		if i == first {
			killed = t.errand("kill")
		}
		if len(flight) == atATime {
			settle()
		}
		one := request{text: fmt.Sprint(i), clause: "T-4.62"}
		if i%2 == 1 {
			one.clause = "T-5.49"
		}
		one.sealed = t.seal(message(u.name, randomBytes(16), []byte(one.text)), recipe{aead: true, session: session})
		one.id = writer.ask(reqForward, t.forward(one.clause == "T-5.49", one.sealed))
		flight = append(flight, one)
	}
	for len(flight) > 0 {
		settle()
	}
	if killed == nil || len(kept) == 0 {
		t.fatal(writer, "messages to be taken", writer.state())
	}
	if err := killed.wait(); err != nil {
		t.skip("the operator's command does not kill the node: " + err.Error())
	}
	if t.soon(func() bool { return !writer.open() }); writer.open() {
		t.noEffect("kill")
	}
	t.served("its process was killed")
	reader := t.signIn(u, "dev", "one")
	missing := slices.Clone(kept)
	for len(missing) > 0 {
		p := reader.find(func(p *packet) bool { return p.pakt == pktRequest })
		if p == nil {
			break
		}
		reader.answer(p, ok)
		missing = slices.DeleteFunc(missing, func(one request) bool { return one.text == text(p) })
	}
	for _, one := range kept {
		t.on(one.clause)
	}
	for _, one := range missing {
		t.on(one.clause)
		t.wrong(reader, fmt.Sprintf("the message %s, which was answered before the node was killed, as %d were", one.text, len(kept)),
			fmt.Sprintf("all but %d of them", len(missing)))
	}
	if len(missing) > 0 {
		return
	}
	t.clause = ""
	again := t.signIn(writer.user)
	t.on("T-5.25")
	for _, one := range kept[:min(3, len(kept))] {
		again.wantAnswer("the message "+one.text+" once more, after the node was killed", one.sealed, ok)
	}
	for fence := again.send(u, "fence"); ; {
		p := reader.deliver()
		reader.answer(p, ok)
		if bytes.Equal(p.body.get("mid").bytes(), fence) {
			return
		}
		stored := slices.ContainsFunc(kept, func(one request) bool { return one.text == text(p) })
		t.check(reader, !stored, "nothing stored twice of what was stored before the node was killed", p.String())
	}
}
