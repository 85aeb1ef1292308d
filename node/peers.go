package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/peer"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

// connectPeers makes what speaks to other nodes.
func (n *Node) connectPeers() {
	c := n.config
	n.limits = newLimits(c.Limits)
	n.peers = peer.NewClient(peer.ClientOptions{
		Key:      n.key.Load,
		Roots:    c.Roots,
		Resolve:  c.Resolve,
		Software: Software,
	})
	n.keys = peer.NewKeys(n.peers)
	n.outbox = peer.NewOutbox(c.Store, n.committer, peer.OutboxOptions{
		Forward:  n.peers.Forward,
		Policy:   c.Policy,
		Sender:   n.sender,
		Returned: n.mailboxes.Changed,
		Limits:   c.Limits.Outbox,
		Logger:   c.Logger,
	})
	n.handler = peer.NewHandler(peer.HandlerOptions{
		Node:      c.Name,
		Key:       n.key.Load,
		Keys:      n.keys,
		Policy:    c.Policy,
		Receive:   n.receivePeer,
		Heard:     n.outbox.Heard,
		Limit:     n.limits.peer,
		Anonymous: c.Anonymous,
		Logger:    c.Logger,
	})
}

// sender returns the address of a user, also of one who is deleted: what lies in
// the outbox is still sent (section 4, DELETE_ACCOUNT).
func (n *Node) sender(ctx context.Context, user store.UserID) (tipt.Address, error) {
	u, err := n.config.Store.UserByID(ctx, user)
	return tipt.Address{User: u.Name, Node: n.config.Name}, err
}

// serveForward lets other nodes in while this one takes connections. They get the key at any
// time: they need it to seal what waits for this node, and for what this node still forwards.
func (n *Node) serveForward(w http.ResponseWriter, r *http.Request) {
	if _, away := n.goingAway(); away && r.Method == http.MethodPost {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter()))
		http.Error(w, string(statusMaintenance), http.StatusServiceUnavailable)
		return
	}
	if n.config.PeerTap == nil {
		n.handler.ServeHTTP(w, r)
		return
	}
	answered := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	n.handler.ServeHTTP(answered, r)
	n.config.PeerTap(r, answered.status)
}

// A statusWriter notes the status that is answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// receivePeer is receive for what another node forwards.
func (n *Node) receivePeer(ctx context.Context, from tipt.Address, message []byte) ([]byte, bool, error) {
	type result struct {
		answer answer
		err    error
	}
	done := make(chan result, 1)
	who := sender{Address: from, foreign: true}
	if from != (tipt.Address{}) {
		who.text = from.String()
	}
	n.receive(ctx, who, message, func(a answer, err error) { done <- result{a, err} })
	r := <-done
	if errors.Is(r.err, seal.ErrMessage) {
		r.err = fmt.Errorf("%w: %w", peer.ErrBadMessage, r.err)
	}
	return r.answer.bytes, r.answer.sealed, r.err
}

// forwardNow forwards with `wait` true and returns the response's body.
func (n *Node) forwardNow(ctx context.Context, node tipt.NodeName, from tipt.Address, sealed []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tipt.ForwardTimeout)
	defer cancel()
	a, err := n.peers.Forward(ctx, node, from, sealed)
	if failure, ok := errors.AsType[*peer.Failure](err); ok {
		n.log.Debug("not forwarded", "node", node, "reason", failure)
		return nil, failure.Coded()
	}
	if err != nil {
		return nil, err
	}
	return tipt.ForwardResponse{Response: a.Bytes}.Append(nil), nil
}

// forwardLater accepts a FORWARD with `wait` false. done is called once the message is
// on the disk, in the order of the calls, and must not block.
func (n *Node) forwardLater(user store.UserID, node tipt.NodeName, body tipt.ForwardRequest, done func(error)) {
	entry := store.OutboxEntry{User: user, Node: node, Ref: body.Ref, Sealed: body.Sealed, Created: fault.Now()}
	if err := n.outbox.Add(n.alive, entry, done); err != nil {
		done(err)
	}
}

// nodeKey answers GET_NODE_KEY.
func (n *Node) nodeKey(ctx context.Context, node tipt.NodeName, fresh bool) ([]byte, error) {
	if node == n.config.Name {
		return n.key.Load().Certificate(), nil
	}
	cert, err := n.keys.Get(ctx, node, fresh)
	if failure, ok := errors.AsType[*peer.Failure](err); ok {
		n.log.Debug("no key", "node", node, "reason", failure)
		return nil, failure.Coded()
	}
	if err != nil {
		return nil, err
	}
	return cert.Bytes(), nil
}
