package conform

import (
	"bytes"
	"fmt"
	"time"
)

// A fetching is how another node answers GET_NODE_KEY's fetch, and what the tested one makes of that.
type fetching struct {
	label string
	what  string
	r     response
	want  int
}

var fetchings = []fetching{
	{faceAbsent, "404", status(404), errNodeRefused},
	{faceMoved, "a redirection", status(302, "Location", "/elsewhere"), errNodeRefused},
	{faceFailing, "500", status(500), errNodeTimeout},
	{faceCut, "the end of the connection", response{cut: true}, errNodeTimeout},
	{faceBusy, "503", status(503, "Retry-After", "1"), errNodeUnreachable},
	{faceRate, "429", status(429, "Retry-After", "1"), errNodeUnreachable},
}

// fetchTime is the 30 s of section 5.6, and what a busy machine adds.
const fetchTime = 32 * time.Second

// checkFetched has the second node answer for its key in ways that are none.
func checkFetched(t *T) {
	c, patient := t.member(), t.member()
	silent := t.part(patient, faceDumb)
	silent.set(func(f *face) { f.serves = &response{never: true} })
	start := time.Now()
	never := patient.ask(reqGetNodeKey, fields{"node", silent.face.name, "new", true})
	for _, tt := range fetchings {
		t.clause = ""
		s := t.part(c, tt.label)
		s.set(func(f *face) { f.serves = &tt.r })
		p := c.exchange(reqGetNodeKey, fields{"node", s.face.name, "new", true})
		if s.fetches() == 0 {
			t.skip(fetchedBefore)
		}
		t.on("T-4.149")
		if c.want(p, "GET_NODE_KEY of a node that answers "+tt.what, tt.want) && tt.want == errNodeUnreachable {
			t.check(c, p.wait() > 0 || c.drafts, "NODE_UNREACHABLE with wait after "+tt.what, "none")
		}
	}
	t.on("T-4.149")
	patient.await(fetchTime-time.Since(start), func() bool { return len(patient.arrived) > 0 || patient.end != nil })
	p := patient.response(never)
	if silent.fetches() == 0 {
		t.skip(fetchedBefore)
	}
	patient.want(p, "GET_NODE_KEY of a node that does not answer", errNodeTimeout)
	t.on("T-5.141")
	t.check(patient, time.Since(start) < fetchTime, "the end of a fetch after 30 s", fmt.Sprint(time.Since(start)))
}

// fetched makes a GET_NODE_KEY for the face, and returns the key.
func (s *part) fetched(c *conn, fresh bool) []byte {
	p := c.exchange(reqGetNodeKey, fields{"node", s.face.name, "new", fresh})
	if s.fetches() == 0 {
		s.t.skip(fetchedBefore)
	}
	return c.wantOK(p).body.get("key").bytes()
}

// rotated gives the face another certificate, and returns the ones of before and after.
func (s *part) rotated() (before, after []byte) {
	s.set(func(f *face) { before = f.key })
	s.rotate()
	s.set(func(f *face) { after = f.key })
	return before, after
}

func checkFetchedSoon(t *T) {
	c := t.member()
	s := t.part(c, faceSoon)
	s.fetched(c, true)
	fetches := s.fetches()
	before, _ := s.rotated()
	t.on("T-4.72")
	for range 3 {
		t.check(c, bytes.Equal(s.fetched(c, true), before), "the cached key for `new` within a minute of a fetch", "another one")
	}
	t.check(c, s.fetches() == fetches, "no further fetch within a minute", fmt.Sprintf("%d", s.fetches()-fetches))
}

func checkFetchedLater(t *T) {
	c := t.member()
	s := t.part(c, faceLater)
	s.fetched(c, true)
	_, after := s.rotated()
	t.pause(61 * time.Second)
	t.on("T-4.148")
	t.check(c, bytes.Equal(s.fetched(c, true), after), "the key of now for `new`, a minute after a fetch", "the one of before")
}

// A badCertificate is one for TLS that no node may trust.
type badCertificate struct {
	what     string
	asked    string // the face whose key is asked for
	vouching string // the face that vouches for a message
	foreign  bool   // of an authority of its own
	name     string // before that of the face
	until    time.Duration
}

var badCertificates = []badCertificate{
	{"of an unknown authority", faceUnknown, faceUnknownToo, true, "", time.Hour},
	{"that has expired", faceExpired, faceExpiredToo, false, "", -time.Hour},
	{"for another name", faceOther, faceOtherToo, false, "other.", time.Hour},
}

// certify gives the face such a certificate.
func (s *part) certify(bad badCertificate) {
	by, err := s.node.authority, error(nil)
	if bad.foreign {
		by, err = newAuthority()
	}
	if err != nil {
		s.t.fatal(nil, "an authority", err.Error())
	}
	certificate, err := by.issue(bad.name+s.face.name, bad.until)
	if err != nil {
		s.t.fatal(nil, "a certificate", err.Error())
	}
	s.set(func(f *face) { f.certificate = certificate })
}

// checkUnverified has the tested node want the key of one whose certificate it cannot verify: who stands
// there might give it a key of their own.
func checkUnverified(t *T) {
	c := t.member()
	for _, bad := range badCertificates {
		t.clause = ""
		s := t.part(c, bad.asked)
		s.certify(bad)
		t.on("T-5.190")
		c.want(c.exchange(reqGetNodeKey, fields{"node", s.face.name, "new", true}), "GET_NODE_KEY of a node with a certificate "+bad.what, errNodeUnreachable)
		t.check(c, s.fetches() == 0, "no key asked of a node with a certificate "+bad.what, fmt.Sprintf("%d requests", s.fetches()))

		t.clause = ""
		s = t.part(c, bad.vouching)
		s.certify(bad)
		body := c.sealed("vouched for by one with a certificate "+bad.what, recipe{})
		t.on("T-5.190")
		response, _ := t.post(body, t.vouch(s.face, "someone", body).headers()...)
		t.wantLater(response, "a message vouched for by a node with a certificate "+bad.what)
		t.check(c, s.fetches() == 0, "no key asked of a node with a certificate "+bad.what, fmt.Sprintf("%d requests", s.fetches()))
	}
	c.quiet("nothing stored of what nobody could bear out")
}
