package node

import (
	"errors"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/mailbox"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

// forwards is the queue of a connection's FORWARDs with `wait` false: they are
// carried out in the order of arrival (section 3.3) by a goroutine that is
// there only while the queue is not empty. A session's mu guards it.
type forwards struct {
	queue   []forwardJob // FORWARDs as a REQUEST are bounded by the link, as an EVENT by the fields below
	running bool
	events  int // FORWARDs as an EVENT, from their arrival until they are dealt with
	bytes   int // of their bodies
}

// Bounds of FORWARDs as an EVENT, which no id bounds.
const (
	maxQueuedEvents     = tipt.MaxInFlight
	maxQueuedEventBytes = 8 << 20
)

// A forwardJob is a FORWARD with `wait` false.
type forwardJob struct {
	request *link.Request // nil for an EVENT
	body    tipt.ForwardRequest
	event   int // size of an EVENT's body
}

// forward serves FORWARD (section 4).
func (s *session) forward(r *link.Request) {
	var body tipt.ForwardRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		return
	}
	if err := s.node.limits.forward(s.account.user, len(body.Sealed)); err != nil {
		s.answer(r, nil, err)
		return
	}
	if !body.Wait {
		s.queueForward(forwardJob{request: r, body: body})
		return
	}
	s.node.tasks.Add(1)
	go s.forwardAndWait(r, body)
}

// forwardAndWait carries out a FORWARD with `wait` true. It is a task of the node until r is answered.
func (s *session) forwardAndWait(r *link.Request, body tipt.ForwardRequest) {
	node, err := s.destination(body.Node)
	if err != nil || node != s.node.config.Name {
		defer s.node.tasks.Done()
		var response []byte
		if err == nil {
			response, err = s.node.forwardNow(s.ctx, node, s.account.from(s.node.config.Name), body.Sealed)
		}
		s.answer(r, response, err)
		return
	}
	r.Body = nil // as in runForward
	s.node.receive(s.node.alive, s.sender(), body.Sealed, func(a answer, err error) {
		defer s.node.tasks.Done()
		switch {
		case errors.Is(err, seal.ErrMessage):
			r.Fail(&tipt.Error{Code: tipt.ErrNodeRefused, Message: err.Error()})
		case err != nil:
			s.answer(r, nil, err)
		default:
			r.Reply(tipt.ForwardResponse{Response: a.bytes}.Append(nil))
		}
	})
}

// destination returns the node that a name means, or why nothing is forwarded there.
func (s *session) destination(raw string) (tipt.NodeName, error) {
	own := s.node.config.Name
	if raw == string(own) {
		return own, nil
	}
	name, err := tipt.MapNodeName(raw)
	if err != nil || name == own {
		return name, err
	}
	if !s.node.config.Policy.Allows(name) {
		return "", &tipt.Error{Code: tipt.ErrNodeRefused, Message: "this node's operator has barred " + string(name)}
	}
	return name, s.node.limits.destination(s.account.user, name)
}

// ServeEvent takes an EVENT. Only FORWARD means something; what a response
// would have refused is dropped and counted (section 2).
func (s *session) ServeEvent(p tipt.Packet) {
	s.mu.Lock()
	if s.form.Revision.NodeRequest(p.Code) != tipt.RequestForward {
		s.mu.Unlock()
		s.node.stats.eventsIgnored.Add(1)
		return
	}
	if s.forwards.events >= maxQueuedEvents || s.forwards.bytes+len(p.Body) > maxQueuedEventBytes ||
		!s.node.budget.Reserve(int64(len(p.Body))) {
		s.mu.Unlock()
		s.node.stats.forwardsDropped.Add(1)
		return
	}
	s.forwards.events++
	s.forwards.bytes += len(p.Body)
	s.mu.Unlock()
	s.arrive(arrival{event: &p})
}

// serveEvent carries out a FORWARD that came as an EVENT, in its turn.
func (s *session) serveEvent(p *tipt.Packet) {
	var body tipt.ForwardRequest
	row, known := lookUp(tipt.RequestForward)
	if s.enter(tipt.RequestForward, p.Version, row, known) != nil || body.ParseEvent(p.Body, p.Newer) != nil ||
		s.node.limits.forward(s.account.user, len(body.Sealed)) != nil {
		s.node.stats.forwardsDropped.Add(1)
		s.forgetEvent(len(p.Body))
		return
	}
	s.queueForward(forwardJob{body: body, event: len(p.Body)})
}

// forgetEvent gives back the room of an event that has been dealt with.
func (s *session) forgetEvent(size int) {
	s.mu.Lock()
	s.forwards.events--
	s.forwards.bytes -= size
	s.mu.Unlock()
	s.node.budget.Release(int64(size))
}

func (s *session) queueForward(job forwardJob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forwards.queue = append(s.forwards.queue, job)
	if !s.forwards.running {
		s.forwards.running = true
		s.node.tasks.Go(s.runForwards)
	}
}

// runForwards carries out the queue. What is in it when the connection ends is
// carried out nevertheless: the client may be gone on purpose.
func (s *session) runForwards() {
	for {
		s.mu.Lock()
		if len(s.forwards.queue) == 0 {
			s.forwards.queue = nil
			s.forwards.running = false
			s.mu.Unlock()
			if s.ctx.Err() != nil {
				s.node.forgetKeys(s.account) // what came last has left one again
			}
			return
		}
		job := s.forwards.queue[0]
		s.forwards.queue[0] = forwardJob{}
		s.forwards.queue = s.forwards.queue[1:]
		s.mu.Unlock()
		s.runForward(job)
	}
}

// runForward opens and submits one message; it need not be on the disk yet when
// runForward returns, so that messages behind it share its commit.
func (s *session) runForward(job forwardJob) {
	node, err := s.destination(job.body.Node)
	if err != nil {
		s.finishForward(job, err)
		return
	}
	s.node.tasks.Add(1) // for done, which may come later
	if node != s.node.config.Name {
		s.node.forwardLater(s.account.user, node, job.body, func(err error) {
			defer s.node.tasks.Done()
			s.finishForward(job, err)
		})
		return
	}
	sealed := job.body.Sealed
	job.body.Sealed = nil // once it is open only the message remains, for which the link's budget goes on counting
	if job.request != nil {
		job.request.Body = nil
	}
	s.node.receive(s.node.alive, s.sender(), sealed, func(a answer, err error) {
		failed := tipt.ReturnRequest{Ref: job.body.Ref}
		switch {
		case errors.Is(err, seal.ErrMessage):
			failed.HasCode, failed.Code = true, tipt.ErrNodeRefused
		case err == nil && a.err != nil:
			failed.Response = a.bytes
		default:
			s.finishForward(job, err)
			s.node.tasks.Done()
			return
		}
		// This is the committer's goroutine, which must not wait for itself.
		go func() {
			defer s.node.tasks.Done()
			s.finishForward(job, s.node.giveBack(s.account.user, failed))
		}()
	})
}

// finishForward answers a FORWARD with `wait` false.
func (s *session) finishForward(job forwardJob, err error) {
	if job.request != nil {
		s.answer(job.request, nil, err)
		return
	}
	s.forgetEvent(job.event)
	if err != nil {
		s.node.stats.forwardsDropped.Add(1)
		_ = s.coded(tipt.RequestForward, err) // logs what is ours
	}
}

// giveBack puts a RETURN into a sender's mailbox and waits until it is on the
// disk. One to a deleted account is dropped.
func (n *Node) giveBack(user store.UserID, r tipt.ReturnRequest) error {
	r.ID = tipt.NewMessageID()
	r.Node = string(n.config.Name)
	r.Time = fault.Now()
	done := make(chan error, 1)
	err := n.mailboxes.Append(n.alive, mailbox.Message{
		User: user, Kind: store.KindReturn, ID: r.ID, Body: r.Append(nil),
	}, func(_ store.Outcome, err error) { done <- err })
	if err != nil {
		return err
	}
	return <-done
}

// getNodeKey serves GET_NODE_KEY (section 4).
func (s *session) getNodeKey(r *link.Request) {
	var body tipt.GetNodeKeyRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		return
	}
	s.async(r, func() ([]byte, error) {
		if err := s.node.limits.key(s.account.user); err != nil {
			return nil, err
		}
		node, err := s.destination(body.Node)
		if err != nil {
			return nil, err
		}
		key, err := s.node.nodeKey(s.ctx, node, body.New)
		if err != nil {
			return nil, err
		}
		return tipt.GetNodeKeyResponse{Key: key}.Append(nil), nil
	})
}
