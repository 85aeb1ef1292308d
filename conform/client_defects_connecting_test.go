package conform

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// forgets is a client that does not send a message again.
func forgets(clause string) clientDefect {
	var mu sync.Mutex
	seen := make(map[string]bool)
	return asks(clause, "", "forgets what had no answer", func(b *bent, f fields) []raw {
		if !isMessage(f) {
			return nil
		}
		ref := string(f.part("body").get("ref").(raw))
		mu.Lock()
		defer mu.Unlock()
		if seen[ref] {
			return b.fail(f, errNodeRefused)
		}
		seen[ref] = true
		return nil
	})
}

// repeats is a client that sends a message again as it was sealed for the connection before.
func repeats() clientDefect {
	var mu sync.Mutex
	sealed := make(map[string]any)
	return asks("T-5.170", "client-lost", "keeps a session key over connections", func(_ *bent, f fields) []raw {
		if !isMessage(f) {
			return nil
		}
		body := f.part("body")
		ref := string(body.get("ref").(raw))
		mu.Lock()
		defer mu.Unlock()
		if sealed[ref] == nil {
			sealed[ref] = body.get("msg")
		}
		return []raw{f.with("body", body.with("msg", sealed[ref])).pack()}
	})
}

// at makes a connection to the suite at that time, for the next that the client makes.
func (w *wrapper) at(d time.Duration) {
	pool := make(chan net.Conn, 1)
	w.mu.Lock()
	w.pool = pool
	w.mu.Unlock()
	time.AfterFunc(d, func() {
		if c, err := net.Dial("tcp", w.address); err == nil {
			pool <- c
		} else {
			close(pool)
		}
	})
}

// knocks makes connections to the suite and ends them.
func (w *wrapper) knocks(times int, pause func(n int) time.Duration) {
	for n := range times {
		time.Sleep(pause(n))
		if c, err := net.Dial("tcp", w.address); err == nil {
			_ = c.Close() // it is made, and that is all
		}
	}
}

var lostOnce atomic.Bool

var clientConnectingDefects = []clientDefect{
	forgets("T-1.38"),
	forgets("T-7.6"),
	repeats(),
	{defect: defect{clause: "T-7.1", name: "does not pause"}, loss: func(w *wrapper) {
		if lostOnce.CompareAndSwap(false, true) {
			go w.knocks(20, func(int) time.Duration { return 200 * time.Millisecond })
		}
	}},
	{defect: defect{clause: "T-7.1", name: "knows no jitter"}, loss: func(w *wrapper) {
		w.mu.Lock()
		w.shut = true
		w.mu.Unlock()
		if lostOnce.CompareAndSwap(false, true) {
			go w.knocks(3, func(n int) time.Duration { return 2 * time.Second << n }) // a busy machine adds tenths of seconds
		}
	}},
	{defect: defect{clause: "T-7.1", name: "pauses alike"}, loss: func(w *wrapper) {
		w.mu.Lock()
		w.shut = true
		w.mu.Unlock()
		if lostOnce.CompareAndSwap(false, true) {
			go w.knocks(7, func(int) time.Duration { return 2 * time.Second })
		}
	}},
	{defect: defect{clause: "T-7.1", name: "gives up"}, loss: func(*wrapper) { os.Exit(1) }},
	told("T-7.2", "client-replaced", 4001, 1001),
	told("T-7.2", "client-signed-out", 4002, 1001),
	hears("T-7.4", "client-going-away", "overlooks GOING_AWAY", func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") == pktEvent {
			return []raw{}
		}
		return nil
	}),
	hears("T-7.4", "client-busy", "overlooks the wait of BUSY", func(_ *bent, f fields, _ int) any {
		if f.code() == errBusy {
			return f.with("err", fields{"code", errBusy})
		}
		return nil
	}),
	{defect: defect{clause: "T-7.4", only: "client-retry-after", name: "overlooks Retry-After"}, taken: func(_ *wrapper, r *http.Response) {
		r.Header.Del("Retry-After")
	}},
	hears("T-4.99", "", "adds nothing at random", func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") != pktEvent {
			return nil
		}
		running.at(time.Duration(number(f.part("body"), "wait")) * time.Second)
		return []raw{}
	}),
	asks("T-7.5", "", "keeps the password", func(_ *bent, f fields) []raw {
		if !isAsking(f, reqSignIn) || f.part("body").get("tok") == nil {
			return nil
		}
		return []raw{f.with("body", f.part("body").without("tok").without("pass").with("pass", os.Getenv("TIPT_PASS"))).pack()}
	}),
	told("T-7.7", "client-given-up-1009", 1009, 1011),
	told("T-7.7", "client-given-up-1002", 1002, 1011),
	losing(writes("T-7.7", "client-given-up-1009", "tells of losses alone", func(p *penman) { p.plain, p.quiet = true, true })),
}

// losing is a client that says that it has lost a connection.
func losing(d clientDefect) clientDefect {
	d.loss = func(*wrapper) { fmt.Fprintln(os.Stderr, "connecting again") }
	return d
}

// slowClient is in place of the clause of what slowClients are.
const slowClient = "slow"

var slowClients = []clientDefect{
	{defect: defect{clause: slowClient, name: "pings"}, pings: true},
	{defect: defect{clause: slowClient, name: "never pings"}},
	{defect: defect{clause: slowClient, name: "pings and does not mind"}, pings: true, patient: true},
}
