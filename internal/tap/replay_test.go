package tap

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// recording records what conversation does with a node.
func recording(t *testing.T, n *tipttest.Node, secrets bool, conversation func(t *testing.T, tapped *tipttest.Node)) string {
	t.Helper()
	var record bytes.Buffer
	recorder, err := NewRecorder(&record, "wss://node.example/ws", secrets)
	if err != nil {
		t.Fatal(err)
	}
	tap := New(Options{Record: recorder, Secrets: secrets, Failed: func(err error) { t.Error(err) }})
	addr, stop := startProxy(t, n.CA, n.Addr, tap)
	t.Run("recorded", func(t *testing.T) {
		conversation(t, &tipttest.Node{Name: n.Name, Addr: addr, CA: n.CA})
	})
	stop()
	return record.String()
}

// replay replays a record.
func replay(t *testing.T, n *tipttest.Node, record string, secrets map[int]string) (Result, error) {
	t.Helper()
	head, lines, err := ReadRecord(strings.NewReader(record))
	if err != nil {
		t.Fatalf("%v in\n%s", err, record)
	}
	r := Replay{Head: head, Lines: lines, Target: targetOf(n.CA, n.Addr), Secrets: secrets, Wait: 2 * time.Second}
	return r.Run(t.Context())
}

// texts are differences as they are printed.
func texts(result Result) string {
	var b strings.Builder
	for _, d := range result.Differences {
		b.WriteString(d.Said + "\n" + strings.Join(d.Lines(), "\n") + "\n")
	}
	return b.String() + strings.Join(result.Notes, "\n")
}

// everything is a conversation with most that may occur in one, with an account that exists, and leaves
// the node as it found it.
func everything(t *testing.T, n *tipttest.Node) {
	c := n.Dial(t).Greet()
	c.Ask(200, tipt.RequestGetInfo, nil)
	c.WantReply(200)
	c.Ask(1, tipt.RequestSignIn, tipt.SignInRequest{User: "ada", Password: "a wrong password", Device: "d"}.Append(nil))
	c.WantError(1, tipt.ErrCredentials)
	token := c.SignInAs(tipt.SignInRequest{User: "ada", Password: password, Device: "d", Receive: true}).Token
	c.Ask(2, tipt.RequestListDevices, nil)
	c.WantReply(2)
	c.SendBytes(unhex(t, "84 "+ver+"a2'id' 09 a4'pakt' 00 a4'reqt' cd0003"))
	c.WantError(9, tipt.ErrMalformed)
	c.Ask(3, tipt.RequestForward, tipt.ForwardRequest{Node: string(n.Name), Wait: true, Sealed: []byte("not sealed")}.Append(nil))
	c.WantError(3, tipt.ErrNodeRefused)
	c.Ask(4, tipt.RequestForward, tipt.ForwardRequest{Node: string(n.Name), Sealed: []byte("not sealed"), Ref: new(tipt.MessageID)}.Append(nil))
	c.WantReply(4)
	id, _ := c.WantReturn()
	c.Answer(id, nil)
	c.Ask(5, tipt.RequestGetInfo, nil) // the RETURN has been taken then
	c.WantReply(5)

	again := n.DialPath(t, "/another")
	again.Greet()
	again.SignInAs(tipt.SignInRequest{User: "ada", Token: token, HasToken: true, Device: "d", Receive: true})
	c.WantClose(tipt.CloseReplaced)
	again.SendText("hello")
	again.WantClose(tipt.CloseText)
	drafts := n.Dial(t)
	drafts.Revision = tipt.RevisionDraft
	drafts.Greet()
	drafts.Ask(7, tipt.RequestGetInfo, nil)
	drafts.WantReply(7)
	drafts.Ask(8, tipt.RequestForward, nil)
	drafts.WantError(8, tipt.ErrSignInRequired)
	n.Dial(t).Greet().Ping()
}

func newRecorded(t *testing.T) *tipttest.Node {
	n := tipttest.Start(t)
	n.Register(t, "ada", password)
	c := n.Dial(t).Greet()
	c.SignInAs(tipt.SignInRequest{User: "ada", Password: password, Device: "d", Receive: true})
	c.Hang()
	return n
}

func TestReplay(t *testing.T) {
	n := newRecorded(t)
	for _, secrets := range []bool{false, true} {
		record := recording(t, n, secrets, everything)
		if holds(record, password) != secrets {
			t.Errorf("secrets %v, but the record has the password: %v", secrets, !secrets)
		}
		given := map[int]string{2: password}
		if secrets {
			given = nil
		}
		result, err := replay(t, n, record, given)
		if err != nil || len(result.Differences) > 0 || len(result.Notes) > 0 {
			t.Errorf("secrets %v: %v\n%s", secrets, err, texts(result))
		}
		if result.Compared < 15 {
			t.Errorf("only %d things compared", result.Compared)
		}
	}
}

func TestReplayNeedsSecrets(t *testing.T) {
	n := newRecorded(t)
	record := recording(t, n, false, everything)
	_, err := replay(t, n, record, nil)
	if missing, ok := errors.AsType[*MissingError](err); !ok || len(missing.Secrets) != 1 || !strings.Contains(missing.Secrets[0], "secret 2, `pass` in line ") {
		t.Errorf("got %v, want that secret 2 is missing", err)
	}
	// One of another length is as good for the replay; the node then says something else.
	result, err := replay(t, n, record, map[int]string{2: "a password that is none and much longer than what was recorded"})
	if err != nil || !strings.Contains(texts(result), "+ err.code: CREDENTIALS") || !strings.Contains(texts(result), "it needs secret") {
		t.Errorf("%v\n%s", err, texts(result))
	}
}

// A replay makes up the password of an account that the record registers, and says what is amiss when
// there is that account.
func TestReplayRegisters(t *testing.T) {
	n := tipttest.Start(t)
	record := recording(t, n, false, func(t *testing.T, n *tipttest.Node) {
		c := n.Dial(t).Greet()
		c.Ask(0, tipt.RequestRegister, tipt.RegisterRequest{User: "eve", Password: password}.Append(nil))
		c.WantReply(0)
		c.Ask(1, tipt.RequestSignIn, tipt.SignInRequest{User: "eve", Password: password[1:] + "?", Device: "d"}.Append(nil))
		c.WantError(1, tipt.ErrCredentials) // a password of the same length, which stays another one
		c.SignInAs(tipt.SignInRequest{User: "eve", Password: password, Device: "d"})
	})
	result, err := replay(t, tipttest.Start(t), record, nil)
	if err != nil || len(result.Differences) > 0 {
		t.Errorf("another node: %v\n%s", err, texts(result))
	}
	result, err = replay(t, n, record, nil)
	if text := texts(result); err != nil || !strings.Contains(text, "+ err.code: NAME_TAKEN") || !strings.Contains(text, "copy of its data folder") {
		t.Errorf("the same node: %v\n%s", err, text)
	}
}

// Of a node with another key the replay says once what that means.
func TestReplayToAnotherKey(t *testing.T) {
	recorded := newRecorded(t)
	record := recording(t, recorded, true, func(t *testing.T, n *tipttest.Node) {
		c := n.Dial(t).Greet()
		c.SignInAs(tipt.SignInRequest{User: "ada", Password: password, Device: "d"})
		for id := range uint8(2) {
			c.Ask(id, tipt.RequestForward, recorded.Message(t, "nobody", tipt.NewMessageID(), "hello", true))
			c.WantReply(id)
		}
	})
	result, err := replay(t, newRecorded(t), record, nil)
	if text := texts(result); err != nil || len(result.Differences) != 2 || strings.Count(text, "sealed to another key than the node's: start from a copy") != 1 {
		t.Errorf("%v\n%s", err, text)
	}
}

// A node that says something else is found out.
func TestReplayDiffers(t *testing.T) {
	n := newRecorded(t)
	record := recording(t, n, true, everything)
	for name, tt := range map[string]struct{ old, changed, want string }{
		"error code":    {hexOf("\xa4code\x18"), hexOf("\xa4code\x08"), "- err.code: BUSY\n+ err.code: CREDENTIALS"},
		"address":       {hexOf("ada@node.example"), hexOf("eva@node.example"), `- body.addr: "eva@node.example"`},
		"comp":          {hexOf("\xa4comp\xc3"), hexOf("\xa4comp\xc2"), "- body.comp: false\n+ body.comp: true"},
		"close code":    {`"close","hex":"0fa1`, `"close","hex":"0fa2`, "- close 4002\n+ close 4001"},
		"another ref":   {hexOf("\xa3ref\xc4\x10\x00"), hexOf("\xa3ref\xc4\x10\x01"), ""},
		"drafts' error": {hexOf("\xa2id\x08\xa4pakt\x01\xa3err\x06"), hexOf("\xa2id\x08\xa4pakt\x01\xa3err\x07"), "- err: SIGNED_IN\n+ err: SIGN_IN_REQUIRED"},
		"a body less":   {hexOf("\xa4body\x81\xa4devs\x91"), hexOf("\xa4body\x81\xa4devs\x90"), ""},
		"other path":    {`"status":101`, `"status":503`, "- status 503\n+ status 101"},
		"other answer":  {hexOf("\xa4pakt\x01\xa3err\x82\xa4code\x23"), hexOf("\xa4pakt\x01\xa3err\x82\xa4code\x24"), "- err.code: OUTBOX_FULL\n+ err.code: NODE_REFUSED"},
	} {
		changed := strings.ReplaceAll(record, tt.old, tt.changed)
		if changed == record {
			t.Errorf("%s: there is no %s in the record", name, tt.old)
			continue
		}
		result, err := replay(t, n, changed, nil)
		if name == "another ref" { // the client's own, too: what comes back is what was sent
			if err != nil || len(result.Differences) > 0 {
				t.Errorf("%s: %v\n%s", name, err, texts(result))
			}
			continue
		}
		if err != nil || len(result.Differences) == 0 || !strings.Contains(texts(result), tt.want) {
			t.Errorf("%s: %v, no %q in\n%s", name, err, tt.want, texts(result))
		}
	}
	// A response that does not come is waited for, and no longer than that.
	var lines []string
	for line := range strings.Lines(record) {
		if !strings.Contains(line, "REQUEST #2 LIST_DEVICES") {
			lines = append(lines, line)
		}
	}
	result, err := replay(t, n, strings.Join(lines, ""), nil)
	if err != nil || !strings.Contains(texts(result), "- RESPONSE #2 to nothing\n+ nothing else within 2s") {
		t.Errorf("without a request: %v\n%s", err, texts(result))
	}
	// One that comes and was not recorded is a difference, too.
	lines = slices.DeleteFunc(strings.SplitAfter(record, "\n"), func(line string) bool { return strings.Contains(line, "RESPONSE #200 GET_INFO") })
	result, err = replay(t, n, strings.Join(lines, ""), nil)
	if err != nil || !strings.Contains(texts(result), "+ RESPONSE #200 GET_INFO") {
		t.Errorf("without a response: %v\n%s", err, texts(result))
	}
}

// The node may use other ids for its requests than it did.
func TestReplayAnswersByID(t *testing.T) {
	n := newRecorded(t)
	var lines []string
	changed := 0
	for line := range strings.Lines(recording(t, n, true, everything)) {
		if strings.Contains(line, "REQUEST #0 RETURN") || strings.Contains(line, "RESPONSE #0 RETURN") {
			line = strings.Replace(line, hexOf("\xa2id\x00"), hexOf("\xa2id\xcc\x99"), 1)
			changed++
		}
		lines = append(lines, line)
	}
	result, err := replay(t, n, strings.Join(lines, ""), nil)
	if err != nil || changed != 2 || len(result.Differences) > 0 {
		t.Errorf("%d lines changed, %v\n%s", changed, err, texts(result))
	}
}

func hexOf(s string) string { return strings.ReplaceAll(spaced(s), " ", "") }

func TestReplayWithoutNode(t *testing.T) {
	n := newRecorded(t)
	record := recording(t, n, true, everything)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	n.Addr = gone.Addr().String()
	if _, err := replay(t, n, record, nil); err == nil || !strings.Contains(err.Error(), "line 2: connect to the node") {
		t.Errorf("got %v", err)
	}
}

// What has the same meaning is no difference, and what has not is one.
func TestMeaning(t *testing.T) {
	info := func(rest string) string { return "84 " + ver + "a2'id' 01 a4'pakt' 01 a4'body' " + rest }
	response := info("84 a4'node' a3'b.c' a4'soft' a1'x' a3'reg' 00 a4'time' 05")
	for _, tt := range []struct {
		name, a, b string
		same       bool
	}{
		{"order of keys", response, info("84 a4'time' 05 a3'reg' 00 a4'soft' a1'x' a4'node' a3'b.c'"), true},
		{"widths", response, info("de0004 a4'node' d903'b.c' a4'soft' a1'x' a3'reg' 00 a4'time' ce00000005"), true},
		{"time and software", response, info("84 a4'node' a3'b.c' a4'soft' a1'y' a3'reg' 00 a4'time' cd0100"), true},
		{"version", response, "84 a3'ver' a5'1.2.0' a2'id' 01 a4'pakt' 01 a4'body' 84 a4'node' a3'b.c' a4'soft' a1'x' a3'reg' 00 a4'time' 05", true},
		{"no version", response, "83 a2'id' 01 a4'pakt' 01 a4'body' 84 a4'node' a3'b.c' a4'soft' a1'x' a3'reg' 00 a4'time' 05", false},
		{"time of another type", response, info("84 a4'node' a3'b.c' a4'soft' a1'x' a3'reg' 00 a4'time' a105"), false},
		{"node", response, info("84 a4'node' a3'b.d' a4'soft' a1'x' a3'reg' 00 a4'time' 05"), false},
		{"registration", response, info("84 a4'node' a3'b.c' a4'soft' a1'x' a3'reg' 01 a4'time' 05"), false},
		{"one key less", response, info("83 a4'node' a3'b.c' a4'soft' a1'x' a4'time' 05"), false},
		{"one key more", response, info("85 a4'node' a3'b.c' a4'soft' a1'x' a3'reg' 00 a4'time' 05 a1'k' c0"), false},
		{"error instead", response, "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 81 a4'code' 00", false},
		{"text of errors", "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 82 a4'code' 08 a3'msg' a1'a'", "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 81 a4'code' 08", true},
		{"wait of errors", "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 82 a4'code' 08 a4'wait' 05", "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 82 a4'code' 08 a4'wait' 06", true},
		{"no wait", "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 82 a4'code' 08 a4'wait' 05", "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 81 a4'code' 08", false},
	} {
		var said [2][]string
		for i, packet := range []string{tt.a, tt.b} {
			c := NewConversation(NewSecrets())
			c.Read(true, unhex(t, handshake))
			c.Read(true, unhex(t, "84 "+ver+"a2'id' 01 a4'pakt' 00 a4'reqt' 03"))
			b := unhex(t, packet)
			p := c.Read(false, b)
			said[i] = p.meaning(b)
		}
		if d := differences(said[0], said[1]); (len(d) == 0) != tt.same {
			t.Errorf("%s: the same %v, want %v: %q", tt.name, !tt.same, tt.same, d)
		}
	}
}
