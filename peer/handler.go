package peer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/seal"
)

// maxIncoming bounds the bytes of forwarded messages that are held while they
// are received and worked on.
const maxIncoming = 64 << 20

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

// A Handler serves /api/public_key and /api/forward to other nodes (section 5).
type Handler struct {
	o    HandlerOptions
	room *semaphore.Weighted // bytes of maxIncoming
}

// NewHandler makes a handler.
func NewHandler(o HandlerOptions) *Handler {
	return &Handler{o: o, room: semaphore.NewWeighted(maxIncoming)}
}

// Serves reports whether a path is the handler's.
func (*Handler) Serves(path string) bool { return path == pathPublicKey || path == pathForward }

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
	err    error
}

func (h *Handler) forward(w http.ResponseWriter, r *http.Request) {
	from, rejected := h.serveForward(w, r)
	if rejected == nil {
		return
	}
	// A node that was refused looks here for the reason, so it must be found.
	level := slog.LevelInfo
	if rejected.status == http.StatusInternalServerError {
		level = slog.LevelError
	}
	h.o.Logger.Log(r.Context(), level, "forwarded message refused", "node", from, "status", rejected.status, "reason", rejected.err)
	if rejected.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((rejected.wait+time.Second-1)/time.Second)))
	}
	text := rejected.err.Error()
	if rejected.status == http.StatusInternalServerError {
		text = "internal error"
	}
	http.Error(w, text, rejected.status)
}

// serveForward answers 200, or returns why not, and the node that forwards as far
// as it is known.
func (h *Handler) serveForward(w http.ResponseWriter, r *http.Request) (node tipt.NodeName, _ *rejection) {
	var vouch Vouch
	var err error
	vouched := Vouched(r.Header)
	switch {
	case vouched:
		if vouch, err = ParseVouch(r.Header); err != nil {
			return "", &rejection{status: http.StatusUnauthorized, err: err}
		}
		node = vouch.From.Node
		if node == h.o.Node {
			return node, &rejection{status: http.StatusUnauthorized, err: errors.New("no other node vouches for this node's users")}
		}
		if !h.o.Policy.Allows(node) {
			return node, &rejection{status: http.StatusForbidden, err: errors.New("this node's operator has barred yours")}
		}
	case !h.o.Anonymous:
		return "", &rejection{status: http.StatusUnauthorized, err: errors.New("this node takes no anonymous messages: Tipt-From and a signature are missing")}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != typeOctets {
		return node, &rejection{status: http.StatusBadRequest, err: errors.New("Content-Type must be " + typeOctets)}
	}
	body, release, rejected := h.read(w, r)
	if rejected != nil {
		return node, rejected
	}
	defer release()
	if vouched {
		if rejected := h.verify(r.Context(), vouch, body); rejected != nil {
			return node, rejected
		}
		h.o.Heard(node)
	}
	// Charged only now: before the signature was verified anybody could have spent what
	// is this node's.
	if wait := h.o.Limit(node, len(body)); wait > 0 {
		return node, &rejection{status: http.StatusTooManyRequests, wait: wait, err: errors.New("too many messages from your node")}
	}
	answer, sealed, err := h.o.Receive(r.Context(), vouch.From, body)
	busy, coded := errors.AsType[*tipt.Error](err)
	switch {
	case coded && busy.Code == tipt.ErrBusy:
		return node, &rejection{status: http.StatusTooManyRequests, wait: max(busy.Wait, time.Second), err: err}
	case errors.Is(err, ErrBadMessage):
		return node, &rejection{status: http.StatusBadRequest, err: err}
	case err != nil:
		return node, &rejection{status: http.StatusInternalServerError, err: err}
	}
	kind := typeMsgpack
	if sealed {
		kind = typeOctets
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(answer) // fails when the peer has gone; it asks again
	return node, nil
}

// read reads a request's body, within maxIncoming.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), _ *rejection) {
	if r.ContentLength > tipt.MaxSealedSize {
		return nil, nil, &rejection{status: http.StatusRequestEntityTooLarge, err: errTooLarge}
	}
	// One of unknown length is taken for the longest.
	size := r.ContentLength
	if size < 0 {
		size = tipt.MaxSealedSize
	}
	// A body that trickles in would hold its room for as long as it likes.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(tipt.ForwardTimeout)); err != nil {
		return nil, nil, &rejection{status: http.StatusInternalServerError, err: err}
	}
	if !h.room.TryAcquire(size) {
		return nil, nil, &rejection{status: http.StatusServiceUnavailable, wait: time.Second, err: errors.New("too much is being received")}
	}
	release = func() { h.room.Release(size) }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, tipt.MaxSealedSize))
	if err != nil {
		release()
		status := http.StatusBadRequest
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			status = http.StatusRequestEntityTooLarge
		}
		return nil, nil, &rejection{status: status, err: err}
	}
	return body, release, nil
}

// verify checks what a node vouches for (section 5.4).
func (h *Handler) verify(ctx context.Context, v Vouch, body []byte) *rejection {
	if err := v.Check(body, fault.Now()); err != nil {
		return &rejection{status: http.StatusUnauthorized, err: err}
	}
	key, err := h.o.Keys.Signing(ctx, v.From.Node, v.KeyID)
	if failure, ok := errors.AsType[*Failure](err); ok {
		return &rejection{status: http.StatusServiceUnavailable, wait: max(failure.RetryAfter, time.Second), err: err}
	}
	if err == nil {
		err = v.Verify(h.o.Node, key)
	}
	if err != nil {
		return &rejection{status: http.StatusUnauthorized, err: err}
	}
	return nil
}
