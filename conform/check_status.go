package conform

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

func statusScenarios() []scenario {
	return []scenario{
		{name: "dropped", clauses: []string{"T-5.115", "T-6.100"}, run: checkDropped, admin: true, peer: true},
		{name: "maintenance-of-two", clauses: []string{"T-5.111"}, run: checkMaintenanceOfTwo, admin: true, peer: true, alone: true},
	}
}

// checkSecondAsksForTime has the second node ask for some seconds with a 429, and with a 503.
func checkSecondAsksForTime(t *T) {
	const wait = 12 * time.Second
	c := t.member()
	s := t.part(c, faceAsked)
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		text := fmt.Sprintf("answered %d at first", code)
		c.wantOK(c.exchange(reqForward, s.forward(false, text)))
		s.want(text).answer <- status(code, "Retry-After", fmt.Sprint(int(wait/time.Second)))
		asked := time.Now()
		t.on("T-4.106")
		again := s.arrival(wait+retryPatience, func(p *post) bool { return bytes.Equal(p.body, s.message(text)) })
		if again == nil {
			return // it need not try again so soon
		}
		again.answer <- delivered
		t.check(c, again.at.Sub(asked) > wait-time.Second, fmt.Sprintf("no further attempt within %v after %d with that Retry-After", wait, code),
			fmt.Sprintf("one after %v", again.at.Sub(asked).Round(time.Millisecond)))
	}
}

// checkSecondIsSlow has the second node begin answers, and not end them.
func checkSecondIsSlow(t *T) {
	const patience, late = 30 * time.Second, 2 * time.Second
	waiting, other := t.member(), t.member()
	s := t.part(waiting, faceStatus)
	id := waiting.ask(reqForward, s.forward(true, "slow"))
	first := s.want("slow")
	first.answer <- response{status: http.StatusOK, header: http.Header{"Content-Type": {typeAnswer}}, slow: true}
	other.wantOK(other.exchange(reqForward, s.forward(false, "never")))
	second := s.want("never")
	t.on("T-5.141")
	for _, one := range []*post{first, second} {
		timer := time.NewTimer(time.Until(one.at.Add(patience + late)))
		select {
		case <-one.left:
		case <-timer.C:
			t.wrong(nil, fmt.Sprintf("the end of the request after %v", patience), fmt.Sprintf("none after %v", time.Since(one.at).Round(time.Millisecond)))
		case <-t.ctx.Done():
			t.giveUp()
		}
		timer.Stop()
	}
	p := waiting.response(id)
	waiting.want(p, "FORWARD with wait true to a node whose answer does not end", errNodeTimeout)
	other.quiet("no RETURN, since it is tried again")
}

// checkDropped has the operator drop what waits for the second node under one of its names.
func checkDropped(t *T) {
	c, unsure := t.member(), t.member()
	s := t.part(c, faceDropped)
	refs := make(map[string]bin)
	forward := func(c *conn, text string) {
		refs[text] = randomBytes(16)
		c.wantOK(c.exchange(reqForward, append(s.forward(false, text), "ref", refs[text])))
	}
	forward(unsure, "perhaps delivered")
	s.want("perhaps delivered").answer <- status(500)
	forward(c, "not delivered")
	s.want("not delivered").answer <- status(503, "Retry-After", "60")
	forward(c, "behind it")
	drop := t.errand("queue", "drop", s.face.name)
	for !drop.over() {
		if one := s.arrival(100*time.Millisecond, func(*post) bool { return true }); one != nil {
			one.answer <- status(500)
		}
	}
	if drop.err != nil {
		t.skip("the operator's command does not drop what waits: " + drop.err.Error())
	}
	if !c.await(t.s.patience, func() bool { return len(c.arrived) > 0 || c.end != nil }) {
		t.noEffect("queue", "drop", s.face.name)
	}
	t.on("T-6.100")
	c.wantReturned("what the operator has dropped", refs["not delivered"], errNodeRefused)
	c.wantReturned("what the operator has dropped", refs["behind it"], errNodeRefused)
	t.on("T-5.115")
	unsure.wantReturned("what the operator has dropped, and may have been delivered", refs["perhaps delivered"], errNodeTimeout)
}

// checkMaintenanceOfTwo forwards a message to the tested node while that is in maintenance.
func checkMaintenanceOfTwo(t *T) {
	c := t.member()
	s := t.part(c, faceOrder)
	post := func(text string) *http.Response {
		sealed := c.sealed(text, recipe{})
		response, _ := t.post(sealed, t.vouch(s.face, "someone", sealed).headers()...)
		return response
	}
	before := post("before")
	if before.StatusCode == 503 && s.fetches() == 0 {
		t.skip(fetchedBefore)
	}
	t.operator("maintenance", "on")
	on := true
	off := func() {
		if on {
			on = false
			if err := t.undo("maintenance", "off"); err != nil {
				t.add(nil, "T-5.111", "the end of maintenance", err.Error())
			}
		}
	}
	defer off()
	began := func() bool { return t.saysMaintenance() || t.upgrades() != nil }
	if t.soon(began); !began() {
		t.noEffect("maintenance", "on")
	}
	t.on("T-5.111")
	t.wantLater(post("meanwhile"), "a message in maintenance")
	off()
	t.served("maintenance")
	if before.StatusCode == 200 {
		after := post("after")
		t.check(nil, after.StatusCode == 200, "status 200 after maintenance", after.Status)
	}
}
