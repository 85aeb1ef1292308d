package ws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listener returns a listener whose TCP connections a [Poller] can watch. It goes
// beneath that of TLS.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nc, nil // it can still be read in the ordinary way
	}
	return &socket{TCPConn: t, raw: raw}, nil
}

// A socket is a TCP connection whose Read can be made to fail rather than wait.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn
	now bool // Read does not wait. Owned by the goroutine that reads
}

// Read implements net.Conn. Where it would have to wait and is not to, the error is errNothing.
func (s *socket) Read(b []byte) (int, error) {
	if !s.now {
		return s.TCPConn.Read(b)
	}
	a := attempts.Get().(*attempt)
	a.b = b
	err := s.raw.Read(a.read)
	n := a.n
	if err == nil {
		err = a.err
	}
	a.b, a.n, a.err = nil, 0, nil
	attempts.Put(a)
	return n, err
}

// An attempt is a read that does not wait. It is kept for others since what the runtime is
// given escapes to the heap.
type attempt struct {
	b    []byte
	n    int
	err  error
	read func(fd uintptr) bool
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.read = a.try
	return a
}}

// try reads once. It returns true, that is, the runtime is not to wait.
func (a *attempt) try(fd uintptr) bool {
	for {
		a.n, a.err = unix.Read(int(fd), a.b)
		if !errors.Is(a.err, unix.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(a.err, unix.EAGAIN):
		a.n, a.err = 0, errNothing
	case a.err != nil:
		a.n, a.err = 0, os.NewSyscallError("read", a.err)
	case a.n == 0 && len(a.b) > 0:
		a.err = io.EOF
	}
	return true
}

// A Poller watches idle connections: epoll, for the sockets of many. One goroutine waits
// for all of them, without a thread of its own, since the runtime's poller can wait for epoll's
// file like for a socket.
type Poller struct {
	// Static after NewPoller.
	file *os.File // of epoll
	raw  syscall.RawConn

	workers workers

	mu    sync.Mutex // guards the following field
	conns []*Conn    // by file descriptor; those that were closed meanwhile are gone or another's
}

// NewPoller returns a Poller. It watches once Run runs.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("ws: make a poller: %w", os.NewSyscallError("epoll_create1", err))
	}
	err = unix.SetNonblock(fd, true) // or the runtime would not wait for it
	file := os.NewFile(uintptr(fd), "epoll")
	if err == nil {
		err = file.SetReadDeadline(time.Time{}) // fails where the runtime cannot wait for it
	}
	var raw syscall.RawConn
	if err == nil {
		raw, err = file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ws: make a poller: %w", err), file.Close())
	}
	return &Poller{file: file, raw: raw}, nil
}

// Run watches until ctx is done, and returns when the last of its workers is gone. All connections are to have ended by then.
func (p *Poller) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	events := make([]unix.EpollEvent, 256)
	var conns []*Conn
	// The runtime calls this again and again, when epoll's file has become readable. It
	// must not be left in between: what happens meanwhile would be forgotten.
	err := p.raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				failed = os.NewSyscallError("epoll_wait", err)
				return true
			}
			p.mu.Lock()
			for _, e := range events[:n] {
				if c := p.conns[e.Fd]; c != nil {
					conns = append(conns, c)
				}
			}
			p.mu.Unlock()
			for _, c := range conns {
				c.tell() // or one that has the same descriptor now, which only looks in vain
			}
			clear(conns)
			conns = conns[:0]
			if n < len(events) {
				return false
			}
		}
	})
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	p.workers.end()
	if err = errors.Join(failed, err, p.file.Close()); err != nil {
		return fmt.Errorf("ws: poll: %w", err)
	}
	return nil
}

// Rest ends goroutines that are kept for later. It is called now and then.
func (p *Poller) Rest() { p.workers.rest() }

// start has a worker run f.
func (p *Poller) start(f func()) { p.workers.start(f) }

// add watches a connection. It reports false where that fails.
func (p *Poller) add(c *Conn) bool {
	added := false
	// Nested, so that neither descriptor can be closed, and become another file's, meanwhile.
	err := p.raw.Control(func(epoll uintptr) {
		err := c.wait.socket.raw.Control(func(fd uintptr) {
			p.enter(c, int(fd))
			e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
			added = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_ADD, int(fd), &e) == nil
		})
		added = added && err == nil
	})
	if err != nil || !added {
		p.remove(c)
		return false
	}
	return true
}

// enter lets Run find a connection by its descriptor.
func (p *Poller) enter(c *Conn, fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.conns) <= fd {
		p.conns = append(p.conns, nil)
	}
	p.conns[fd], c.wait.fd = c, fd
}

// remove forgets a connection that is about to be closed, which ends epoll's interest in it.
func (p *Poller) remove(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd := c.wait.fd; fd < len(p.conns) && p.conns[fd] == c {
		p.conns[fd] = nil
	}
}
