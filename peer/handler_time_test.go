package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
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

// TestRoom fills the room for messages that are being worked on: a node cannot take it all,
// and who gets none in time is told when to come back.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := make(chan struct{})
		r := newReception(t, func(o *HandlerOptions) {
			o.Receive = func(context.Context, tipt.Address, []byte) ([]byte, bool, error) {
				<-work
				return delivered, false, nil
			}
		})
		var serving sync.WaitGroup
		served := make(map[int]int)
		var mu sync.Mutex
		send := func(node tipt.NodeName) {
			request := plainRequest("body")
			AddVouch(request.Header, r.keys[node], own, tipt.Address{User: "bob", Node: node}, []byte("body"), time.Now())
			request.ContentLength = -1 // taken for the longest
			serving.Go(func() {
				w := r.serve(request)
				if want := time.Now().Add(tipt.ForwardTimeout); w.Code == 200 && w.deadline.After(want) {
					t.Errorf("the body had until %v", w.deadline)
				}
				mu.Lock()
				defer mu.Unlock()
				served[w.Code]++
				if after := w.Header().Get("Retry-After"); w.Code == 503 && after != "5" {
					t.Errorf("Retry-After %s", after)
				}
			})
		}
		const share, all = maxIncomingNode / tipt.MaxSealedSize, maxIncoming / tipt.MaxSealedSize
		for range share + 1 {
			send(other)
		}
		send(third)
		synctest.Wait()
		if r.inRoom() != (share+1)*tipt.MaxSealedSize {
			t.Errorf("%d bytes are held, want those of %d messages of one node and of one of another", r.inRoom(), share)
		}
		time.Sleep(roomTimeout)
		synctest.Wait()
		if served[503] != 1 || len(served) != 1 {
			t.Errorf("served %v, want one refused", served)
		}
		// One that waits gets the room of one that is done.
		send(other)
		synctest.Wait()
		work <- struct{}{}
		work <- struct{}{}
		synctest.Wait()
		if served[200] != 2 || served[503] != 1 {
			t.Errorf("served %v, want two", served)
		}
		// Many nodes together.
		for i := range 2 * all {
			node := tipt.NodeName(fmt.Sprintf("n%d.example", i/4))
			if r.keys[node] == nil {
				r.mu.Lock()
				r.keys[node] = newNodeKey(t, node)
				r.mu.Unlock()
			}
			send(node)
		}
		synctest.Wait()
		if held := r.inRoom(); held > maxIncoming || held < maxIncoming-tipt.MaxSealedSize {
			t.Errorf("%d bytes are held, want %d", held, maxIncoming)
		}
		time.Sleep(roomTimeout)
		synctest.Wait()
		close(work)
		serving.Wait()
		if r.inRoom() != 0 || len(r.nodeRoom.nodes) != 0 {
			t.Errorf("%d bytes and %d nodes are left", r.inRoom(), len(r.nodeRoom.nodes))
		}
		if served[503] < all {
			t.Errorf("served %v, want the second half refused", served)
		}
	})
}

// inRoom returns how many bytes are being held.
func (r *reception) inRoom() int64 {
	free := int64(0)
	for step := int64(maxIncoming); step > 0; step /= 2 {
		for r.room.TryAcquire(step) {
			free += step
		}
	}
	r.room.Release(free)
	return maxIncoming - free
}

// TestHandlerClose waits for what is being worked on, and refuses what comes.
func TestHandlerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := make(chan struct{})
		r := newReception(t, func(o *HandlerOptions) {
			o.Receive = func(context.Context, tipt.Address, []byte) ([]byte, bool, error) {
				<-work
				return delivered, false, nil
			}
		})
		begun := make(chan int)
		go func() { begun <- r.serve(r.request("body")).Code }()
		synctest.Wait()
		closed := make(chan struct{})
		go func() { r.Close(); close(closed) }()
		synctest.Wait()
		r.wantRejected(t, "closed", r.request("body"), 503, "stopping")
		select {
		case <-closed:
			t.Error("did not wait")
		default:
		}
		close(work)
		if code := <-begun; code != 200 {
			t.Errorf("status %d", code)
		}
		<-closed
	})
}
