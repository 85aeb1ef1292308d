package main_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// TestGC: garbage is given back.
func TestGC(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada")
	ada := signIn(t, d, p.Addr, "ada", nil)

	before, after, connections := gc(t, d)
	if connections != 1 {
		t.Errorf("%d connections, want 1", connections)
	}
	if after.objects >= before.objects || after.objects <= 0 {
		t.Errorf("%.1f MiB of objects before, %.1f MiB after, want less", before.objects, after.objects)
	}
	if after.resident > before.resident || after.resident <= after.objects+after.stacks {
		t.Errorf("%.1f MiB resident before, %.1f MiB after, want less, yet more than the %.1f and %.1f MiB of objects and stacks",
			before.resident, after.resident, after.objects, after.stacks)
	}
	ada.wantRead(t.Context(), t)
}

// held is what a node says that it holds, in MiB.
type held struct{ resident, objects, stacks float64 }

var gcOutput = func() *regexp.Regexp {
	const size = `(\d+\.\d) MiB`
	const sizes = size + ` resident, of which ` + size + ` of objects, ` + size + ` of stacks\n`
	return regexp.MustCompile(`^before: ` + sizes + `after:  ` + sizes + `connections: (\d+)\n$`)
}()

// gc runs `tiptd gc`.
func gc(t testing.TB, d *tipttest.Daemon) (before, after held, connections int) {
	t.Helper()
	out := admin(t, d, "gc")
	fields := gcOutput.FindStringSubmatch(out)
	if fields == nil {
		t.Fatalf("tiptd gc printed\n%s", out)
	}
	if _, err := fmt.Sscan(fields[7], &connections); err != nil {
		t.Fatal(err)
	}
	number := func(i int) float64 {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return held{number(1), number(2), number(3)}, held{number(4), number(5), number(6)}, connections
}
