package conform

import (
	"regexp"
	"strings"
	"testing"
)

// A pattern that chooses nothing is answered with what may have been meant.
func TestNothingChosen(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		side    Side
		want    string
	}{
		{"T-2.1x", NodeSide, `no clause and no scenario matches "T-2.1x" as a whole; there are T-2.1`},
		{`T-7\.1x`, ClientSide, "there are T-7.1"},
		{"inf", NodeSide, "there are info"},
		{"silent", NodeSide, "silen"},
		{"T-1.2", NodeSide, "T-1.2 is a clause for a client, and this is a test of a node"},
		{"T-1.9", NodeSide, "T-1.9 is not tested: needs something in the node to be broken"},
		{"xyzzy", NodeSide, "docs/conformance.md lists them"},
	} {
		var names []string
		for _, s := range declared(tt.side) {
			names = append(names, s.name)
		}
		err := nothingChosen(regexp.MustCompile("^(?:"+tt.pattern+")$"), tt.pattern, tt.side, names)
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, want %q in it", tt.pattern, err, tt.want)
		}
	}
}
