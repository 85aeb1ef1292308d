package conform

import (
	"fmt"
	"slices"
)

// Why a clause is not tested with a client that speaks the other form.
const (
	clientSeedAlone  = "concerns the seed's form alone, which the client does not speak"
	clientDraftAlone = "concerns the drafts' form alone, which the client does not speak"
)

// Those of clientAlways that one form alone has a place for.
var (
	clientSeedAlways  = []string{"T-4.120"}
	clientDraftAlways = []string{"T-9.7"}
)

// settle takes note of the form that the HANDSHAKE of a connection chose, of which the first decides for all
// where none was demanded. It reports whether this is the form of the run.
func (c *clientSuite) settle(drafts bool) bool {
	form := RevisionSeed
	if drafts {
		form = RevisionDraft
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.form == "" {
		c.form = form
	}
	return c.form == form
}

// revision is the form of the run, the seed's while none has been chosen.
func (c *clientSuite) revision() Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.form == "" {
		return RevisionSeed
	}
	return c.form
}

// alwaysIn returns what every packet is held against in the form of the run, and a scenario in place of
// what is not.
func (c *clientSuite) alwaysIn() ([]string, *T) {
	apart, why := clientDraftAlways, clientDraftAlone
	if c.revision() == RevisionDraft {
		apart, why = clientSeedAlways, clientSeedAlone
	}
	each := slices.DeleteFunc(slices.Clone(clientAlways), func(id string) bool { return slices.Contains(apart, id) })
	return each, &T{scenario: scenario{name: everyPacket, clauses: apart}, skipped: why}
}

// reads says in which form a packet is to be read. The connection's is fixed by its first HANDSHAKE, and a
// packet before that has the one that fits it. The caller holds mu.
func (g *guest) reads(b []byte) (drafts bool) {
	if g.fixed {
		return g.drafts
	}
	root, err := unpack(b)
	if err != nil {
		return false
	}
	drafts = root.get("ver") == nil
	if root.get("pakt").num() != pktRequest || root.get("reqt").num() != reqHandshake {
		return drafts
	}
	if drafts && root.get("body").get("ver") == nil {
		drafts = g.st.run.Revision == RevisionDraft // where it is there that the version is missing
	}
	g.fixed, g.drafts = true, drafts
	if !g.st.run.settle(drafts) {
		g.st.otherForm(drafts)
	}
	return drafts
}

// otherForm records that the client speaks another form than that of the run, which breaks no clause.
func (st *stage) otherForm(drafts bool) {
	text := "the client speaks the seed's form, with `ver` in the root of its HANDSHAKE, and not the drafts'"
	if drafts {
		text = "the client speaks the drafts' form, with `ver` in the body of its HANDSHAKE alone, and not the seed's"
	}
	st.T.mu.Lock()
	defer st.T.mu.Unlock()
	if st.blocked == "" {
		st.blocked = text
	}
}

// guestCode is the seed's code for one of a client in the drafts' form.
func guestCode(code int) int {
	switch code {
	case draftForward:
		return reqForward
	case draftGetNodeKey:
		return reqGetNodeKey
	}
	return code
}

// draftFaults returns what in a client's request breaks the drafts' form, beside its root.
func draftFaults(p *packet) []fault {
	const clause = "T-9.7"
	isForward := p.body.get("msg") != nil
	switch {
	case p.reqt == reqHandshake && p.pakt == pktRequest:
		found := versionShape.faults(clause, "body of HANDSHAKE", p.body)
		if ver := p.body.get("ver").str(); !semver.MatchString(ver) {
			found = append(found, fault{clause, fmt.Sprintf("ver %q in the body of HANDSHAKE", ver)})
		}
		return found
	case p.reqt == reqGetNodeKey && isForward:
		return []fault{{clause, fmt.Sprintf("FORWARD with reqt 0x%02x", draftGetNodeKey)}}
	case p.reqt == reqForward && !isForward && p.body.get("node") != nil:
		return []fault{{clause, fmt.Sprintf("GET_NODE_KEY with reqt 0x%02x", draftForward)}}
	}
	return nil
}

var versionShape = shape{{key: "ver", declared: "str8", most: 64}}
