package conform

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"
)

// The client of this project passes in the form of the later drafts too, into which a proxy puts its
// packets, and the report says which form it was.
func TestClientOfTheDrafts(t *testing.T) {
	report := passes(t, draftClient, "good", "T-2.120", "T-4.120")
	if report.Revision != RevisionDraft {
		t.Errorf("it was tested in the form %q", report.Revision)
	}
}

// A client that does not speak the form that is demanded, or not always, breaks no clause, and does not
// pass either.
func TestClientsOfTheOtherForm(t *testing.T) {
	for _, tt := range []struct {
		name, clause, defect string
		form                 Revision
		fails                string
	}{
		{name: "seed, draft demanded", clause: noDefect, form: RevisionDraft, fails: "speaks the seed's form"},
		{name: "draft, seed demanded", clause: draftClient, defect: "good", form: RevisionSeed, fails: "speaks the drafts' form"},
		{name: "seed, seed demanded", clause: noDefect, form: RevisionSeed},
		{name: "draft, draft demanded", clause: draftClient, defect: "good", form: RevisionDraft},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd, err := command(tt.clause, tt.defect)
			if err != nil {
				t.Fatal(err)
			}
			report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: everyClient, Revision: tt.form})
			switch {
			case tt.fails != "":
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %v, want an error with %q", err, tt.fails)
				}
			case err != nil:
				t.Error(err)
			case report.Revision != tt.form || report.Count(Failed) > 0 || len(report.Blocked) > 0:
				t.Errorf("tested in the form %q, want %q; %q", report.Revision, tt.form, report.Blocked)
			}
		})
	}
	t.Run("draft, then seed", func(t *testing.T) {
		t.Parallel()
		cmd, err := command(draftClient, "on the first connection")
		if err != nil {
			t.Fatal(err)
		}
		report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: "client-lost"})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Blocked) != 1 || !strings.Contains(report.Blocked[0], "speaks the seed's form") {
			t.Errorf("could not be set up: %q", report.Blocked)
		}
	})
}

// draftClient is in place of the clause of what draftClients are.
const draftClient = "drafts"

var draftClients = []clientDefect{
	{defect: defect{clause: draftClient, name: "good"}, drafts: inDrafts(nil), parallel: true},
	{defect: defect{clause: draftClient, name: "on the first connection"}, drafts: func(n int, node net.Conn) *draftConn {
		if n > 0 {
			return nil
		}
		return &draftConn{Conn: node}
	}},
}

// clientDraftDefects are clients that break the drafts' form.
var clientDraftDefects = []clientDefect{
	drafted("a ver in the root later on", func(f fields) fields {
		if number(f, "reqt") == reqSignIn {
			return append(fields{"ver", "1.0.0"}, f...)
		}
		return f
	}),
	drafted("a ver in the root of responses", func(f fields) fields {
		if number(f, "pakt") == pktResponse {
			return append(fields{"ver", "1.0.0"}, f...)
		}
		return f
	}),
	drafted("FORWARD as the seed numbers it", func(f fields) fields {
		if isAsking(f, draftForward) {
			return f.with("reqt", reqForward)
		}
		return f
	}),
	drafted("GET_NODE_KEY as the seed numbers it", func(f fields) fields {
		if isAsking(f, draftGetNodeKey) {
			return f.with("reqt", reqGetNodeKey)
		}
		return f
	}),
	drafted("a short version", func(f fields) fields {
		if isAsking(f, reqHandshake) {
			return f.with("body", fields{"ver", "1.0"})
		}
		return f
	}),
	drafted("no version at all", func(f fields) fields {
		if isAsking(f, reqHandshake) {
			return f.without("body")
		}
		return f
	}).demanding(RevisionDraft),
	drafted("err as a map", func(f fields) fields {
		if f.get("err") != nil {
			return f.with("err", fields{"code", f.get("err")})
		}
		return f
	}).in("client-unknown"),
}

// drafted is a client of the drafts' form whose packets are changed.
func drafted(name string, change func(f fields) fields) clientDefect {
	return clientDefect{defect: defect{clause: "T-9.7", only: everyClient, name: name}, drafts: inDrafts(change)}
}

// demanding is a client that is tested in that form.
func (d clientDefect) demanding(form Revision) clientDefect {
	d.form = form
	return d
}

// in is a client that another scenario catches.
func (d clientDefect) in(scenario string) clientDefect {
	d.only = scenario
	return d
}

// inDrafts puts each connection into the drafts' form, and changes what is sent then; nil changes nothing.
func inDrafts(change func(f fields) fields) func(int, net.Conn) *draftConn {
	return func(_ int, node net.Conn) *draftConn { return &draftConn{Conn: node, change: change} }
}

// A draftConn is the connection between a client of the seed's form and a node that hears the drafts'.
type draftConn struct {
	net.Conn
	change func(fields) fields // of a packet in the drafts' form; or nil
	ver    any                 // the node's, from HANDSHAKE's response; the reader's
	part   *frame              // of a packet in fragments; the reader's
}

// Write sends a whole frame of the client.
func (c *draftConn) Write(b []byte) (int, error) {
	f, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return 0, err
	}
	packet, err := unpackFields(f.payload)
	if f.opcode != opBinary || err != nil {
		return c.Conn.Write(b)
	}
	ver := packet.get("ver")
	packet = packet.without("ver")
	if number(packet, "pakt") != pktResponse {
		switch number(packet, "reqt") {
		case reqHandshake:
			packet = packet.without("body").with("body", fields{"ver", ver})
		case reqForward:
			packet = packet.with("reqt", draftForward)
		case reqGetNodeKey:
			packet = packet.with("reqt", draftGetNodeKey)
		}
	}
	if packet.get("err") != nil {
		packet = packet.with("err", packet.part("err").get("code"))
	}
	if c.change != nil {
		v, err := unpackFields(packet.pack()) // with all values encoded
		if err != nil {
			return 0, err
		}
		packet = c.change(v)
	}
	if _, err := c.Conn.Write(clientFrame(true, opBinary, packet.pack())); err != nil {
		return 0, err
	}
	return len(b), nil
}

// heard turns a frame of the node into one of the seed's form. What comes in fragments is put together;
// until the last has come there is none.
func (c *draftConn) heard(f frame) []frame {
	switch {
	case f.opcode == opBinary && !f.final:
		c.part = &f
		return nil
	case f.opcode == opContinuation && c.part != nil:
		c.part.payload = append(c.part.payload, f.payload...)
		if !f.final {
			return nil
		}
		f = *c.part
		f.final, c.part = true, nil
	case f.opcode != opBinary:
		return []frame{f}
	}
	root, err := unpack(f.payload)
	if err != nil || root.kind != kindMap {
		return []frame{f}
	}
	packet, behind := root.fields(f.payload), f.payload[root.end:]
	if body := packet.part("body"); c.ver == nil && body.get("comp") != nil {
		c.ver = body.get("ver")
	}
	switch ver := packet.get("ver"); {
	case c.ver == nil:
		return []frame{f}
	case ver != nil: // is an unknown key, which this client is to see as one
		packet = append(packet.without("ver"), "unknown", ver)
	}
	if code, is := packet.get("err").(raw); is && number(packet, "err") >= 0 {
		packet = packet.with("err", fields{"code", code})
	}
	f.payload = append(append(fields{"ver", c.ver}, packet...).pack(), behind...)
	return []frame{f}
}
