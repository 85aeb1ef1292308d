package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name         string
		live, second int64
		want         int
	}{
		{"nothing collected yet", 0, 100 * mib, 100},
		{"quiet", 3 * mib, mib, 100},
		{"busy", 4 * mib, 100 * mib, 625},
		{"busier, up to 32 MiB", 5 * mib, 1000 * mib, 540},
		{"a tiny heap", mib, 1000 * mib, 800},
		{"half of the heap in use", 16 * mib, 1000 * mib, 100},
		{"more in use than that heap", 400 * mib, 1000 * mib, 100},
	} {
		if got := pace(tt.live, tt.second); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// percent is what GOGC is.
func percent() int {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64())
}

// TestPaceGarbage: it follows what is allocated, and leaves Go as it was.
func TestPaceGarbage(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(pacePlain))
	pacing := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- paceGarbage(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	stop := pacing()
	for began := time.Now(); percent() == pacePlain; garbage = make([]byte, 64<<10) {
		if time.Since(began) > time.Minute {
			t.Fatal("GOGC stays as it is while much is allocated")
		}
	}
	stop()
	if p := percent(); p != pacePlain {
		t.Errorf("GOGC is %d afterwards", p)
	}

	debug.SetGCPercent(50)
	pacing()()
	if p := percent(); p != 50 {
		t.Errorf("GOGC, which was set to 50, is %d", p)
	}
}

// garbage keeps what is allocated on the heap.
var garbage []byte
