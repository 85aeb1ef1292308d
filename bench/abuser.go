package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/bench/internal/bare"
)

const (
	deafSize = 100_000 // bytes of the message that a deaf client sends itself: more than the kernel holds for it
	// What a deaf client can receive, and the size of its segments: the kernel would otherwise hold
	// megabytes for it on loopback, which it does not over a network.
	deafBuffer  = 4096
	deafSegment = 1460
	// looking is how long a connection is read to see whether it has ended.
	looking = 200 * time.Millisecond
	// dripStart is how much of a message comes at once from those that drip inside of one.
	dripStart = 6_000
)

// ended is what to call the end of a connection, or an answer.
func ended(err error) string {
	var refusal *tipt.Error
	var closed *bare.CloseError
	var status *bare.StatusError
	switch {
	case err == nil:
		return "answered"
	case errors.As(err, &refusal):
		return "answered_" + refusal.Code.String()
	case errors.As(err, &closed):
		return fmt.Sprintf("closed_with_%d", closed.Code)
	case errors.As(err, &status):
		return "upgrades_refused"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "still_connected"
	}
	return "cut"
}

// each has all clients do something, some at once, and is done with those that the node refuses.
func (s *siege) each(ctx context.Context, stage string, atOnce int, do func(ctx context.Context, i int) error) error {
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range s.abuse.Clients {
		group.Go(func() error {
			if err := do(ctx, i); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				s.count(ended(err))
			}
			s.o.progress(stage, int(done.Add(1)), s.abuse.Clients)
			return nil
		})
	}
	return group.Wait()
}

// enter connects the i-th client over tcp, signs it in, and keeps it.
func (s *siege) enter(ctx context.Context, dialer *net.Dialer, i int) (*bare.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	tcp, err := dialer.DialContext(ctx, "tcp", s.target.address)
	if err != nil {
		return nil, err
	}
	c, err := bare.Upgrade(ctx, tcp, s.target.config)
	if err != nil {
		return nil, err
	}
	s.keep(c)
	if _, err := ask(ctx, c, tipt.RequestHandshake, nil); err != nil {
		return nil, err
	}
	if i >= len(s.accounts) {
		return c, nil
	}
	_, _, err = signIn(ctx, c, s.accounts[i].byToken(true))
	return c, err
}

// forward is a FORWARD of a message of some bytes, as it is written to a connection.
func (s *siege) forward(to string, size int) ([]byte, error) {
	id := tipt.NewMessageID()
	request := tipt.SealedRequest{Type: tipt.ForwardMessage, Message: &tipt.MessageForward{To: to, ID: id, Message: make([]byte, size)}}
	sealed, err := s.key.Seal(request.Append(nil), time.Now())
	if err != nil {
		return nil, fmt.Errorf("seal a message: %w", err)
	}
	body := tipt.ForwardRequest{Node: string(s.target.name), Sealed: sealed}.Append(nil)
	p := tipt.Packet{Version: tipt.Version, Type: tipt.PacketRequest, Code: uint8(tipt.RequestForward), Body: body}
	return bare.Frame(tipt.AppendPacket(nil, tipt.RevisionSeed, &p)), nil
}

// deaf has each client write a message to itself and never read again.
func (s *siege) deaf(ctx context.Context) error {
	small := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) {
			err = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, deafBuffer),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, deafSegment))
		})
		return cmp.Or(cerr, err)
	}}
	clients := make([]*bare.Conn, s.abuse.Clients)
	if err := s.each(ctx, "connecting", dialling, func(ctx context.Context, i int) (err error) {
		clients[i], err = s.enter(ctx, small, i)
		return err
	}); err != nil {
		return err
	}
	began := time.Now()
	if err := s.each(ctx, "writing", dialling, func(_ context.Context, i int) error {
		if clients[i] == nil {
			return nil
		}
		message, err := s.forward(s.accounts[i].User, deafSize)
		if err != nil {
			return err
		}
		return clients[i].Write(message)
	}); err != nil {
		return err
	}
	if err := sleep(ctx, s.abuse.Hold-time.Since(began)); err != nil {
		return err
	}
	return s.look(ctx, clients)
}

// look reads what has come to clients to see whether they are still connected.
func (s *siege) look(ctx context.Context, clients []*bare.Conn) error {
	return s.each(ctx, "looking", 512, func(_ context.Context, i int) error {
		if clients[i] == nil {
			return nil
		}
		if err := clients[i].SetReadDeadline(time.Now().Add(looking)); err != nil {
			return err
		}
		for {
			if _, err := clients[i].Next(); err != nil {
				return err
			}
		}
	})
}

// A dripping connection can be made to write a byte a second.
type dripping struct {
	net.Conn
	ctx  context.Context // ends it
	slow atomic.Bool
}

func (d *dripping) Write(b []byte) (n int, err error) {
	for n < len(b) && d.slow.Load() {
		if err := sleep(d.ctx, time.Second); err != nil {
			return n, err
		}
		if _, err := d.Conn.Write(b[n : n+1]); err != nil {
			return n, err
		}
		n++
	}
	if n == len(b) {
		return n, nil
	}
	m, err := d.Conn.Write(b[n:])
	return n + m, err
}

// drip has the clients write a byte a second, from a point on: a fifth each from the start of
// TLS, of the upgrade, of the HANDSHAKE, of a full record of TLS and from the inside of a message.
func (s *siege) drip(ctx context.Context) error {
	message, err := s.forward(s.good[0].User, tipt.MaxMessageSize)
	if err != nil {
		return err
	}
	connecting := make(chan struct{}, dialling)
	until, cancel := context.WithTimeoutCause(ctx, s.abuse.Hold, os.ErrDeadlineExceeded)
	defer cancel()
	err = s.each(ctx, "dripping", s.abuse.Clients, func(_ context.Context, i int) error {
		err := s.dripOne(until, connecting, i, message)
		if until.Err() != nil {
			err = context.Cause(until)
		}
		return fmt.Errorf("%w", cmp.Or(err, errors.New("it has all been written")))
	})
	return err
}

// dripOne is the i-th client. Connecting has room for those that connect at once.
func (s *siege) dripOne(ctx context.Context, connecting chan struct{}, i int, message []byte) error {
	select {
	case connecting <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	fast := sync.OnceFunc(func() { <-connecting })
	defer fast()
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", s.target.address)
	if err != nil {
		return err
	}
	d := &dripping{Conn: tcp, ctx: ctx}
	defer func() { _ = d.Close() }()
	defer context.AfterFunc(ctx, func() { _ = d.Close() })()
	slow := func() { fast(); d.slow.Store(true) }
	stage := i % 5
	if stage == 0 {
		slow()
	}
	config := s.target.config
	if stage == 1 {
		config = config.Clone()
		// It is called when the client has nothing left to say but that it has finished.
		config.VerifyConnection = func(tls.ConnectionState) error { slow(); return nil }
	}
	c, err := bare.Upgrade(ctx, d, config)
	if err != nil {
		return err
	}
	if stage == 2 {
		slow()
	}
	if _, err := ask(ctx, c, tipt.RequestHandshake, nil); err != nil {
		return err
	}
	if _, _, err := signIn(ctx, c, s.accounts[i].byToken(true)); err != nil {
		return err
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer c.Close()
	why := make(chan error, 1)
	reading.Go(func() {
		_, err := c.Next()
		why <- err
		_ = d.Close() // so that writing ends, too
	})
	if stage == 4 {
		if err := c.Write(message[:dripStart]); err != nil {
			return err
		}
		message = message[dripStart:]
	}
	slow()
	werr := c.Write(message)
	_ = d.Close() // so that reading ends, too
	return cmp.Or(<-why, werr)
}

// large has all clients send a packet of the greatest size, and its last byte when all have sent
// all else.
func (s *siege) large(ctx context.Context) error {
	message, err := s.forward(s.good[0].User, tipt.MaxMessageSize)
	if err != nil {
		return err
	}
	clients := make([]*bare.Conn, s.abuse.Clients)
	if err := s.each(ctx, "connecting", dialling, func(ctx context.Context, i int) (err error) {
		clients[i], err = s.enter(ctx, new(net.Dialer), i)
		return err
	}); err != nil {
		return err
	}
	last := len(message) - 1
	if err := s.each(ctx, "writing", s.abuse.Clients, func(_ context.Context, i int) error {
		if clients[i] == nil {
			return nil
		}
		c := clients[i]
		clients[i] = nil
		if err := c.Write(message[:last]); err != nil {
			return err
		}
		clients[i] = c
		return nil
	}); err != nil {
		return err
	}
	return s.each(ctx, "ending", s.abuse.Clients, func(_ context.Context, i int) error {
		if clients[i] == nil {
			return nil
		}
		if err := clients[i].Write(message[last:]); err != nil {
			return err
		}
		if err := clients[i].SetReadDeadline(time.Now().Add(s.o.patience())); err != nil {
			return err
		}
		return s.answer(clients[i])
	})
}

// answer reads one packet and counts what it says.
func (s *siege) answer(c *bare.Conn) error {
	b, err := c.Next()
	if err != nil {
		return err
	}
	p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
	if err != nil {
		return err
	}
	if p.Err != nil {
		return p.Err
	}
	s.count(ended(refusal(p)))
	return nil
}

// unknownType is a request type that no revision has.
const unknownType = 0x7d

// unknown has the clients make requests of an unknown type, as many at once as there are ids.
func (s *siege) unknown(ctx context.Context) error {
	var all []byte
	for id := range tipt.MaxInFlight {
		p := tipt.Packet{Version: tipt.Version, Type: tipt.PacketRequest, ID: uint8(id), Code: unknownType}
		all = append(all, bare.Frame(tipt.AppendPacket(nil, tipt.RevisionSeed, &p))...)
	}
	var left atomic.Int64
	left.Store(int64(s.abuse.Requests))
	return s.each(ctx, "asking", s.abuse.Clients, func(ctx context.Context, i int) error {
		c, err := s.enter(ctx, new(net.Dialer), i)
		if err != nil {
			return err
		}
		counts := make(map[string]int)
		defer s.countAll(counts)
		for left.Add(-tipt.MaxInFlight) > -tipt.MaxInFlight {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.Write(all); err != nil {
				return err
			}
			for range tipt.MaxInFlight {
				b, err := c.Next()
				if err != nil {
					return err
				}
				p, err := tipt.ParsePacket(b, tipt.RevisionSeed)
				if err != nil {
					return err
				}
				counts[ended(refusal(p))]++
			}
		}
		return nil
	})
}

func (s *siege) countAll(counts map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, n := range counts {
		s.counts[what] += n
	}
}

// guess has the clients sign in with wrong passwords, again and again without a wait: half as good
// users and half as nobody, each client from a network of its own where the node is on loopback.
func (s *siege) guess(ctx context.Context) error {
	clients := make([]*bare.Conn, s.abuse.Clients)
	if err := s.each(ctx, "connecting", dialling, func(ctx context.Context, i int) (err error) {
		dialer := new(net.Dialer)
		if host, _, err := net.SplitHostPort(s.target.address); err == nil && net.ParseIP(host).IsLoopback() && net.ParseIP(host).To4() != nil {
			dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, byte(1+i>>8), byte(i), 1)}
		}
		clients[i], err = s.enter(ctx, dialer, i)
		return err
	}); err != nil {
		return err
	}
	// To connect takes the node longer than to be asked, and is no part of this.
	if err := sleep(ctx, linger); err != nil {
		return err
	}
	s.began = time.Now()
	return s.each(ctx, "guessing", s.abuse.Clients, func(ctx context.Context, i int) error {
		c := clients[i]
		if c == nil {
			return nil
		}
		counts := make(map[string]int)
		defer s.countAll(counts)
		for n := 0; time.Since(s.began) < s.abuse.Hold && ctx.Err() == nil; n++ {
			r := tipt.SignInRequest{User: rand.Text(), Device: "guess", Password: rand.Text()}
			if n%2 == 0 {
				r.User = s.good[i%len(s.good)].User
			}
			_, _, err := signIn(ctx, c, r)
			var refusal *tipt.Error
			if !errors.As(err, &refusal) {
				return fmt.Errorf("%w", cmp.Or(err, errors.New("a wrong password serves")))
			}
			counts[ended(err)]++
		}
		return nil
	})
}
