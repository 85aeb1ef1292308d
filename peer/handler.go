package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

const (
	// maxIncoming bounds the bytes of forwarded messages that are held while they are
	// received and worked on, and maxIncomingNode those of one forwarding node.
	maxIncoming     = 128 << 20
	maxIncomingNode = 16 << 20
	// roomTimeout is how long a message waits for that room.
	roomTimeout = 10 * time.Second

	// The Retry-After of a node that has no room now, and of one whose disk is full.
	roomPause = 5 * time.Second
	diskPause = time.Minute
)

// ErrBadMessage is wrapped by Receive's error for a message that cannot be opened
// for another reason than its key: 400.
var ErrBadMessage = errors.New("bad message")

// HandlerOptions make a [Handler].
type HandlerOptions struct {
	Node   tipt.NodeName
	Key    func() *seal.NodeKey
	Keys   *Keys
	Policy *Policy
	// Receive does what a sealed request asks, which from sent: zero for an anonymous
	// one. The answer is encoded, or sealed for the asking client. A [*tipt.Error] BUSY is 429.
	Receive func(ctx context.Context, from tipt.Address, message []byte) (answer []byte, sealed bool, err error)
	// Heard is told of each node that called and proved who it is.
	Heard func(tipt.NodeName)
	// Limit charges a request of so many bytes to the node that forwards it, "" for the
	// anonymous ones, and returns how long that node has to wait; 0 lets it pass.
	Limit func(node tipt.NodeName, size int) time.Duration
	// Anonymous lets requests in that nobody vouches for.
	Anonymous bool
	Logger    *slog.Logger
}

// A Handler serves /api/public_key and /api/forward to other nodes (section 5). Close it.
type Handler struct {
	o        HandlerOptions
	room     *semaphore.Weighted // bytes of maxIncoming
	nodeRoom *gate               // bytes of maxIncomingNode

	mu      sync.Mutex // guards the following field, and that serving begins before it is set
	closed  bool
	serving sync.WaitGroup
}

// NewHandler makes a handler.
func NewHandler(o HandlerOptions) *Handler {
	return &Handler{o: o, room: semaphore.NewWeighted(maxIncoming), nodeRoom: newGate(maxIncomingNode)}
}

// Serves reports whether a path is the handler's.
func (*Handler) Serves(path string) bool { return path == pathPublicKey || path == pathForward }

// Close has the handler answer 503 from now on, and waits for the requests that are
// being worked on.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.serving.Wait()
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == pathPublicKey && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		w.Header().Set("Content-Type", typeOctets)
		w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(keyLife/time.Second)))
		_, _ = w.Write(h.o.Key().Certificate()) // fails when the peer has gone
	case r.URL.Path == pathForward && r.Method == http.MethodPost:
		h.forward(w, r)
	default:
		allow := "POST"
		if r.URL.Path == pathPublicKey {
			allow = "GET, HEAD"
		}
		w.Header().Set("Allow", allow)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// A rejection is an answer other than 200.
type rejection struct {
	status int
	wait   time.Duration // Retry-After of 429 and 503
	text   string        // for the other node
	err    error         // for the log; nil: text says it all
}

func reject(status int, text string) *rejection { return &rejection{status: status, text: text} }

func unauthorized(err error) *rejection {
	return &rejection{status: http.StatusUnauthorized, text: err.Error(), err: err}
}

func (h *Handler) forward(w http.ResponseWriter, r *http.Request) {
	node, answer, sealed, rejected := h.serveForward(w, r)
	if rejected == nil {
		kind := typeMsgpack
		if sealed {
			kind = typeOctets
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(answer) // fails when the peer has gone; it asks again
		return
	}
	// A node that was refused looks here for the reason, so it must be found.
	level := slog.LevelInfo
	if rejected.status == http.StatusInternalServerError && r.Context().Err() == nil {
		level = slog.LevelError
	}
	reason := rejected.text
	if rejected.err != nil {
		reason = rejected.err.Error()
	}
	h.o.Logger.Log(r.Context(), level, "forwarded message refused", "node", node, "status", rejected.status, "reason", reason)
	if rejected.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((rejected.wait+time.Second-1)/time.Second)))
	}
	http.Error(w, rejected.text, rejected.status)
}

// serveForward returns the answer, or why there is none, and the node that forwards as far
// as it is known. Nothing of the body is read before the node has proved who it is.
func (h *Handler) serveForward(w http.ResponseWriter, r *http.Request) (node tipt.NodeName, answer []byte, sealed bool, _ *rejection) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return "", nil, false, &rejection{status: http.StatusServiceUnavailable, wait: roomPause, text: "this node is stopping"}
	}
	h.serving.Add(1)
	h.mu.Unlock()
	defer h.serving.Done()

	var vouch Vouch // of nobody where the request is anonymous
	vouched := Vouched(r.Header)
	switch {
	case vouched:
		var rejected *rejection
		if vouch, rejected = h.identify(r); rejected != nil {
			return vouch.From.Node, nil, false, rejected
		}
		node = vouch.From.Node
	case !h.o.Anonymous:
		return "", nil, false, reject(http.StatusUnauthorized, "this node takes no anonymous messages: Tipt-From and a signature are missing")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != typeOctets {
		return node, nil, false, reject(http.StatusBadRequest, "Content-Type must be "+typeOctets)
	}
	body, release, rejected := h.read(w, r, node)
	if rejected != nil {
		return node, nil, false, rejected
	}
	defer release()
	if vouched {
		if err := vouch.Covers(body); err != nil {
			return node, nil, false, unauthorized(err)
		}
		h.o.Heard(node)
	}
	if wait := h.o.Limit(node, len(body)); wait > 0 {
		return node, nil, false, &rejection{status: http.StatusTooManyRequests, wait: wait, text: "too many messages from your node"}
	}
	answer, sealed, err := h.o.Receive(r.Context(), vouch.From, body)
	busy, coded := errors.AsType[*tipt.Error](err)
	switch {
	case coded && busy.Code == tipt.ErrBusy:
		return node, nil, false, &rejection{status: http.StatusTooManyRequests, wait: max(busy.Wait, time.Second), text: busy.Error()}
	case errors.Is(err, ErrBadMessage):
		return node, nil, false, reject(http.StatusBadRequest, err.Error())
	case errors.Is(err, store.ErrDiskFull):
		// Nothing was stored, and any other message would fare alike.
		return node, nil, false, &rejection{status: http.StatusServiceUnavailable, wait: diskPause, text: "this node's disk is full", err: err}
	case err != nil:
		return node, nil, false, &rejection{status: http.StatusInternalServerError, text: "internal error", err: err}
	}
	return node, answer, sealed, nil
}

// identify finds out which node vouches for a request (section 5.4). With a rejection,
// the vouch is as far as it could be read.
func (h *Handler) identify(r *http.Request) (Vouch, *rejection) {
	v, err := ParseVouch(r.Header)
	if err != nil {
		return v, unauthorized(err)
	}
	if v.From.Node == h.o.Node {
		return v, unauthorized(errors.New("no other node vouches for this node's users"))
	}
	if !h.o.Policy.Allows(v.From.Node) {
		return v, reject(http.StatusForbidden, "this node's operator has barred yours")
	}
	if err := v.Current(fault.Now()); err != nil {
		return v, unauthorized(err)
	}
	key, err := h.o.Keys.Signing(r.Context(), v.From.Node, v.KeyID)
	if failure, ok := errors.AsType[*Failure](err); ok {
		// Why goes into the log alone: what names mean to this machine is nobody's business.
		return v, &rejection{
			status: http.StatusServiceUnavailable, wait: max(failure.RetryAfter, time.Second),
			text: "the certificate of your node cannot be had now, or lacks the key", err: err,
		}
	}
	if err == nil {
		err = v.Verify(h.o.Node, key)
	}
	if err != nil {
		return v, unauthorized(err)
	}
	return v, nil
}

// read reads a request's body, as soon as there is room for it.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, node tipt.NodeName) (body []byte, release func(), _ *rejection) {
	tooLarge := reject(http.StatusRequestEntityTooLarge, "a message has at most "+strconv.Itoa(tipt.MaxSealedSize)+" bytes")
	if r.ContentLength > tipt.MaxSealedSize {
		return nil, nil, tooLarge
	}
	// One of unknown length is taken for the longest.
	size := r.ContentLength
	if size < 0 {
		size = tipt.MaxSealedSize
	}
	release, err := h.enter(r.Context(), node, size)
	if err != nil {
		return nil, nil, &rejection{status: http.StatusServiceUnavailable, wait: roomPause, text: "too much is being received", err: err}
	}
	// A body that trickles in would hold its room for as long as it likes.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(tipt.ForwardTimeout)); err != nil {
		release()
		return nil, nil, &rejection{status: http.StatusInternalServerError, text: "internal error", err: err}
	}
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, tipt.MaxSealedSize))
	if err != nil {
		release()
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, nil, tooLarge
		}
		if errors.Is(err, os.ErrDeadlineExceeded) { // a slow connection is no fault of the message
			return nil, nil, &rejection{status: http.StatusServiceUnavailable, wait: roomPause, text: "the message came too slowly", err: err}
		}
		return nil, nil, &rejection{status: http.StatusBadRequest, text: "the message did not come whole", err: err}
	}
	return body, release, nil
}

// enter takes room for a message.
func (h *Handler) enter(ctx context.Context, node tipt.NodeName, size int64) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	leaveNode, err := h.nodeRoom.enter(ctx, node, size)
	if err != nil {
		return nil, err
	}
	if err := h.room.Acquire(ctx, size); err != nil {
		leaveNode()
		return nil, err
	}
	return func() { h.room.Release(size); leaveNode() }, nil
}
