package conform

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// One is told of what begins, and of what still runs when something else has ended.
func TestProgress(t *testing.T) {
	var told []string
	c := &count{of: 1, tell: func(scenario string, done, of int) {
		told = append(told, fmt.Sprintf("%s %d/%d", scenario, done, of))
	}}
	c.during("first", func() *T { return nil })
	c.expect(2)
	c.during("outer", func() *T {
		return c.during("inner", func() *T { return nil })
	})
	if diff := cmp.Diff([]string{"first 0/1", "outer 1/3", "inner 1/3", "outer 2/3"}, told); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	(&count{}).during("nobody is told", func() *T { return nil })
}
