package conform

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// limitsOf says which clause has a limit of the protocol, by the words around its number there. Where no clause
// does, it says why.
var limitsOf = []struct{ phrase, clause, why string }{
	{phrase: "to port 443 of", clause: "T-1.1"},
	{phrase: "been open for 30 s without", clause: "T-1.12"},
	{phrase: "message of more than 2,100,000 bytes", clause: "T-1.20"},
	{phrase: "draw that line at 65,536 bytes", clause: "T-1.21"},
	{phrase: "sends a PING every 5 min", clause: "T-1.25"},
	{phrase: "nothing has come for 4 min", clause: "T-1.27"},
	{phrase: "arrives within another 30 s", clause: "T-1.28"},
	{phrase: "discarding input for up to 5 s", clause: "T-1.35"},
	{phrase: "| `ver` | str8 64", clause: "T-2.2"},
	{phrase: "as in `str8 64`", why: "an example"},
	{phrase: "nested deeper than 4", clause: "T-2.22"},
	{phrase: "with a length of 16 bits", clause: "T-2.23"},
	{phrase: "nest deeper than 4", clause: "T-2.22"},
	{phrase: "may have 256 requests", clause: "T-3.10"},
	{phrase: "come within 3 s of the upgrade", clause: "T-3.20"},
	{phrase: "close, at most 30 s later", clause: "T-3.36"},
	{phrase: "final dot, at most 253 bytes", clause: "T-4.3"},
	{phrase: "it has 1 to 64 bytes", clause: "T-4.6"},
	{phrase: "up to the 255 bytes that its type holds", clause: "T-4.6"},
	{phrase: "node's name: at most 318 bytes", clause: "T-4.19"},
	{phrase: "{`ver`? str8 64}", clause: "T-2.3"},
	{phrase: "| `user` | str8 64", clause: "T-4.6"},
	{phrase: "| `pass` | str8 255", clause: "T-4.12"},
	{phrase: "| at least 8 bytes |", clause: "T-4.12"},
	{phrase: "| `inv`? | str8 64", clause: "T-4.15"},
	{phrase: "| `dev`? | str8 64", clause: "T-4.26"},
	{phrase: "| `tok` | bin8 32", clause: "T-4.24"},
	{phrase: "| `addr` | str16 318", clause: "T-4.19"},
	{phrase: "| `tok`? | bin8 32", clause: "T-4.19"},
	{phrase: "user has 16 such connections", clause: "T-4.30"},
	{phrase: "| `node` | str8 253", clause: "T-4.3"},
	{phrase: "| `soft` | str8 255", clause: "T-4.37"},
	{phrase: "| `node` | str16 500", clause: "T-4.2"},
	{phrase: "| `msg` | bin32 2,000,000", clause: "T-4.64"},
	{phrase: "| `ref`? | bin8 16", clause: "T-4.65"},
	{phrase: "{`resp` bin32 2,000,000}", clause: "T-5.192"},
	{phrase: "Otherwise, within 30 s, an error", clause: "T-4.68"},
	{phrase: "growing pauses for up to 5 days", clause: "T-4.105"},
	{phrase: "Response: {`key` bin16 8192}", clause: "T-4.70"},
	{phrase: "no certificate of at most 8,192 bytes", clause: "T-4.73"},
	{phrase: "tried within the 1 min", clause: "T-4.72"},
	{phrase: "| `old` | str8 255", clause: "T-4.12"},
	{phrase: "| `new` | str8 255", clause: "T-4.12"},
	{phrase: "| `dev` | str8 64", clause: "T-4.26"},
	{phrase: "{`dev` str8 64}", clause: "T-4.45"},
	{phrase: "{`pass` str8 255}", clause: "T-4.12"},
	{phrase: "Request: {`key` bin16 8192 or nil}", clause: "T-4.51"},
	{phrase: "| `mid` | bin8 16 | the message's", clause: "T-5.21"},
	{phrase: "| `mid` | bin8 16 | made by the node", clause: "T-4.95"},
	{phrase: "| `from`? | str16 318", clause: "T-4.19"},
	{phrase: "| `msg` | bin32 1,990,000", clause: "T-4.75"},
	{phrase: "`wait` (1 s without one)", clause: "T-4.78"},
	{phrase: "| `resp` | bin32 4,096", clause: "T-4.95"},
	{phrase: "refusal longer than 4,096 bytes", clause: "T-4.96"},
	{phrase: "At most 64 DELIVERs", clause: "T-4.83"},
	{phrase: "taken it, and at most 30 days", clause: "T-4.147"},
	{phrase: "not seen for 90 days", clause: "T-4.91"},
	{phrase: "come to have more than 32", clause: "T-4.92"},
	{phrase: "at most 100,000 messages", clause: "T-4.94"},
	{phrase: "or 1 GiB", clause: "T-4.204"},
	{phrase: "binary, at most 8,192 bytes", clause: "T-5.1"},
	{phrase: "may be cached for 1 h", clause: "T-5.2"},
	{phrase: "still opened for 30 days", clause: "T-5.55"},
	{phrase: "more than 8 session key packets", clause: "T-5.13"},
	{phrase: "more than 256 KiB", clause: "T-5.11"},
	{phrase: "up to 1 h of one connection", clause: "T-5.172"},
	{phrase: "`to` str8 64", clause: "T-4.6"},
	{phrase: "`mid` bin8 16", clause: "T-5.21"},
	{phrase: "`msg` bin32 1,990,000", clause: "T-5.24"},
	{phrase: "`user` str8 64", clause: "T-4.6"},
	{phrase: "`seal` bin8 32", clause: "T-5.21"},
	{phrase: "{`key` bin16 8192, or nil", clause: "T-4.51"},
	{phrase: "`mid` within 10 days", clause: "T-5.27"},
	{phrase: "a message for at most 5 days", clause: "T-5.174"},
	{phrase: "outbox of its node for 5 more", clause: "T-4.105"},
	{phrase: "`seal` is 32 random bytes", clause: "T-5.21"},
	{phrase: "up to 8,256 in all", clause: "T-5.29"},
	{phrase: "(12 random bytes)", clause: "T-5.29"},
	{phrase: "tag (16 bytes)", clause: "T-5.29"},
	{phrase: "makes 8,284 bytes", clause: "T-5.29"},
	{phrase: "any length but 8,284", clause: "T-5.29"},
	{phrase: "`created` at most 5 min", clause: "T-5.105"},
	{phrase: "is cached for at most 1 h", clause: "T-5.51"},
	{phrase: "once 1 min for one node", clause: "T-5.38"},
	{phrase: "with at most 2,000,000 bytes", clause: "T-5.192"},
	{phrase: "not delivered after 5 days", clause: "T-4.105"},
	{phrase: "answers of more than 2,000,000 bytes", clause: "T-5.192"},
	{phrase: "10 s to connect", clause: "T-5.193"},
	{phrase: "30 s in all", clause: "T-5.141"},
	{phrase: "jitter, from 1 s to 5 min", clause: "T-7.170"},
	{phrase: "no answer within 30 s", clause: "T-7.3"},
	{phrase: "`text` of at most 1,975,000 bytes", why: "fits when it is sealed, which keeps nobody from a longer one"},
	{phrase: "answer counts for 1 h", clause: "T-8.13"},
	{phrase: "is at most 1 h after the client's clock", clause: "T-8.15"},
	{phrase: "at most 10 days before DELIVER's", clause: "T-8.15"},
	{phrase: "asks for it, at most once 1 min", clause: "T-8.17"},
}

// notLimits are numbers of docs/protocol.md that bound nothing, and why.
var notLimits = map[string]string{
	"9":    "in a map's row of markers, 90 to 9f, and in section numbers",
	"1000": "a close code that obliges nobody",
}

// TestLimits wants each limit that sections 1 to 8 of the protocol name to be in the clause that limitsOf has for it, and
// each other number, such as a close code or a status, in some clause. A limit is a number with a unit, a length behind a
// type, or what limitsOf names.
func TestLimits(t *testing.T) {
	b, err := os.ReadFile(protocolPath)
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(b), "\n## 1. Transport")
	page, _, _ = strings.Cut(page, "\n## 9. ")
	for _, strip := range []string{
		"```[^`]*```", `(?m)^#.*$`, "`[0-9a-f]{2}`", `0x[0-9a-f]{2}`, `[–-]0x[0-9a-f]{2}`, `RFC \d+`, `sections? \d(\.\d+)*`, `\(\d\.\d\)`, `\b\d\.\d\b`,
		`SHA-256|sha-256|AES-256|Ed25519|ed25519|Curve25519|X25519|ML-KEM-768|UTF-8`, `algorithm \d+`, `(?m)^ *\d\. `, `version \d|versions? \d and \d`, `GnuPG 2\.2`,
	} {
		page = regexp.MustCompile(strip).ReplaceAllString(page, " ")
	}
	page = plain(page)
	clauses := make(map[string]Clause)
	said := make(map[string]bool)
	for _, c := range Clauses() {
		clauses[c.ID] = c
		for _, l := range limits(plain(c.Text)) {
			said[l.number] = true
		}
	}
	limited := make(map[int]bool) // where in page
	for _, l := range limitsOf {
		found := false
		for at := 0; ; {
			n := strings.Index(page[at:], l.phrase)
			if n < 0 {
				break
			}
			found = true
			for i := range len(l.phrase) {
				limited[at+n+i] = true
			}
			at += n + len(l.phrase)
		}
		if !found {
			t.Errorf("the protocol has no %q", l.phrase)
		}
		if l.why != "" {
			continue
		}
		c, known := clauses[l.clause]
		if !known {
			t.Errorf("%q is a limit of %s, which is no clause", l.phrase, l.clause)
		}
		for _, want := range limits(types.ReplaceAllString(l.phrase, "")) {
			if !want.in(limits(plain(c.Text))) {
				t.Errorf("%s does not have the %s %s of %q: %s", l.clause, want.number, want.unit, l.phrase, c.Text)
			}
		}
	}
	for _, l := range limits(page) {
		switch {
		case limited[l.at], notLimits[l.number] != "":
		case l.unit != "" || typed.MatchString(page[:l.at]):
			t.Errorf("limitsOf has no clause for %q", page[max(0, l.at-30):min(l.at+30, len(page))])
		case !said[l.number]:
			t.Errorf("no clause has the %s of the protocol", l.number)
		}
	}
}

// types are those of section 2 that have a number in their name.
var types = regexp.MustCompile(`\b(str|bin|uint)\d+\b`)

// typed is what ends with a type, behind which its length comes.
var typed = regexp.MustCompile(`\b(str|bin|uint)\d+ $`)

// A limit is a number and its unit, and where it stands.
type limit struct {
	number, unit string
	at           int
}

// in reports whether a limit is among others, with its unit where both have one.
func (l limit) in(others []limit) bool {
	for _, other := range others {
		if other.number == l.number && (l.unit == "" || other.unit == "" || other.unit == l.unit) {
			return true
		}
	}
	return false
}

// plain writes numbers and units in one way, and all in one line.
func plain(text string) string {
	words := strings.NewReplacer("four", "4", "five", "5", "a minute", "1 min", "last minute", "1 min", "an hour", "1 h", "minutes", "min")
	return words.Replace(strings.Join(strings.Fields(text), " "))
}

// limits finds numbers and the units behind them.
func limits(text string) []limit {
	var found []limit
	for _, m := range regexp.MustCompile(`(\d[\d,]*\d|\d)(?: (s|ms|min|h|days|bytes|bits|KiB|GiB|labels|messages|levels)\b)?`).FindAllStringSubmatchIndex(text, -1) {
		unit := ""
		if m[4] >= 0 {
			unit = text[m[4]:m[5]]
		}
		found = append(found, limit{strings.ReplaceAll(text[m[2]:m[3]], ",", ""), unit, m[0]})
	}
	return found
}
