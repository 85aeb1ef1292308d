package conform

// A Revision is the form that the packets of a connection have (section 9).
type Revision string

// The revisions.
const (
	RevisionSeed  Revision = "seed"
	RevisionDraft Revision = "draft"
)

// seedAlone is why a clause is not tested in the drafts' form.
const seedAlone = "concerns the seed's form alone: give --revision seed"

// seedAlways are those of always that the drafts' form has no place for.
var seedAlways = []string{"T-2.2", "T-4.10", "T-6.1", "T-6.190"}

// The codes that the drafts number otherwise.
const (
	draftGetNodeKey = 0x20
	draftForward    = 0x21
)

// drafts reports whether the node is tested in the form of the later drafts.
func (s *suite) drafts() bool { return s.Revision == RevisionDraft }

// inSeed says which clause is checked from here on, unless it has no meaning in the form that the
// node is tested in.
func (t *T) inSeed(clause string) bool {
	if t.s.drafts() {
		t.apart[clause] = seedAlone
		return false
	}
	t.on(clause)
	return true
}

// speak sets the form of what is sent and read from now on.
func (c *conn) speak(drafts bool) {
	c.mu.Lock()
	c.drafts = drafts
	c.mu.Unlock()
}

// root turns a packet of the seed's form into the connection's.
func (c *conn) root(f fields) fields {
	switch {
	case c.drafts && c.guest != nil: // whose requests have codes that no form changes
		return f.without("ver")
	case c.drafts:
		return f.drafted()
	}
	return f
}

// root turns a packet of the seed's form into the one that the node is tested in.
func (t *T) root(f fields) fields {
	if t.s.drafts() {
		return f.drafted()
	}
	return f
}

// drafted is a packet in the form of the later drafts: it has no `ver`, and other codes.
func (f fields) drafted() fields {
	f = f.without("ver")
	if number, is := f.get("reqt").(int); is {
		switch number {
		case reqForward:
			return f.with("reqt", draftForward)
		case reqGetNodeKey:
			return f.with("reqt", draftGetNodeKey)
		}
	}
	return f
}
