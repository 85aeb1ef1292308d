package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/ws"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
)

// The steps of a doctor behind TLS.

const (
	// clockDifference is how far the clocks of two nodes may differ (section 5.4).
	clockDifference = 5 * time.Minute
	// maxStatus is how much of /api/status is read, in bytes.
	maxStatus = 4096
)

// open upgrades a connection.
func (d *doctor) open(ctx context.Context, path string) (*ws.ClientConn, error) {
	conn, err := ws.Dial(ctx, "wss://"+string(d.node)+path, ws.DialOptions{TLS: d.tls(), DialContext: d.dialNode})
	var other *ws.StatusError
	switch {
	case err == nil:
		return conn, nil
	case errors.As(err, &other) && other.Status >= 500:
		change := "Look at its log, and at that of a proxy in front of it."
		if other.Status == http.StatusServiceUnavailable {
			change = "It is overloaded or in maintenance (`tiptd maintenance off` ends that), or a proxy in front of it does not reach it."
		}
		if other.RetryAfter > 0 {
			change += fmt.Sprintf(" It asks to try again in %v.", other.RetryAfter)
		}
		return nil, complain(change, "the answer is HTTP status %d", other.Status)
	case errors.As(err, &other):
		return nil, complain("A node upgrades on every path: have the proxy in front of it pass WebSocket upgrades on, or look whether it is a node.",
			"the answer is HTTP status %d, no upgrade", other.Status)
	}
	return nil, complain("Have a proxy in front of the node pass WebSocket upgrades on, by HTTP/1.1.", "no upgrade: %v", bare(err))
}

func (d *doctor) upgradeRoot(ctx context.Context) (string, error) {
	conn, err := d.open(ctx, "/")
	if err != nil {
		return "", err
	}
	conn.CloseNow()
	return "", nil
}

// upgrade opens the connection that the steps behind it use.
func (d *doctor) upgrade(ctx context.Context) (string, error) {
	conn, err := d.open(ctx, "/ws")
	if err != nil {
		return "", err
	}
	d.link = link.New(conn, link.Options{Handler: ignorer{}})
	d.ended = make(chan struct{})
	go func() {
		defer close(d.ended)
		d.end = d.link.Run(context.Background())
	}()
	return "", nil
}

// why is the error of a call on the link, in words for people.
func (d *doctor) why(err error) error {
	if errors.Is(err, link.ErrClosed) {
		<-d.ended
		err = d.end
	}
	return bare(err)
}

// hangUp ends the connection, if there is one.
func (d *doctor) hangUp() {
	if d.link == nil {
		return
	}
	d.link.Close(tipt.CloseNormal, "")
	select {
	case <-d.ended:
	case <-time.After(d.patience):
		d.link.CloseNow()
		<-d.ended
	}
}

// An ignorer is a link.Handler for a connection that is not signed in, of which a node asks nothing.
type ignorer struct{}

func (ignorer) ServeEvent(tipt.Packet) {}

func (ignorer) ServeTipt(r *link.Request) { r.Fail(&tipt.Error{Code: tipt.ErrUnsupported}) }

func (d *doctor) ping(ctx context.Context) (string, error) {
	if err := d.link.PingWait(ctx); err != nil {
		return "", complain("Have a proxy in front of the node pass frames of all kinds on, PING and PONG too.",
			"no answer to a PING: %v", d.why(err))
	}
	return "", nil
}

func (d *doctor) handshake(ctx context.Context) (string, error) {
	p, err := d.link.Call(ctx, uint8(tipt.RequestHandshake), nil)
	var resp tipt.HandshakeResponse
	if err == nil {
		err = resp.Parse(p.Body, p.Newer)
	}
	switch {
	case err != nil:
		return "", complain("Is it a Tipt node, and does a proxy in front of it pass everything on?", "no answer to be used: %v", d.why(err))
	case !resp.Compatible:
		return "", complain("Update the node.", "it speaks version %s of the protocol, older than %s here", resp.Version, tipt.Version)
	}
	return "version " + resp.Version, nil
}

// get asks for a page of at most so many bytes, with status 200.
func (d *doctor) get(ctx context.Context, path string, limit int64) (http.Header, []byte, error) {
	const pass = "Have the proxy in front of the node pass /api/ on to it."
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+string(d.node)+path, nil)
	if err != nil {
		return nil, nil, err
	}
	response, err := d.http().Do(request)
	if err != nil {
		return nil, nil, complain(pass, "no answer to GET %s: %v", path, bare(err))
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return nil, nil, complain("Serve it there: other nodes follow no redirect.", "GET %s is redirected to %s", path, response.Header.Get("Location"))
	case response.StatusCode != http.StatusOK:
		return nil, nil, complain(pass, "the answer to GET %s is HTTP status %d", path, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, nil, complain(pass, "the answer to GET %s breaks off: %v", path, bare(err))
	case int64(len(body)) > limit:
		return nil, nil, complain(pass, "the answer to GET %s has more than %d bytes", path, limit)
	}
	return response.Header, body, nil
}

// status looks at what a browser's script learns from (section 1.3).
func (d *doctor) status(ctx context.Context) (string, error) {
	header, body, err := d.get(ctx, "/api/status", maxStatus)
	if err != nil {
		return "", err
	}
	var answer struct {
		Status string `json:"status"`
		Retry  int    `json:"retry"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", complain("Have the proxy in front of the node pass /api/ on to it.", "/api/status is not the JSON of a node: %v", err)
	}
	switch {
	case answer.Status != "ok":
		return "", complain(fmt.Sprintf("Try again in %d s; `tiptd maintenance off` ends a maintenance.", answer.Retry), "the node's status is %q", answer.Status)
	case header.Get("Access-Control-Allow-Origin") != "*":
		return "", complain("Have the proxy in front of the node leave its headers alone.", "/api/status lacks Access-Control-Allow-Origin: *, without which browsers hide it")
	case header.Get("Cache-Control") != "no-store":
		return "", complain("Have the proxy in front of the node leave its headers alone.", "/api/status lacks Cache-Control: no-store, without which old answers are shown")
	}
	return answer.Status, nil
}

func (d *doctor) key(ctx context.Context) (string, error) {
	header, body, err := d.get(ctx, "/api/public_key", tipt.MaxKeySize)
	if err != nil {
		return "", err
	}
	if kind, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil || kind != "application/octet-stream" {
		return "", complain("Have the proxy in front of the node pass /api/ on to it, and leave its headers alone.",
			"/api/public_key is of the type %q, not application/octet-stream", header.Get("Content-Type"))
	}
	certificate, err := seal.ParseCertificate(body)
	if err != nil {
		return "", complain("Have the proxy in front of the node pass /api/ on to it, unchanged.", "/api/public_key is no OpenPGP certificate: %v", err)
	}
	if err := certificate.CheckNode(string(d.node), time.Now()); err != nil {
		return "", complain("Look whether the node runs under this name (tiptd --node); `tiptd key rotate` makes new subkeys.",
			"the node's OpenPGP certificate is not as it should be: %v", err)
	}
	return "OpenPGP fingerprint " + certificate.Fingerprint(), nil
}

// forward looks whether other nodes' messages come in: one for which nobody vouches is refused for
// that (section 5.4) or, where such are taken, for its form, and by nothing in front of the node.
func (d *doctor) forward(ctx context.Context) (string, error) {
	const pass = "Have the proxy in front of the node pass POST /api/forward on to it."
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+string(d.node)+"/api/forward", http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	response, err := d.http().Do(request)
	if err != nil {
		return "", complain(pass, "no answer to POST /api/forward: %v", bare(err))
	}
	defer response.Body.Close()
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized:
		return "messages of other nodes come in: one for which no node vouches is refused, as it should be", nil
	case status == http.StatusBadRequest:
		return "messages of other nodes come in, also those for which no node vouches", nil
	case status >= 300 && status < 400:
		return "", complain("Serve it there: other nodes follow no redirect.", "POST /api/forward is redirected to %s", response.Header.Get("Location"))
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return "", complain("It is overloaded or in maintenance (`tiptd maintenance off` ends that), or a proxy in front of it does not reach it.",
			"the answer to POST /api/forward is HTTP status %d", status)
	default:
		return "", complain(pass, "the answer to POST /api/forward is HTTP status %d, not 401", status)
	}
}

func (d *doctor) clock(ctx context.Context) (string, error) {
	asked := time.Now()
	p, err := d.link.Call(ctx, uint8(tipt.RequestGetInfo), nil)
	took := time.Since(asked)
	var info tipt.GetInfoResponse
	if err == nil {
		err = info.Parse(p.Body, p.Newer)
	}
	if err != nil {
		return "", complain("Is it a Tipt node, and does a proxy in front of it pass everything on?", "no answer to GET_INFO to be used: %v", d.why(err))
	}
	if info.Node != string(d.node) {
		return "", complain("Start it under the name that it is reached by (tiptd --node), or look at where the name leads.", "the node calls itself %s", info.Node)
	}
	ahead := info.Time.Sub(asked.Add(took / 2))
	found := "as this machine's"
	switch off := ahead.Round(time.Second); {
	case off > 0:
		found = fmt.Sprintf("%v ahead of this machine's", off)
	case off < 0:
		found = fmt.Sprintf("%v behind this machine's", -off)
	}
	if ahead.Abs() > clockDifference+took/2 {
		return "", complain("Set the node's clock, or this machine's, by NTP: other nodes refuse what is signed more than 5 minutes off.", "%s", found)
	}
	return found, nil
}
