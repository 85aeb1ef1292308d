//go:build external

package faults_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A route is the network between those who connect to a node and the node: connections are
// passed on, as well as the weather allows.
type route struct {
	note     func(format string, args ...any)
	listener *net.TCPListener
	to       func() string // where the node listens, "" where it does not
	carrying sync.WaitGroup

	mu       sync.Mutex // guards the following fields
	pipes    map[*pipe]struct{}
	refusing bool   // new connections are reset
	ways     [2]way // there and back
	closed   bool
}

// A way is one direction of a route.
type way struct {
	delay   time.Duration // of all that is carried
	stalled chan struct{} // nil, or nothing is carried until it is closed
}

// A pipe is a connection on a route.
type pipe struct {
	ends [2]*net.TCPConn // who connected, and the node
	gone chan struct{}   // closed when it is reset
	once sync.Once

	mu   sync.Mutex // guards the following field
	void [2]bool    // what is sent this way vanishes
}

func newRoute(t *testing.T, note func(string, ...any), to func() string) *route {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &route{note: note, listener: listener, to: to, pipes: make(map[*pipe]struct{})}
	r.carrying.Go(r.serve)
	t.Cleanup(r.close)
	return r
}

func (r *route) addr() string { return r.listener.Addr().String() }

func (r *route) close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.clear()
	r.reset()
	r.carrying.Wait()
}

func (r *route) serve() {
	for {
		in, err := r.listener.AcceptTCP()
		if err != nil {
			return // closed
		}
		r.carrying.Go(func() { r.connect(in) })
	}
}

// connect passes a connection on.
func (r *route) connect(in *net.TCPConn) {
	p := &pipe{gone: make(chan struct{})}
	p.ends[0] = in
	r.mu.Lock()
	refused := r.refusing || r.closed
	r.mu.Unlock()
	if !refused {
		if out, err := net.DialTimeout("tcp", r.to(), time.Second); err == nil {
			p.ends[1] = out.(*net.TCPConn)
		}
	}
	r.mu.Lock()
	if p.ends[1] == nil || r.closed {
		r.mu.Unlock()
		p.reset()
		return
	}
	r.pipes[p] = struct{}{}
	r.mu.Unlock()

	var both sync.WaitGroup
	for way := range p.ends {
		both.Go(func() { r.carry(p, way) })
	}
	both.Wait()
	p.reset()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pipes, p)
}

// carry carries what one end sends to the other.
func (r *route) carry(p *pipe, way int) {
	from, to := p.ends[way], p.ends[1-way]
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		carried := r.hold(p, way)
		if carried && n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				p.reset()
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if carried {
				_ = to.CloseWrite() // it may be gone
			}
			return
		case err != nil:
			p.reset()
			return
		}
	}
}

// hold waits as long as the weather has it. It is false for what vanishes.
func (r *route) hold(p *pipe, way int) (carried bool) {
	r.mu.Lock()
	w := r.ways[way]
	r.mu.Unlock()
	if w.stalled != nil {
		select {
		case <-w.stalled:
		case <-p.gone:
		}
	}
	if w.delay > 0 {
		timer := time.NewTimer(w.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.gone:
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.void[way]
}

// reset drops a connection, with a word to both ends.
func (p *pipe) reset() {
	p.once.Do(func() {
		close(p.gone)
		for _, end := range p.ends {
			if end != nil {
				_ = end.SetLinger(0) // it may be gone
				end.Close()
			}
		}
	})
}

// all returns the connections there are.
func (r *route) all() (pipes []*pipe) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pipes {
		pipes = append(pipes, p)
	}
	return pipes
}

// reset drops all connections.
func (r *route) reset() {
	for _, p := range r.all() {
		p.reset()
	}
}

// halfClose ends one direction of all connections; the other stays.
func (r *route) halfClose(way int) {
	for _, p := range r.all() {
		p.vanish(way)
		_ = p.ends[1-way].CloseWrite() // it may be gone
	}
}

// lose has all that is sent one way on the connections there are vanish, for as long as they are
// kept: no end hears of it.
func (r *route) lose(way int) {
	for _, p := range r.all() {
		p.vanish(way)
	}
}

func (p *pipe) vanish(way int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.void[way] = true
}

// stall has nothing carried one way until clear.
func (r *route) stall(way int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ways[way].stalled == nil {
		r.ways[way].stalled = make(chan struct{})
	}
}

// delay has all that is carried one way take longer, until clear.
func (r *route) delay(way int, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ways[way].delay = d
}

// refuse has new connections reset, until clear.
func (r *route) refuse() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = true
}

// clear has the weather good again.
func (r *route) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = false
	for i := range r.ways {
		if r.ways[i].stalled != nil {
			close(r.ways[i].stalled)
		}
		r.ways[i] = way{}
	}
}
