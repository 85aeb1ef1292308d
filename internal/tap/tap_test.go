package tap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tipt/tipt-go"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unhex reads hex with spaces, in which text stands in quotes: a3'ver' a5'1.0.0'.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		digits, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", part, err)
		}
		b = append(b, digits...)
	}
	return b
}

const (
	ver       = "a3'ver' a5'1.0.0' "
	handshake = "84 " + ver + "a2'id' 00 a4'pakt' 00 a4'reqt' 00"
	greeting  = "84 " + ver + "a2'id' 00 a4'pakt' 01 a4'body' 82 a3'ver' a5'1.0.0' a4'comp' c3"
)

// notes are what is said about the last of some packets; "<" is before those of the node.
func notes(t *testing.T, packets ...string) (p Packet, clauses []string) {
	t.Helper()
	c := NewConversation(NewSecrets())
	for _, packet := range packets {
		line, fromNode := strings.CutPrefix(packet, "<")
		p = c.Read(!fromNode, unhex(t, line))
	}
	for _, n := range p.Notes {
		clauses = append(clauses, n.Clause)
	}
	return p, clauses
}

func TestRead(t *testing.T) {
	info := "84 " + ver + "a2'id' 01 a4'pakt' 00 a4'reqt' 03"
	for _, tt := range []struct {
		title   string
		packets []string
		clauses string
	}{
		{"REQUEST #0 HANDSHAKE", []string{handshake}, ""},
		{"RESPONSE #0 HANDSHAKE", []string{handshake, "<" + greeting}, ""},
		{"RESPONSE #0 to nothing", []string{"<" + greeting}, "T-3.1"},
		{"RESPONSE #0 to nothing", []string{handshake, "<" + greeting, "<" + greeting}, "T-3.1"},
		{"RESPONSE #5 to nothing", []string{handshake, "83 " + ver + "a2'id' 05 a4'pakt' 01"}, "T-3.12"},
		{"REQUEST #1 GET_INFO", []string{info}, "T-3.37"},
		{"REQUEST #1 GET_INFO", []string{handshake, info, info}, "T-3.11"},
		{"REQUEST #1 0x15", []string{handshake, "84 " + ver + "a2'id' 01 a4'pakt' 00 a4'reqt' 15"}, ""},
		{"RESPONSE #1 GET_INFO, error BUSY", []string{handshake, info, "<84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 81 a4'code' 08"}, ""},
		{"REQUEST #0 HANDSHAKE", []string{"84 " + ver + "a2'id' cc00 a4'pakt' 00 a4'reqt' 00"}, "T-2.70"},
		{"MALFORMED REQUEST #0 HANDSHAKE", []string{"84 " + ver + "a2'id' 00 a4'pakt' 00 a4'reqt' cd0000"}, "T-2.5 T-2.70"},
		{"MALFORMED", []string{"84 " + ver + "a2'id' cd0001 a4'pakt' 00 a4'reqt' 00"}, "T-2.12 T-3.5 T-2.70"},
		{"MALFORMED REQUEST #0 HANDSHAKE", []string{"83 a2'id' 00 a4'pakt' 00 a4'reqt' 00"}, "T-2.3"},
		{"MALFORMED REQUEST #0 HANDSHAKE", []string{"85 " + ver + "a2'id' 00 a4'pakt' 00 a4'reqt' 00 a4'more' 00"}, "T-2.24"},
		{"REQUEST #0 HANDSHAKE", []string{"85 a3'ver' a5'1.0.1' a2'id' 00 a4'pakt' 00 a4'reqt' 00 a4'more' 00"}, "T-2.25"},
		{"REQUEST #1 REMOVE_DEVICE", []string{"85 a3'ver' a5'1.0.1' a2'id' 01 a4'pakt' 00 a4'reqt' 42 a4'body' 82 a3'dev' a1'd' a3'why' a1'x'"}, "T-3.37 T-2.25"},
		{"MALFORMED 0x07 #0", []string{"84 " + ver + "a2'id' 00 a4'pakt' 07 a4'reqt' 00"}, "T-3.7 T-3.7"},
		{"MALFORMED", []string{"c1"}, "T-2.23 T-3.5"},
		{"MALFORMED", []string{""}, "T-2.20 T-3.5"},
		{"MALFORMED REQUEST #0 HANDSHAKE", []string{handshake + "00"}, "T-2.18"},
		// A node's packets, which a client has to refuse.
		{"MALFORMED", []string{"<84 " + ver + "a2'id' cd0001 a4'pakt' 00 a4'reqt' 00"}, "T-2.1 T-3.73 T-2.10"},
		{"MALFORMED 0x07 #0", []string{"<84 " + ver + "a2'id' 00 a4'pakt' 07 a4'reqt' 00"}, "T-2.1 T-3.73"},
		{"MALFORMED RESPONSE #0 HANDSHAKE", []string{handshake, "<84 " + ver + "a2'id' 00 a4'pakt' 01 a4'reqt' 00"}, "T-2.4 T-3.73"},
		{"MALFORMED RESPONSE #9 DELIVER", []string{
			handshake, "<85 " + ver + "a2'id' 09 a4'pakt' 00 a4'reqt' 00 a4'body' 80", "84 " + ver + "a2'id' 09 a4'pakt' 01 a4'reqt' 00",
		}, "T-3.8 T-3.8"},
		{"REQUEST #9 DELIVER", []string{"<85 " + ver + "a2'id' 09 a4'pakt' 00 a4'reqt' 00 a4'body' 80"}, "T-4.74"},
		{"REQUEST #1 SIGN_IN", []string{handshake, "85 " + ver + "a2'id' 01 a4'pakt' 00 a4'reqt' 02 a4'body' 81 a4'user' a1'a'"}, "T-4.22"},
		{"REQUEST #1 REGISTER", []string{handshake, "85 " + ver + "a2'id' 01 a4'pakt' 00 a4'reqt' 01 a4'body' 82 a4'user' a1'a' a4'pass' c405'eight'"}, "T-2.13"},
		{"REQUEST #1 GET_INFO", []string{handshake, "84 a3'ver' a5'1.0.2' a2'id' 01 a4'pakt' 00 a4'reqt' 03"}, "T-3.27"},
		{"EVENT GOING_AWAY", []string{"<85 " + ver + "a2'id' 00 a4'pakt' 02 a4'reqt' 00 a4'body' 81 a4'wait' 05"}, ""},
		// The later drafts: chosen by the HANDSHAKE.
		{"REQUEST #0 HANDSHAKE", []string{"84 a2'id' 00 a4'pakt' 00 a4'reqt' 00 a4'body' 81 a3'ver' a5'1.0.0'"}, ""},
		{"REQUEST #1 FORWARD", []string{
			"84 a2'id' 00 a4'pakt' 00 a4'reqt' 00 a4'body' 81 a3'ver' a5'1.0.0'", "<83 a2'id' 00 a4'pakt' 01 a4'body' 82 a3'ver' a5'1.0.0' a4'comp' c3",
			"84 a2'id' 01 a4'pakt' 00 a4'reqt' 21 a4'body' 83 a4'node' a3'b.c' a4'wait' c3 a3'msg' c400",
		}, ""},
		{"RESPONSE #0 HANDSHAKE, error MALFORMED", []string{
			"84 a2'id' 00 a4'pakt' 00 a4'reqt' 00 a4'body' 81 a3'ver' a5'1.0.0'", "<83 a2'id' 00 a4'pakt' 01 a3'err' 01",
		}, ""},
	} {
		p, clauses := notes(t, tt.packets...)
		if p.Title != tt.title {
			t.Errorf("%s: the title is %q", tt.title, p.Title)
		}
		if got := strings.Join(clauses, " "); strings.TrimSpace(got) != tt.clauses {
			t.Errorf("%s %s: notes about %q, want %q: %+v", tt.title, tt.packets[len(tt.packets)-1], got, tt.clauses, p.Notes)
		}
	}
}

// Every clause that the package names is one.
func TestClauses(t *testing.T) {
	page, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range regexp.MustCompile(`T-\d+\.\d+`).FindAll(b, -1) {
			if found++; !bytes.Contains(page, []byte("**"+string(id)+"** ")) {
				t.Errorf("%s names %s, which docs/conformance.md does not", name, id)
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d clauses found", found)
	}
}

const password = "correct horse"

// signIn is a SIGN_IN with the password.
func signIn(t testing.TB) []byte {
	return unhex(t, "85 "+ver+"a2'id' 01 a4'pakt' 00 a4'reqt' 02 a4'body' 83 a4'user' a3'ada' a3'dev' a1'd' a4'pass' ad'"+password+"'")
}

// shown is all that is shown and recorded of some crossings.
func shown(t *testing.T, secrets bool, crossings ...Crossing) (view, record string) {
	t.Helper()
	var v, r bytes.Buffer
	recorder, err := NewRecorder(&r, "wss://node.example/ws", secrets)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{Viewer: &Viewer{Out: &v}, Record: recorder, Secrets: secrets, Failed: func(err error) { t.Error(err) }}).Connection()
	for _, x := range crossings {
		c.Cross(x)
	}
	return v.String(), r.String()
}

// holds reports whether a text has four bytes of the secret one after the other, as text or in hex.
func holds(text, secret string) bool {
	for i := 0; i+4 <= len(secret); i++ {
		part := secret[i : i+4]
		if strings.Contains(text, part) || strings.Contains(text, hex.EncodeToString([]byte(part))) || strings.Contains(text, spaced(part)) {
			return true
		}
	}
	return false
}

func spaced(s string) string {
	var digits []string
	for _, c := range []byte(s) {
		digits = append(digits, hex.EncodeToString([]byte{c}))
	}
	return strings.Join(digits, " ")
}

func TestSecretsAreMasked(t *testing.T) {
	good := signIn(t)
	crossings := map[string][]Crossing{
		"packet":          {{ToNode: true, Kind: Binary, Bytes: good}},
		"bytes behind":    {{ToNode: true, Kind: Binary, Bytes: append(slices.Clone(good), 0xc1)}},
		"bytes before":    {{ToNode: true, Kind: Binary, Bytes: append([]byte{0xc1}, good...)}},
		"broken frame":    {{ToNode: true, Kind: Broken, Bytes: append([]byte{0xf2, 0xff, 0, 0, 0, 0}, good...)}},
		"text":            {{ToNode: true, Kind: Text, Bytes: []byte(`{"user": "ada", "pass" : "` + password + `"}`)}},
		"repeated":        {{ToNode: true, Kind: Binary, Bytes: good}, {Kind: Text, Bytes: []byte("no, it is " + password + "!")}},
		"reason of close": {{ToNode: true, Kind: Binary, Bytes: good}, {Kind: Close, Bytes: []byte("\x03\xea" + password)}},
		"under a list":    {{ToNode: true, Kind: Binary, Bytes: unhex(t, "81 a3'new' 92 81 a1'x' ad'"+password+"' 00")}},
		"as a binary":     {{ToNode: true, Kind: Binary, Bytes: unhex(t, "81 d903'old' c40d'"+password+"'")}},
		"token":           {{Kind: Binary, Bytes: unhex(t, "84 "+ver+"a2'id' 01 a4'pakt' 01 a4'body' 82 a4'addr' a1'a' a3'tok' c40d'"+password+"'")}},
		"invitation":      {{ToNode: true, Kind: Binary, Bytes: unhex(t, "81 a3'inv' ad'"+password+"'")}},
	}
	for n := range good {
		crossings["cut after "+time.Duration(n).String()] = []Crossing{{ToNode: true, Kind: Partial, Bytes: good[:n]}, {ToNode: true, Kind: Binary, Bytes: good[:n]}}
	}
	for name, cs := range crossings {
		view, record := shown(t, false, cs...)
		if holds(view, password) {
			t.Errorf("%s: it is shown:\n%s", name, view)
		}
		if holds(record, password) {
			t.Errorf("%s: it is recorded:\n%s", name, record)
		}
	}
	view, record := shown(t, true, crossings["packet"]...)
	if !strings.Contains(view, `"pass": "`+password+`"`) || !holds(record, password) {
		t.Errorf("asked for, it is not shown:\n%s\n%s", view, record)
	}
}

func TestView(t *testing.T) {
	long := unhex(t, "81 a1'k' c6 00 00 03 e8")
	long = append(long, make([]byte, 1000)...)
	many := append([]byte{0xdc, 0x0f, 0x00}, make([]byte, 0x0f00)...)
	for name, tt := range map[string]struct {
		x    Crossing
		want []string
	}{
		"packet": {Crossing{ToNode: true, Kind: Binary, Bytes: signIn(t)}, []string{
			"→ node  REQUEST #1 SIGN_IN, 67 bytes  (section 4, SIGN_IN)", `a3 76 65 72 a5 31 2e 30 2e 30           "ver": "1.0.0"`,
			`"pakt": REQUEST`, `"reqt": SIGN_IN`, `"body": map of 3`, `"user": "ada"`, `"pass": (13 secret bytes)`, "·· ··", "! T-3.37 a request before HANDSHAKE",
		}},
		"long":      {Crossing{Kind: Binary, Bytes: long}, []string{"← node", "1,008 bytes", "… 983 bytes more", "! T-2.10 k: 5 bytes could be 3"}},
		"wide":      {Crossing{Kind: Binary, Bytes: append([]byte{0x9f}, bytes.Repeat([]byte{0xdc, 0, 0}, 15)...)}, []string{"[14]: 3 bytes could be 1"}},
		"very wide": {Crossing{Kind: Binary, Bytes: append([]byte{0xdc, 1, 0}, bytes.Repeat([]byte{0xcc, 0}, 256)...)}, []string{"! … 238 notes more"}},
		"many":      {Crossing{Kind: Binary, Bytes: many}, []string{"array of 3840", "… 3,741 rows more"}},
		"cut":       {Crossing{Kind: Binary, Bytes: []byte{0x82, 0xa1, 'k'}}, []string{"MALFORMED", `"k": nothing more`}},
		"unused":    {Crossing{Kind: Binary, Bytes: []byte{0x81, 0xa1, 'k', 0xc1, 0xff}}, []string{"ff", "the marker 0xc1"}},
		"text":      {Crossing{ToNode: true, Kind: Text, Bytes: []byte("\x1b[2Jhello")}, []string{`"?[2Jhello"`, "T-1.18"}},
		"close":     {Crossing{Kind: Close, Bytes: []byte("\x0f\xa1gone")}, []string{`close 4001 (the same device has signed in on a newer connection) "gone"`}},
		"error": {
			Crossing{Kind: Binary, Bytes: unhex(t, "84 "+ver+"a2'id' 01 a4'pakt' 01 a3'err' 82 a4'code' 01 a3'msg' d925'what is said of an error is all shown'")},
			[]string{`"msg": "what is said of an error is all shown"`},
		},
		"no code":   {Crossing{Kind: Close}, []string{"close, without a code"}},
		"refused":   {Crossing{Kind: Open, Status: 503, RetryAfter: "30"}, []string{"upgrade: 503 Retry-After: 30"}},
		"ping":      {Crossing{ToNode: true, Kind: Ping, Bytes: []byte("x")}, []string{"PING, 1 byte  (section 1.5)"}},
		"cut short": {Crossing{ToNode: true, Kind: End, Why: "cut off"}, []string{"end of the connection: cut off"}},
	} {
		view, record := shown(t, false, tt.x)
		for _, want := range tt.want {
			if !strings.Contains(view, want) {
				t.Errorf("%s: no %q in\n%s", name, want, view)
			}
		}
		if strings.Contains(view, "\x1b") {
			t.Errorf("%s: an escape in\n%q", name, view)
		}
		head, lines, err := ReadRecord(strings.NewReader(record))
		if err != nil || head.Secrets != Masked || len(lines) != 1 || lines[0].Kind != tt.x.Kind {
			t.Errorf("%s: recorded as %s: %v", name, record, err)
		}
	}
	var out bytes.Buffer
	c := New(Options{Viewer: &Viewer{Out: &out, Color: true}}).Connection()
	c.Cross(Crossing{Kind: Ping})
	if !strings.Contains(out.String(), "\x1b[1mPING\x1b[0m") {
		t.Errorf("no color in %q", out.String())
	}
}

// A failingWriter fails.
type failingWriter struct{}

var errFull = errors.New("the disk is full")

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }

func TestFailureIsTold(t *testing.T) {
	if _, err := NewRecorder(failingWriter{}, "", false); !errors.Is(err, errFull) {
		t.Errorf("the beginning of a record: %v", err)
	}
	var told []error
	c := New(Options{Viewer: &Viewer{Out: failingWriter{}}, Failed: func(err error) { told = append(told, err) }}).Connection()
	c.Cross(Crossing{Kind: Ping})
	c.Say("hello")
	if len(told) != 1 || !errors.Is(told[0], errFull) {
		t.Errorf("told %v, want once that the disk is full", told)
	}
}

func TestReadRecord(t *testing.T) {
	head := `{"tipt_record":1,"secrets":"masked"}` + "\n"
	for record, want := range map[string]string{
		"":                             "empty",
		"{}\n":                         "no record",
		"x\n":                          "no record",
		strings.Repeat("x", maxLine+1): "no record",
		head + "[1]\n":                 "line 2",
		head + `{"from":"client","kind":"binary","hex":"0"}`:                                    "line 2: hex",
		head + `{"from":"me","kind":"binary"}`:                                                  `from is "me"`,
		head + `{"from":"node","kind":"binary","hex":"00","size":9}`:                            "only 1 of its 9 bytes",
		head + `{"from":"node","kind":"text","hex":"00","secrets":[{"at":0,"size":2}]}`:         "no secret of 2 bytes at 0",
		head + `{"from":"node","kind":"text","hex":"00","secrets":[{"at":-1,"size":1}]}`:        "no secret of 1 bytes at -1",
		head + `{"from":"node","kind":"text","hex":"0000","secrets":[{"at":2,"size":1000000}]}`: "no secret",
	} {
		if _, _, err := ReadRecord(strings.NewReader(record)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error about %q", record, err, want)
		}
	}
}

// A conversation may be shown whatever is in it.
func FuzzRead(f *testing.F) {
	f.Add(signIn(f), true)
	f.Add(unhex(f, greeting), false)
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff, 0xc1}, true)
	f.Fuzz(func(t *testing.T, b []byte, toNode bool) {
		view, record := shown(t, false, Crossing{ToNode: toNode, Kind: Binary, Bytes: b}, Crossing{ToNode: toNode, Kind: Broken, Bytes: b})
		if strings.ContainsFunc(view, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
			t.Errorf("a control character in %q", view)
		}
		if _, _, err := ReadRecord(strings.NewReader(record)); err != nil {
			t.Errorf("%v in %s", err, record)
		}
		new(Conversation).Describe(toNode, b)
	})
}

func TestDescribe(t *testing.T) {
	c := NewConversation(NewSecrets())
	for _, tt := range []struct {
		toNode       bool
		packet, want string
	}{
		{true, handshake, "REQUEST  #0   HANDSHAKE       27 B  nil"},
		{false, greeting, `RESPONSE #0   HANDSHAKE       43 B  {ver:"1.0.0" comp:true}`},
		{true, "85 " + ver + "a2'id' 01 a4'pakt' 00 a4'reqt' 43 a4'body' 81 a4'pass' a2'pw'", "REQUEST  #1   DELETE_ACCOUNT    41 B  {pass:(2 secret bytes)}"},
		{false, "84 " + ver + "a2'id' 01 a4'pakt' 01 a3'err' 81 a4'code' 18", "RESPONSE #1   DELETE_ACCOUNT    32 B  error {code:CREDENTIALS}"},
		{false, "85 " + ver + "a2'id' 00 a4'pakt' 02 a4'reqt' 00 a4'body' 81 a4'wait' 05", "EVENT         GOING_AWAY      39 B  {wait:5}"},
		{true, "c1", "MALFORMED 1 B  root: found 0xc1, want map"},
	} {
		if got := c.Describe(tt.toNode, unhex(t, tt.packet)); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if tipt.Version != "1.0.0" {
		t.Errorf("these tests say ver 1.0.0, the package %s", tipt.Version)
	}
}
