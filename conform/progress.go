package conform

import (
	"slices"
	"sync"
)

// A Progress is told how many scenarios have ended, and the one that began last of those that have
// not. It is called by one goroutine at a time, when a scenario begins and when one ends.
type Progress func(scenario string, done, of int)

// A count tells how far a run is.
type count struct {
	tell Progress // may be nil; static after construction

	mu      sync.Mutex // guards the following fields, and calls of tell
	of      int
	done    int
	running []string
}

// during carries a scenario out.
func (c *count) during(scenario string, play func() *T) *T {
	c.begin(scenario)
	defer c.end(scenario)
	return play()
}

func (c *count) begin(scenario string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = append(c.running, scenario)
	c.show()
}

func (c *count) end(scenario string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.running, scenario)
	c.running = slices.Delete(c.running, i, i+1)
	c.done++
	c.show()
}

// show tells. The caller holds mu.
func (c *count) show() {
	if n := len(c.running); c.tell != nil && n > 0 {
		c.tell(c.running[n-1], c.done, c.of)
	}
}

// expect adds scenarios that are yet to come.
func (c *count) expect(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of += n
}
