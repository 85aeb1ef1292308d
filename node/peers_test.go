package node_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
	"github.com/tipt/tipt-go/peer"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
	"github.com/tipt/tipt-go/store/sqlite"
)

const (
	nodeA tipt.NodeName = "a.example"
	nodeB tipt.NodeName = "b.example"
)

// newTwo starts two nodes: alice is a user of a, bob of b.
func newTwo(t *testing.T, configure ...func(*node.Config)) (a, b *tipttest.Node) {
	t.Helper()
	nodes := tipttest.StartNetwork(t, []tipt.NodeName{nodeA, nodeB}, configure...)
	a, b = nodes[nodeA], nodes[nodeB]
	a.Register(t, "alice", "alice's password")
	b.Register(t, "bob", "bob's password")
	return a, b
}

func TestForwardToAnotherNode(t *testing.T) {
	a, b := newTwo(t)
	alice, bob := signIn(t, a, "alice"), signIn(t, b, "bob")
	for i, wait := range []bool{true, false} {
		mid := tipt.NewMessageID()
		alice.Ask(uint8(i), tipt.RequestForward, b.Message(t, "bob", mid, "hello", wait))
		response := alice.WantReply(uint8(i))
		if wait {
			var forwarded tipt.ForwardResponse
			var answer tipt.ForwardAnswer
			if err := forwarded.Parse(response.Body, false); err != nil {
				t.Fatal(err)
			}
			if err := answer.Parse(forwarded.Response); err != nil || answer.Err != nil {
				t.Errorf("answer %+v, %v", answer, err)
			}
		}
		id, d := bob.WantDeliver()
		if d.ID != mid || d.From != "alice@a.example" || string(d.Message) != "hello" {
			t.Errorf("delivered %+v", d)
		}
		bob.Answer(id, nil)
	}
}

func TestOrderAcrossNodes(t *testing.T) {
	a, b := newTwo(t)
	alice, bob := signIn(t, a, "alice"), signIn(t, b, "bob")
	for i := range 256 {
		alice.Ask(uint8(i), tipt.RequestForward, b.Message(t, "bob", tipt.NewMessageID(), fmt.Sprint(i), false))
	}
	for i := range 256 {
		alice.WantReply(uint8(i))
	}
	for i := range 256 {
		id, d := bob.WantDeliver()
		if string(d.Message) != fmt.Sprint(i) {
			t.Fatalf("delivered %q as number %d", d.Message, i)
		}
		bob.Answer(id, nil)
	}
}

// TestForwardWhileTheDestinationIsDown accepts messages for a node that is not there, restarts
// the node that holds them, and finds them delivered when the destination comes.
func TestForwardWhileTheDestinationIsDown(t *testing.T) {
	a, b := newTwo(t)
	alice := signIn(t, a, "alice")
	b.Stop()
	for i := range 3 {
		alice.Ask(uint8(i), tipt.RequestForward, b.Message(t, "bob", tipt.NewMessageID(), fmt.Sprint(i), false))
		alice.WantReply(uint8(i))
	}
	alice.Ask(9, tipt.RequestForward, b.Message(t, "bob", tipt.NewMessageID(), "now or never", true))
	alice.WantError(9, tipt.ErrNodeUnreachable)
	alice.Hang()
	a.Restart(t)
	b.Again(t)
	bob := signIn(t, b, "bob")
	for i := range 3 {
		id, d := bob.WantDeliver()
		if string(d.Message) != fmt.Sprint(i) {
			t.Fatalf("delivered %q as number %d", d.Message, i)
		}
		bob.Answer(id, nil)
	}
}

// TestHeard has a node that is paused for an hour call: what waits for it goes at once.
func TestHeard(t *testing.T) {
	a, b := newTwo(t)
	alice := signIn(t, a, "alice")
	b.Stop()
	alice.Ask(1, tipt.RequestForward, b.Message(t, "bob", tipt.NewMessageID(), "waits", false))
	alice.WantReply(1)
	alice.Hang()
	a.Stop()
	st, err := sqlite.Open(a.Dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pause := store.NodePause{Node: nodeB, Attempts: 10, Next: time.Now().Add(time.Hour), Reason: "down"}
	if err := errors.Join(st.Commit(t.Context(), []store.Op{&store.PauseNode{Pause: pause}}), st.Close()); err != nil {
		t.Fatal(err)
	}
	b.Again(t)
	a.Again(t)
	bob := signIn(t, b, "bob")
	list := waiting(t, a, func(list []peer.Waiting) bool { return len(list) == 1 })
	if list[0].Entries != 1 || time.Until(list[0].Next) < 50*time.Minute || list[0].Reason != "down" {
		t.Errorf("listed %+v", list)
	}
	bob.Ask(1, tipt.RequestForward, a.Message(t, "alice", tipt.NewMessageID(), "I am back", true))
	bob.WantReply(1)
	if id, d := bob.WantDeliver(); string(d.Message) != "waits" {
		t.Errorf("delivered %q", d.Message)
	} else {
		bob.Answer(id, nil)
	}
}

// TestDeletedSender has somebody write and delete the account: what waits is still sent
// (section 4, DELETE_ACCOUNT), and what would come back is dropped.
func TestDeletedSender(t *testing.T) {
	a, b := newTwo(t)
	alice := signIn(t, a, "alice")
	b.Stop()
	for i, to := range []string{"nobody", "bob"} {
		alice.Ask(uint8(i), tipt.RequestForward, b.Message(t, to, tipt.NewMessageID(), "farewell", false))
		alice.WantReply(uint8(i))
	}
	alice.Ask(9, tipt.RequestDeleteAccount, tipt.DeleteAccountRequest{Password: "alice's password"}.Append(nil))
	alice.WantReply(9)
	alice.Hang()
	b.Again(t)
	bob := signIn(t, b, "bob")
	var ok node.AdminQueue
	if status := admin(t, a, http.MethodPost, "/queue/"+string(nodeB)+"/retry", &ok); status != http.StatusOK {
		t.Errorf("retry: %d", status)
	}
	id, d := bob.WantDeliver()
	if d.From != "alice@a.example" || string(d.Message) != "farewell" {
		t.Errorf("delivered %+v", d)
	}
	bob.Answer(id, nil)
	waiting(t, a, func(list []peer.Waiting) bool { return len(list) == 0 })
}

func TestReturnsFromAnotherNode(t *testing.T) {
	a, b := newTwo(t)
	alice := signIn(t, a, "alice")
	other, err := seal.ParseCertificate(a.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Seal([]byte{0x80}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		name   string
		sealed []byte
		code   tipt.ErrorCode
		resp   tipt.ForwardErrorCode
	}{
		{name: "no such user", sealed: b.Seal(t, message("carol")), resp: tipt.ErrNoSuchUser},
		{name: "another key", sealed: foreign, resp: tipt.ErrCannotOpen},
		{name: "no OpenPGP", sealed: []byte("no OpenPGP"), code: tipt.ErrNodeRefused},
	} {
		ref := tipt.NewMessageID()
		body := tipt.ForwardRequest{Node: string(nodeB), Sealed: test.sealed, Ref: &ref}
		alice.Ask(uint8(i), tipt.RequestForward, body.Append(nil))
		alice.WantReply(uint8(i))
		id, r := alice.WantReturn()
		alice.Answer(id, nil)
		if r.Ref == nil || *r.Ref != ref || r.Node != string(nodeB) || r.HasCode != (test.code != 0) || r.Code != test.code {
			t.Errorf("%s: RETURN %+v", test.name, r)
		}
		if test.resp != 0 {
			wantRefusal(t, test.name, r.Response, test.resp)
		}
		body.Wait = true
		alice.Ask(uint8(i), tipt.RequestForward, body.Append(nil))
		if test.code != 0 {
			alice.WantError(uint8(i), test.code)
			continue
		}
		var response tipt.ForwardResponse
		if err := response.Parse(alice.WantReply(uint8(i)).Body, false); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, test.name, response.Response, test.resp)
	}
	alice.WantQuiet(99)
}

func TestGetKeyOfAnotherNode(t *testing.T) {
	a, b := newTwo(t)
	alice := signIn(t, a, "alice")
	for i, fresh := range []bool{false, true, false} {
		alice.Ask(uint8(i), tipt.RequestGetNodeKey, tipt.GetNodeKeyRequest{Node: "B.example", New: fresh}.Append(nil))
		var response tipt.GetNodeKeyResponse
		if err := response.Parse(alice.WantReply(uint8(i)).Body, false); err != nil {
			t.Fatal(err)
		}
		if string(response.Key) != string(b.Certificate()) {
			t.Error("another key")
		}
	}
}

// TestReplay sends a vouched request twice, as somebody could who recorded it: it is answered
// twice and stored once.
func TestReplay(t *testing.T) {
	a, b := newTwo(t)
	bob := signIn(t, b, "bob")
	key, err := node.LoadKey(a.Dir, nodeA)
	if err != nil {
		t.Fatal(err)
	}
	var sealed tipt.ForwardRequest
	if err := sealed.Parse(b.Message(t, "bob", tipt.NewMessageID(), "once", false), false); err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	peer.AddVouch(header, key, nodeB, tipt.Address{User: "alice", Node: nodeA}, sealed.Sealed, time.Now())
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: b.Pool(), ServerName: string(nodeB), MinVersion: tls.VersionTLS12},
	}}
	defer client.CloseIdleConnections()
	for i := range 3 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+b.Addr+"/api/forward", bytes.NewReader(sealed.Sealed))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header.Clone()
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		var answer tipt.ForwardAnswer
		if err != nil || response.StatusCode != 200 || answer.Parse(body) != nil || answer.Err != nil || answer.Body != nil {
			t.Errorf("number %d: %d %q, %v", i, response.StatusCode, body, err)
		}
	}
	id, d := bob.WantDeliver()
	if d.From != "alice@a.example" || string(d.Message) != "once" {
		t.Errorf("delivered %+v", d)
	}
	bob.Answer(id, nil)
	bob.WantQuiet(9)
}
