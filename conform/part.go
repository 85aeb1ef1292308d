package conform

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"time"
)

// tagSize is how long the tag is with which the messages of a part begin.
const tagSize = 26

func tagOf(body []byte) string { return string(body[:min(len(body), tagSize)]) }

// part has the second node play a part for the scenario, under one of its names, once the tested
// node is known to reach it there. c is somebody's connection.
func (t *T) part(c *conn, label string) *part {
	p := t.s.peer
	name := label + "." + p.base
	s := &part{t: t, node: p, face: p.faces[name], tag: rand.Text()}
	p.mu.Lock()
	p.parts[s.tag] = s
	p.mu.Unlock()
	t.parts = append(t.parts, s)
	id := c.ask(reqForward, s.forward(true, "are you there"))
	first := s.arrival(t.s.patience, func(*post) bool { return true })
	if first == nil {
		t.skip(fmt.Sprintf("the tested node does not reach %s: have it reach that name at the address of --peer, and trust --peer-ca", name))
	}
	first.answer <- delivered
	c.wantOK(c.response(id))
	return s
}

// strike ends what a part does: what still comes for it is taken as if delivered.
func (s *part) strike() {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	s.strikeLocked()
	delete(s.node.parts, s.tag)
}

func (s *part) strikeLocked() {
	for _, one := range s.posts {
		select {
		case one.answer <- delivered:
		default: // it has an answer
		}
	}
}

// message is what the second node tells from all others.
func (s *part) message(text string) bin { return bin(s.tag + text) }

// forward is a FORWARD to the second node.
func (s *part) forward(wait bool, text string) fields {
	return fields{"node", s.face.name, "wait", wait, "msg", s.message(text)}
}

// arrival takes the first message that is wanted from those that have come or come in that time, or
// returns nil.
func (s *part) arrival(patience time.Duration, wanted func(*post) bool) *post {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.node.mu.Lock()
		for _, one := range s.posts {
			if !one.taken && wanted(one) {
				one.taken = true
				s.node.mu.Unlock()
				return one
			}
		}
		changed := s.node.changed
		s.node.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-s.t.ctx.Done():
			s.t.giveUp()
		}
	}
}

// want waits for a message, or ends the scenario.
func (s *part) want(text string) *post {
	one := s.arrival(s.t.s.patience, func(p *post) bool { return bytes.Equal(p.body, s.message(text)) })
	if one == nil {
		s.t.fatal(nil, fmt.Sprintf("the message %q at the second node", text), "the messages "+fmt.Sprintf("%q", s.texts()))
	}
	return one
}

// texts are what has come.
func (s *part) texts() []string {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	var texts []string
	for _, one := range s.posts {
		texts = append(texts, string(one.body[tagSize:min(len(one.body), tagSize+40)]))
	}
	return texts
}

// has reports whether a message has come.
func (s *part) has(text string) bool { return slices.Contains(s.texts(), text) }

// set changes what a face is.
func (s *part) set(change func(*face)) {
	s.node.mu.Lock()
	change(s.face)
	s.node.mu.Unlock()
}

// fetches returns how often the face's key was fetched.
func (s *part) fetches() int {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return len(s.face.fetches)
}

// lastFetch is the last of them.
func (s *part) lastFetch() fetch {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return s.face.fetches[len(s.face.fetches)-1]
}
