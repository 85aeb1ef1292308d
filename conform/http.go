package conform

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// keptExchanges is how many requests and responses of a scenario are kept for the report.
const keptExchanges = 2 * shownCrossings

// http does a plain request and keeps what crosses for the report.
func (t *T) http(method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	t.note(true, method+" "+path, header, body)
	response, answer, err := t.s.http(t.ctx, method, path, header, body)
	if err == nil {
		t.note(false, response.Proto+" "+response.Status, response.Header, answer)
	}
	return response, answer, err
}

// http does a plain request on a connection of its own and returns the answer with its body
// read. A large body is sent once the node asks for it, so that a refusal is not lost.
func (s *suite) http(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	client := &http.Client{
		Timeout: 2 * dialTime,
		Transport: &http.Transport{
			DisableKeepAlives:     true,
			ExpectContinueTimeout: dialTime,
			DialTLSContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return s.connect(ctx, 0) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, method, "https://"+s.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("make the request: %w", err)
	}
	if header != nil {
		request.Header = header
	}
	if len(body) > 64<<10 {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("do the request: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxFrame))
	if err != nil {
		return nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	return response, answer, nil
}

// note keeps a request or a response that did not cross a WebSocket. Any goroutine may call it.
func (t *T) note(sent bool, first string, header http.Header, body []byte) {
	c := Crossing{
		At: time.Since(t.began), Sent: sent, What: "http", Size: len(body), Bytes: bytes.Clone(body[:min(len(body), keptBytes)]),
		Head: []string{first},
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			c.Head = append(c.Head, strings.TrimSpace(fmt.Sprintf("%s: %.500s", name, value)))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exchanges = append(t.exchanges[max(0, len(t.exchanges)+1-keptExchanges):], c)
}

// exchanged returns what crossed last, beside WebSockets.
func (t *T) exchanged(most int) []Crossing {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.exchanges[max(0, len(t.exchanges)-most):])
}
