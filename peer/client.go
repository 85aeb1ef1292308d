package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/seal"
)

const (
	typeOctets  = "application/octet-stream"
	typeMsgpack = "application/msgpack"

	// maxConnections is how many connections to one node there are.
	maxConnections = 4
	// maxRequests is how many requests to one node are under way at once. It is what every
	// HTTP/2 server should take on one connection (RFC 9113, section 6.5.2): over a server's
	// limit net/http opens connections without counting them.
	maxRequests = 100
	// maxIdle is how many connections to all nodes are kept when nothing is sent.
	maxIdle = 512
)

// ClientOptions make a [Client].
type ClientOptions struct {
	// Key is the key that vouches for this node's users. It is asked each time,
	// since a rotation changes it.
	Key func() *seal.NodeKey
	// Roots verify other nodes' certificates. If nil, the system's.
	Roots *x509.CertPool
	// Resolve is where nodes are reached otherwise than by DNS, as HOST:PORT.
	// What is in it is exempt from the rules about addresses.
	Resolve map[tipt.NodeName]string
	// Resolver is the DNS resolver. If nil, the system's.
	Resolver *net.Resolver
	// Software is the User-Agent.
	Software string
}

// A Client sends requests to other nodes, within the rules of section 5.6.
type Client struct {
	options  ClientOptions
	http     *http.Client
	requests *gate
}

// NewClient makes a client. Close it.
func NewClient(o ClientOptions) *Client {
	guard := newGuard(o.Resolve, o.Resolver)
	return &Client{
		options:  o,
		requests: newGate(maxRequests),
		http: &http.Client{
			// A redirect could lead anywhere, and would be signed for another @authority.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:         guard.dial,
				TLSClientConfig:     &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout: connectTimeout,
				ForceAttemptHTTP2:   true,
				// A connection whose other end went away without a word would swallow requests for
				// as long as TCP tries.
				HTTP2:                  &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
				DisableCompression:     true, // answers are small or sealed; and none can be a bomb
				MaxConnsPerHost:        maxConnections,
				MaxIdleConnsPerHost:    maxConnections,
				MaxIdleConns:           maxIdle,
				IdleConnTimeout:        90 * time.Second,
				MaxResponseHeaderBytes: 16 << 10,
			},
		},
	}
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// An Answer is what a destination said to a forwarded message (section 5.3).
type Answer struct {
	Bytes []byte
	// Delivered: a map without an error and without a body, what MESSAGE is
	// answered with when it is stored.
	Delivered bool
	// Sealed: only the asking client can read it.
	Sealed bool
}

// A Failure is why a request got no usable answer (section 5.5).
type Failure struct {
	// Status is the HTTP status, 0 when none came.
	Status int
	// Unknown: the destination may have carried the request out.
	Unknown bool
	// Destination: no message can be the cause, so others to it would fail as well.
	Destination bool
	// RetryAfter is what the destination asked for; 0 for nothing.
	RetryAfter time.Duration
	// Err says in words what happened.
	Err error
}

// maxFailure is how long a failure's words are, in bytes.
const maxFailure = 500

// Error is what happened, on one line that every terminal can show: other nodes have a say in
// it, by the names in a certificate for one.
func (f *Failure) Error() string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, f.Err.Error())
	if len(text) > maxFailure {
		const more = "…"
		text = strings.ToValidUTF8(text[:maxFailure-len(more)], "") + more
	}
	return text
}

func (f *Failure) Unwrap() error { return f.Err }

// Temporary reports whether trying again makes sense.
func (f *Failure) Temporary() bool {
	switch {
	case f.Status == 0, f.Status == http.StatusOK, f.Status == http.StatusTooManyRequests:
		return true
	default:
		return f.Status >= 300 && f.Status < 400 || f.Status >= 500 && f.Status < 600
	}
}

// Code is the failure as the client is told it (section 5.5).
func (f *Failure) Code() tipt.ErrorCode {
	switch {
	case f.Unknown:
		return tipt.ErrNodeTimeout
	case f.Status == 0, f.Status == http.StatusTooManyRequests, f.Status == http.StatusServiceUnavailable:
		return tipt.ErrNodeUnreachable
	default:
		return tipt.ErrNodeRefused
	}
}

// public is Error for a user of this node. Which addresses a name has in this machine's eyes, and
// who looks names up for it, are the operator's alone: a user chooses the names.
func (f *Failure) public() string {
	lookup, noLookup := errors.AsType[*net.DNSError](f.Err)
	_, noNetwork := errors.AsType[*net.OpError](f.Err)
	switch {
	case errors.Is(f.Err, ErrForbidden):
		return "the name leads to no address that this node connects to"
	case noLookup && lookup.IsNotFound:
		return "there is no node of that name"
	case noLookup:
		return "the name cannot be looked up now"
	case noNetwork && f.Unknown:
		return "the connection to it broke"
	case noNetwork:
		return "no connection to it can be made"
	default:
		return f.Error()
	}
}

// Coded is the failure as a response's error.
func (f *Failure) Coded() *tipt.Error {
	e := &tipt.Error{Code: f.Code(), Message: f.public(), Wait: f.RetryAfter}
	if e.Code == tipt.ErrNodeUnreachable && e.Wait == 0 {
		e.Wait = minPause
	}
	return e
}

// Forward hands a sealed message to its destination and vouches for the sender.
// It takes 30 s at most. Its error is a [*Failure].
func (c *Client) Forward(ctx context.Context, node tipt.NodeName, from tipt.Address, sealed []byte) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+string(node)+pathForward, bytes.NewReader(sealed))
	if err != nil {
		return Answer{}, &Failure{Err: fmt.Errorf("make a request to %s: %w", node, err)}
	}
	request.Header.Set("Content-Type", typeOctets)
	AddVouch(request.Header, c.options.Key(), node, from, sealed, fault.Now())
	body, kind, err := c.do(request, tipt.MaxForwardRespSize)
	if err != nil {
		return Answer{}, err
	}
	switch kind {
	case typeMsgpack:
		var answer tipt.ForwardAnswer
		err := answer.Parse(body)
		return Answer{Bytes: body, Delivered: err == nil && answer.Err == nil && answer.Body == nil}, nil
	case typeOctets:
		return Answer{Bytes: body, Sealed: true}, nil
	default:
		return Answer{}, &Failure{Status: http.StatusOK, Unknown: true, Err: fmt.Errorf("%s answered with the type %q", node, kind)}
	}
}

// PublicKey fetches a node's OpenPGP certificate (section 5.1), past the caches that
// may be in front of it. Its error is a [*Failure].
func (c *Client) PublicKey(ctx context.Context, node tipt.NodeName) (*seal.Certificate, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+string(node)+pathPublicKey, nil)
	if err != nil {
		return nil, &Failure{Err: fmt.Errorf("make a request to %s: %w", node, err)}
	}
	// Behind a cache of an hour ours would be of two; and a new subkey would not be seen.
	request.Header.Set("Cache-Control", "no-cache")
	body, _, err := c.do(request, tipt.MaxKeySize)
	switch {
	case errors.Is(err, errTooLarge): // is no certificate either
		return nil, &Failure{Status: http.StatusOK, Err: err}
	case err != nil:
		return nil, err
	}
	cert, err := seal.ParseCertificate(body)
	if err != nil {
		return nil, &Failure{Status: http.StatusOK, Err: fmt.Errorf("%s serves no certificate: %w", node, err)}
	}
	return cert, nil
}

var errTooLarge = errors.New("the answer is too large")

// do sends a request and returns the body and the type of an answer with 200. It
// takes 30 s at most (section 5.6).
func (c *Client) do(request *http.Request, limit int) (body []byte, kind string, err error) {
	node := tipt.NodeName(request.URL.Host)
	ctx, cancel := context.WithTimeoutCause(request.Context(), tipt.ForwardTimeout, errNoAnswer)
	defer cancel()
	leave, err := c.requests.enter(ctx, node, 1)
	if err != nil {
		return nil, "", &Failure{Destination: true, Err: fmt.Errorf("wait for earlier requests to %s: %w", node, context.Cause(ctx))}
	}
	defer leave()
	var sent atomic.Bool
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
	}))
	request.Header.Set("User-Agent", c.options.Software)
	response, err := c.http.Do(request)
	if err != nil {
		// Before the header was written nothing can have arrived, and nothing about
		// the message can be the cause.
		return nil, "", &Failure{Unknown: sent.Load(), Destination: !sent.Load(), Err: fmt.Errorf("reach %s: %w", node, reason(ctx, err))}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, "", refusal(node, response)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	switch {
	case err != nil:
	case ctx.Err() != nil: // the connection is being closed for that, at which the other node may end its answer as if it were whole
		err = ctx.Err()
	case len(body) > limit:
		err = errTooLarge
	}
	if err != nil {
		return nil, "", &Failure{Status: http.StatusOK, Unknown: true, Err: fmt.Errorf("read the answer of %s: %w", node, reason(ctx, err))}
	}
	kind, _, err = mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil {
		kind = response.Header.Get("Content-Type")
	}
	return body, kind, nil
}

var errNoAnswer = fmt.Errorf("no answer within %v", tipt.ForwardTimeout)

// reason is an error of net/http in fewer words.
func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		return outer.Err // without the method and the address
	}
	return err
}

// maxReason is how much of a refusal's text is kept, in bytes.
const maxReason = 200

func refusal(node tipt.NodeName, response *http.Response) *Failure {
	// Best effort: the status says what matters.
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxReason))
	f := &Failure{
		Status:     response.StatusCode,
		RetryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now()),
		Err:        fmt.Errorf("%s answered %d: %q", node, response.StatusCode, bytes.TrimSpace(text)),
	}
	switch {
	case f.Status == http.StatusTooManyRequests, f.Status == http.StatusServiceUnavailable:
		f.Destination = true
	case f.Status >= 500 && f.Status < 600:
		f.Unknown = true
	}
	return f
}

// maxRetryAfter is the longest wait that a destination can ask for; one beyond
// it would outlast most messages.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads Retry-After, in seconds or as a date. What is neither is 0.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
