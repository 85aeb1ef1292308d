//go:build !race

package main

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is the node where the test has started this program again.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serveArg {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// maxBeside is how many allocations a message may cost a node beside its opening, where it has the
// node for itself: nothing is shared with the messages before and after it, but for a collection of
// garbage now and then. Measured: 33.3. The race detector, which adds to it, leaves this file out.
const maxBeside = 35

// maxBusy is how many a message of a busy node may cost, in the load of the pairs of docs/performance.md, where
// messages share what is made to read, store and write them. Measured: 23.0 to 23.3, on a busy machine.
const maxBusy = 25

func TestBusyMessage(t *testing.T) {
	c := cli{Pairs: 100, Outstanding: 8, Messages: 12_000}
	message, err := c.count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := message.beside()
	t.Logf("%.2f allocations beside the opening", n)
	if n > maxBusy {
		t.Errorf("a message makes %.2f allocations beside its opening, want at most %d", n, maxBusy)
	}
}

func TestMessage(t *testing.T) {
	c := cli{Pairs: 1, Outstanding: 1, Messages: 1500}
	message, err := c.count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := message.beside(); n > maxBeside {
		t.Errorf("a message makes %.2f allocations beside its opening, want at most %d", n, maxBeside)
	}
	if n := message.shared(); n < -1 || n > 1 {
		t.Errorf("%.2f allocations have no place", n)
	}
	for place, n := range message.Places {
		if strings.HasPrefix(place, "node.(*session).forward,") && n > 0.9 {
			return
		}
	}
	t.Errorf("no place is in FORWARD: %v", message.Places)
}
