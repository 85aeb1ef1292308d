package link_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// encode returns a packet of the seed's form.
func encode(p tipt.Packet) []byte {
	p.Version = tipt.Version
	return tipt.AppendPacket(nil, tipt.RevisionSeed, &p)
}

// replace changes a packet's bytes.
func replace(b []byte, old, new string) []byte {
	return bytes.Replace(b, []byte(old), []byte(new), 1)
}

// TestViolations: what section 3.1 and 3.2 close with 1002.
func TestViolations(t *testing.T) {
	for _, test := range []struct {
		name    string
		packets [][]byte
	}{
		{"id in flight", [][]byte{encode(request(7, 1, nil)), encode(request(7, 1, nil))}},
		{"id 0 in flight", [][]byte{encode(request(0, 1, nil)), encode(request(0, 2, nil))}},
		{"id in flight, malformed", [][]byte{encode(request(7, 1, nil)), replace(encode(request(7, 1, nil)), "ver", "vex")}},
		{"answer to nothing", [][]byte{encode(response(7, nil))}},
		{"answer to an id not used yet", [][]byte{encode(response(1, nil))}},
		{"answer twice", [][]byte{encode(response(0, nil)), encode(response(0, nil))}},
		{"malformed response", [][]byte{replace(encode(response(0, nil)), "ver", "vex")}},
		{"response with reqt", [][]byte{replace(encode(request(0, 1, nil)), "pakt\x00", "pakt\x01")}},
		{"empty message", [][]byte{{}}},
		{"no map", [][]byte{{0x90}}},
		{"id missing", [][]byte{replace(encode(request(7, 1, nil)), "\xa2id", "\xa2ix")}},
		{"id too wide", [][]byte{replace(encode(request(7, 1, nil)), "id\x07", "id\xcd\x00\x07")}},
		{"id of an event missing", [][]byte{replace(encode(event(7, nil)), "\xa2id", "\xa2ix")}},
		{"pakt missing", [][]byte{replace(encode(request(7, 1, nil)), "pakt", "pukt")}},
		{"unknown pakt", [][]byte{replace(encode(request(7, 1, nil)), "pakt\x00", "pakt\x03")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			each(t, func(t *testing.T, e ends) {
				h, _ := keep()
				a, peer := run(t, "a", e.a, link.Options{Handler: h}), newRaw(t, e.b)
				done, answers := results(1)
				start(t, a, 1, nil, done) // takes id 0
				peer.want(t, "request")
				if err := peer.Write(test.packets); err != nil {
					t.Fatal(err)
				}
				peer.wantClose(t, tipt.CloseProtocol)
				peer.CloseNow()
				wantClosed(t, a, true, tipt.CloseProtocol)
				if r := <-answers; r.err != nil && !errors.Is(r.err, link.ErrClosed) {
					t.Errorf("call in flight: %v", r.err)
				}
			})
		})
	}
}

// TestUnwrittenIsNotInFlight: a peer cannot answer a request that was not written yet,
// though it has an id here.
func TestUnwrittenIsNotInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		a, peer := run(t, "a", ca, link.Options{}), newRaw(t, cb)
		done, _ := results(2)
		start(t, a, 1, body(0, 500_000), done)
		synctest.Wait() // the writer stands
		start(t, a, 1, nil, done)
		peer.send(t, response(1, nil))
		synctest.Wait()
		peer.wantClose(t, tipt.CloseProtocol)
		peer.CloseNow()
		wantClosed(t, a, true, tipt.CloseProtocol)
	})
}

// TestMalformed: a malformed request whose id and type can be read is answered,
// and the connection goes on; a malformed event is ignored and counted.
func TestMalformed(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		var ignored []error
		o := link.Options{Handler: echo, Ignored: func(err error) { ignored = append(ignored, err) }}
		run(t, "a", e.a, o)
		peer := newRaw(t, e.b)
		large := encode(request(3, 1, body(0, 100_000)))
		for _, test := range []struct {
			name   string
			id     uint8
			packet []byte
		}{
			{"unknown key", 1, replace(encode(request(1, 1, nil)), "reqt", "reqx")},
			{"bytes behind", 2, append(encode(request(2, 1, nil)), 0)},
			{"cut", 3, large[:len(large)-1]},
			{"unknown key, large", 3, replace(large, "reqt", "reqx")},
		} {
			if err := peer.Write([][]byte{test.packet}); err != nil {
				t.Fatal(err)
			}
			p := peer.want(t, test.name)
			if p.Type != tipt.PacketResponse || p.ID != test.id || p.Err == nil || p.Err.Code != tipt.ErrMalformed || p.Err.Message == "" {
				t.Errorf("%s: %s, want a response with MALFORMED", test.name, describe(p))
			}
		}
		if err := peer.Write([][]byte{replace(encode(event(1, nil)), "reqt", "reqx")}); err != nil {
			t.Fatal(err)
		}
		peer.send(t, request(1, 1, body(5, 0)))
		if p := peer.want(t, "a good request"); number(p.Body) != 5 || p.Err != nil {
			t.Errorf("a good request after bad ones: %s", describe(p))
		}
		if len(ignored) != 1 || !errors.Is(ignored[0], tipt.ErrMalformed) {
			t.Errorf("ignored: %v, want one malformed event", ignored)
		}
	})
}

func TestNoHandler(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		a := run(t, "a", e.a, link.Options{})
		run(t, "b", e.b, link.Options{})
		if err := a.Emit(1, nil); err != nil {
			t.Fatal(err)
		}
		_, err := a.Call(t.Context(), 1, nil)
		wantCode(t, "request without a handler", err, tipt.ErrUnsupported)
	})
}

// TestInboundIDIsFreeAtTheResponse: the peer may use an id again as soon as it
// has the response.
func TestInboundIDIsFreeAtTheResponse(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		run(t, "a", e.a, link.Options{Handler: echo})
		peer := newRaw(t, e.b)
		for i := range 300 {
			peer.send(t, request(200, 1, body(i, 0)))
			if p := peer.want(t, "response"); p.ID != 200 || number(p.Body) != i {
				t.Fatalf("%s, want a response to %d", describe(p), i)
			}
		}
	})
}

// TestReadLimit: a message over the limit closes with 1009, one at it is served.
func TestReadLimit(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		a, peer := run(t, "a", e.a, link.Options{Handler: echo}), newRaw(t, e.b)
		a.SetReadLimit(tipt.MaxUnsignedPacketSize)
		rest := len(encode(request(1, 1, body(0, tipt.MaxUnsignedPacketSize)))) - tipt.MaxUnsignedPacketSize
		peer.send(t, request(1, 1, body(1, tipt.MaxUnsignedPacketSize-rest)))
		if p := peer.want(t, "message at the limit"); number(p.Body) != 1 {
			t.Errorf("message at the limit: %s", describe(p))
		}
		peer.send(t, request(1, 1, body(2, tipt.MaxUnsignedPacketSize-rest+1)))
		peer.wantClose(t, tipt.CloseTooLarge)
		peer.CloseNow()
		wantClosed(t, a, true, tipt.CloseTooLarge)
	})
}

func TestMaxPacketSize(t *testing.T) {
	each(t, func(t *testing.T, e ends) {
		a, peer := run(t, "a", e.a, link.Options{Handler: echo}), newRaw(t, e.b)
		rest := len(encode(request(1, 1, body(0, tipt.MaxPacketSize)))) - tipt.MaxPacketSize
		peer.send(t, request(1, 1, body(1, tipt.MaxPacketSize-rest)))
		if p := peer.want(t, "largest message"); number(p.Body) != 1 {
			t.Errorf("largest message: %s", describe(p))
		}
		peer.send(t, request(1, 1, body(2, tipt.MaxPacketSize-rest+1)))
		peer.wantClose(t, tipt.CloseTooLarge)
		peer.CloseNow()
		wantClosed(t, a, true, tipt.CloseTooLarge)
	})
}

// TestForm: the form changes with the next packet that is read, and a response has that of its request.
func TestForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		h, requests := keep()
		var sent []string
		o := link.Options{Handler: h, Tap: func(out bool, packet []byte) {
			if out {
				sent = append(sent, string(packet))
			}
		}}
		a, peer := run(t, "a", ca, o), newRaw(t, cb)
		peer.send(t, request(1, 1, nil), request(2, 1, nil))
		synctest.Wait() // both are read, in the first form
		(<-requests).Reply(nil)
		a.SetForm(tipt.Form{Revision: tipt.RevisionDraft, Version: "1.2.3"})
		(<-requests).Reply(nil)
		synctest.Wait()
		draft := func(p tipt.Packet) string { return string(tipt.AppendPacket(nil, tipt.RevisionDraft, &p)) }
		if err := peer.Write([][]byte{[]byte(draft(request(3, 9, nil)))}); err != nil {
			t.Fatal(err)
		}
		r := <-requests
		if r.Code != 9 || r.Version != "1.2.3" || !r.Newer || r.Revision != tipt.RevisionDraft {
			t.Errorf("request in the drafts' form: code %d, version %q, newer %v, revision %v", r.Code, r.Version, r.Newer, r.Revision)
		}
		failure := &tipt.Error{Code: tipt.ErrBusy, Message: "the bare code alone crosses", Wait: time.Second}
		r.Fail(failure)
		if err := a.Emit(4, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := []string{
			string(encode(response(1, nil))), string(encode(response(2, nil))),
			draft(tipt.Packet{ID: 3, Type: tipt.PacketResponse, Err: failure}), draft(tipt.Packet{Type: tipt.PacketEvent, Code: 4}),
		}
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Errorf("sent (-want +got)\n%s", diff)
		}
	})
}

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		type crossing struct {
			Sent   bool
			Packet string
		}
		var seen []crossing
		o := link.Options{Handler: echo, Tap: func(sent bool, packet []byte) {
			seen = append(seen, crossing{sent, string(packet)})
		}}
		run(t, "a", ca, o)
		peer := newRaw(t, cb)
		small, large := body(1, 0), body(2, 50_000)
		var want []crossing
		for _, b := range [][]byte{small, large} {
			peer.send(t, request(1, 1, b))
			peer.want(t, "response")
			want = append(want, crossing{false, string(encode(request(1, 1, b)))}, crossing{true, string(encode(response(1, b)))})
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("tap (-want +got)\n%s", diff)
		}
	})
}

func TestAnswerTwicePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		h, requests := keep()
		run(t, "a", ca, link.Options{Handler: h})
		peer := newRaw(t, cb)
		peer.send(t, request(1, 1, nil))
		r := <-requests
		r.Reply(nil)
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		r.Fail(&tipt.Error{})
	})
}

func TestServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := link.Pipe()
		h, requests := keep()
		a, peer := run(t, "a", ca, link.Options{Handler: h}), newRaw(t, cb)
		peer.send(t, request(1, 1, nil), request(2, 1, nil), request(3, 1, body(0, 10_000)))
		synctest.Wait()
		for want := 3; want > 0; want-- {
			if n := a.Serving(); n != want {
				t.Errorf("serving %d, want %d", n, want)
			}
			(<-requests).Reply(nil)
		}
		if n := a.Serving(); n != 0 {
			t.Errorf("serving %d after all answers", n)
		}
	})
}
