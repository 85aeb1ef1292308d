package conform

import (
	"testing"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// The node of this project passes in the form of the later drafts too.
func TestNodeOfTheDrafts(t *testing.T) {
	t.Parallel() // it waits, mostly
	n := tipttest.Start(t)
	o := options(n)
	o.Revision = RevisionDraft
	report := run(t, o)
	clean(t, report, append(unhelped, "--revision")...)
	if passed := report.Count(Passed); passed < 185 {
		t.Errorf("only %d clauses were tested", passed)
	}
}

// isDraft reports whether a client's packet has the drafts' form.
func isDraft(f fields) bool { return f.get("ver") == nil }

// draftDefects are nodes that break section 9.
var draftDefects = []defect{
	{clause: "T-9.1", name: "knows no drafts", ask: func(b *bent, f fields) []raw {
		if isDraft(f) && number(f, "reqt") == reqHandshake {
			return b.fail(f, errMalformed)
		}
		return nil
	}},
	{clause: "T-9.2", name: "always has a ver", say: func(_ *bent, f fields, _ int) any {
		if f.get("ver") == nil {
			return f.with("ver", "1.0.0")
		}
		return nil
	}},
	{clause: "T-9.2", name: "keeps its codes", ask: func(_ *bent, f fields) []raw {
		if number(f, "pakt") != pktResponse && isDraft(f) {
			switch number(f, "reqt") {
			case draftForward:
				return []raw{f.with("reqt", draftGetNodeKey).pack()}
			case draftGetNodeKey:
				return []raw{f.with("reqt", draftForward).pack()}
			}
		}
		return nil
	}},
	{clause: "T-9.2", name: "says more than the code", say: func(_ *bent, f fields, _ int) any {
		if f.get("ver") == nil && f.get("err") != nil {
			return f.with("err", fields{"code", number(f, "err")})
		}
		return nil
	}},
	{clause: "T-9.3", name: "says the bare code at once", say: func(b *bent, f fields, asked int) any {
		if code := f.code(); b.note == "" && code != ok {
			return f.without("ver").with("err", code)
		}
		if asked == reqHandshake && f.get("body") != nil {
			b.note = "taken"
		}
		return nil
	}},
	{clause: "T-9.190", name: "keeps the form of a HANDSHAKE that it refuses", ask: func(b *bent, f fields) []raw {
		switch {
		case number(f, "reqt") != reqHandshake:
		case isDraft(f):
			b.note = "drafts"
		case b.note != "":
			return b.fail(f, errMalformed)
		}
		return nil
	}},
	{clause: "T-9.4", name: "takes each packet as it comes", ask: func(b *bent, f fields) []raw {
		switch {
		case number(f, "reqt") == reqHandshake && b.note == "":
			b.note = "seed"
			if isDraft(f) {
				b.note = "draft"
			}
		case b.note == "seed" && isDraft(f):
			return []raw{f.with("ver", "1.0.0").pack()}
		case b.note == "draft" && !isDraft(f):
			return []raw{f.without("ver").pack()}
		}
		return nil
	}},
	lenient("T-9.5", "skips all unknown keys", func(f fields) fields {
		if isDraft(f) {
			return f.without("more")
		}
		return f
	}),
	{clause: "T-9.6", name: "sets no keys of the drafts", ask: func(b *bent, f fields) []raw {
		if isDraft(f) && number(f, "reqt") == reqSetKey && number(f, "pakt") == pktRequest {
			return b.tell(fields{"id", f.get("id"), "pakt", pktResponse, "err", errUnsupported})
		}
		return nil
	}},
}
