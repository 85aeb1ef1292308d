package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
)

// betweenNodes runs a test with the client of own and the handler of other, over HTTP/2.
func betweenNodes(t *testing.T, receive func(tipt.Address, []byte) ([]byte, bool, error), f func(t *testing.T, c *Client, r *reception)) {
	var r *reception
	handler := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) { r.ServeHTTP(w, request) })
	inBubble(t, handler, func(t *testing.T, c *Client, _ *wire) {
		r = newReception(t, func(o *HandlerOptions) {
			o.Node = other
			o.Receive = func(_ context.Context, from tipt.Address, message []byte) ([]byte, bool, error) {
				return receive(from, message)
			}
		})
		r.keys[own] = c.options.Key()
		f(t, c, r)
		r.Close()
	})
}

func TestForwardAndReceive(t *testing.T) {
	large := bytes.Repeat([]byte{7}, tipt.MaxSealedSize)
	var got []byte
	betweenNodes(t, func(from tipt.Address, message []byte) ([]byte, bool, error) {
		if from != alice {
			return nil, false, errors.New("from " + from.String())
		}
		got = message
		return delivered, false, nil
	}, func(t *testing.T, c *Client, r *reception) {
		for _, sealed := range [][]byte{[]byte("sealed"), large} {
			a, err := c.Forward(t.Context(), other, alice, sealed)
			if err != nil || !a.Delivered || !bytes.Equal(got, sealed) {
				t.Errorf("%+v, %v, %d bytes", a, err, len(got))
			}
		}
		_, err := c.Forward(t.Context(), other, alice, append(large, 7))
		if f := wantOutcome(t, "too large", err, refusedNow); f.Status != 413 {
			t.Errorf("too large: %v", f)
		}
		cert, err := c.PublicKey(t.Context(), other)
		if err != nil || !bytes.Equal(cert.Bytes(), r.o.Key().Certificate()) {
			t.Errorf("key: %v", err)
		}
	})
}

// TestSlowBody has a node that sends no end of its message.
func TestSlowBody(t *testing.T) {
	betweenNodes(t, func(tipt.Address, []byte) ([]byte, bool, error) {
		return nil, false, errors.New("received")
	}, func(t *testing.T, c *Client, r *reception) {
		body, end := io.Pipe()
		defer end.Close()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://other.example/api/forward", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", typeOctets)
		AddVouch(request.Header, c.options.Key(), other, alice, []byte("sealed"), time.Now())
		go func() { _, _ = end.Write([]byte("seal")) }()
		began := time.Now()
		response, err := c.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if took := time.Since(began); response.StatusCode != 503 || took != tipt.ForwardTimeout {
			t.Errorf("status %d after %v", response.StatusCode, took)
		}
		if r.inRoom() != 0 {
			t.Errorf("%d bytes are held", r.inRoom())
		}
	})
}
