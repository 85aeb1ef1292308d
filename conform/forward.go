package conform

import "fmt"

// forward is a FORWARD to the node itself.
func (t *T) forward(wait bool, msg []byte) fields {
	return fields{"node", t.s.node, "wait", wait, "msg", bin(msg)}
}

// hand makes a FORWARD with `wait` true to the node itself and returns what it answered: a
// map, or bytes that are none.
func (c *conn) hand(msg []byte) (answer *value, resp []byte) {
	p := c.exchange(reqForward, c.t.forward(true, msg))
	if p.code != ok {
		c.t.fatal(c, "`resp` for a FORWARD with `wait` true", p.String())
	}
	resp = p.body.get("resp").bytes()
	answer, err := unpack(resp)
	if err != nil || answer.kind != kindMap || answer.end != len(resp) {
		return nil, resp
	}
	return answer, resp
}

// answerCode returns the error of a destination's answer, or ok.
func answerCode(answer *value) int {
	if e := answer.get("err"); e != nil {
		return int(e.get("code").num())
	}
	return ok
}

// wantAnswer hands over what is to be answered in a set way.
func (c *conn) wantAnswer(what string, msg []byte, want int) {
	answer, resp := c.hand(msg)
	if answer == nil {
		c.t.wrong(c, fmt.Sprintf("an answer %s for %s", codeName(answerNames, want), what), fmt.Sprintf("% x", resp[:min(len(resp), 32)]))
		return
	}
	if got := answerCode(answer); got != want {
		c.t.wrong(c, fmt.Sprintf("an answer %s for %s", codeName(answerNames, want), what), codeName(answerNames, got))
	}
}

// wantRefused hands over a message whose form is wrong.
func (c *conn) wantRefused(what string, msg []byte) {
	p := c.exchange(reqForward, c.t.forward(true, msg))
	c.want(p, what, errNodeRefused)
}

// send sends a message to a user of the node and sees that it is stored.
func (c *conn) send(to *user, text string) (mid bin) {
	mid = randomBytes(16)
	c.sendAs(to, mid, text)
	return mid
}

// sendAs is send with a `mid` given.
func (c *conn) sendAs(to *user, mid bin, text string) {
	answer, _ := c.hand(c.t.seal(message(to.name, mid, []byte(text)), recipe{}))
	if code := answerCode(answer); answer == nil || code != ok {
		c.t.fatal(c, "a MESSAGE to be stored", codeName(answerNames, code))
	}
}

// text returns the `msg` of a DELIVER.
func text(p *packet) string { return string(p.body.get("msg").bytes()) }

// wantTexts takes messages and checks what they say.
func (c *conn) wantTexts(what string, want ...string) {
	var got []string
	for range want {
		got = append(got, text(c.deliverAnswered()))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.wrong(c, fmt.Sprintf("the messages %q %s", want, what), fmt.Sprintf("%q", got))
	}
}

func (c *conn) deliverAnswered() *packet {
	p := c.deliver()
	c.answer(p, ok)
	return p
}

// nothingBefore shows that the mailbox holds nothing more for this device: what is stored now
// comes next.
func (c *conn) nothingBefore(what string) {
	c.send(c.user, "fence")
	if p := c.deliverAnswered(); text(p) != "fence" {
		c.t.wrong(c, what, fmt.Sprintf("%v with msg %q", p, text(p)))
	}
}
