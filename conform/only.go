package conform

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// shownNear is how many names an error offers in place of a pattern that chooses nothing.
const shownNear = 8

// nothingChosen is the error of a pattern that matches none of a side's scenarios and of their clauses. It says
// why a clause that it matches has none, and else which names begin or read as the pattern does.
func nothingChosen(only *regexp.Regexp, pattern string, side Side, scenarios []string) error {
	names := slices.Clone(scenarios)
	for _, c := range Clauses() {
		switch {
		case only.MatchString(c.ID) && !c.of(side):
			return fmt.Errorf("%s is a clause for a %s, and this is a test of a %s", c.ID, c.Side, side)
		case only.MatchString(c.ID) && c.Untested != "":
			return fmt.Errorf("%s is not tested: %s", c.ID, c.Untested)
		case c.of(side):
			names = append(names, c.ID)
		}
	}
	near := nearTo(strings.ReplaceAll(pattern, `\`, ""), names)
	if len(near) == 0 {
		return fmt.Errorf("no clause and no scenario matches %q as a whole; docs/conformance.md lists them", pattern)
	}
	return fmt.Errorf("no clause and no scenario matches %q as a whole; there are %s", pattern, strings.Join(near, ", "))
}

// nearTo returns names that have a word in them, or as much as possible of its beginning.
func nearTo(word string, names []string) []string {
	const least = 3 // bytes, which all ids of a section have
	for ; len(word) >= least; word = word[:len(word)-1] {
		var near []string
		for _, name := range names {
			if strings.Contains(name, word) {
				near = append(near, name)
			}
		}
		if len(near) > shownNear {
			near = append(near[:shownNear:shownNear], "…")
		}
		if len(near) > 0 {
			return near
		}
	}
	return nil
}
