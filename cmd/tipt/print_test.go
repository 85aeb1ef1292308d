package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

func TestPrintable(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain text, né, 日本語, 🎉", "plain text, né, 日本語, 🎉"},
		{"\x1b[2J\x1b]0;title\a", `\x1b[2J\x1b]0;title\x07`},
		{"\u009b2J", `\x9b2J`},
		{"\x7f\x00\x08", `\x7f\x00\x08`},
		{"a\rb", `a\x0db`},
		{"one\r\ntwo\nthree\n", "one\n    two\n    three"},
		{"a\tb", "a    b"},
		{"\u202egnirts\u2066", `\u202egnirts\u2066`},
		{"\u2028\u2029\ufeff", `\u2028\u2029\ufeff`},
		{"\U000e0041", `\U000e0041`},
		{"👩\u200d🚀", "👩\u200d🚀"},
		{"\xff", "\ufffd"},
	}
	for _, tt := range tests {
		if got := printable(tt.in); got != tt.want {
			t.Errorf("printable(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestJSONLine(t *testing.T) {
	text := func(s string) []byte {
		return tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: s, Time: time.UnixMilli(1)}}.Append(nil)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	id := tipt.MessageID{0: 1, 15: 2}
	const head = `{"id":"01000000000000000000000000000002",`
	const when = `"time":"2026-01-02T03:04:05.006Z",`
	tests := []struct {
		name string
		m    client.Message
		want string
	}{
		{"text", client.Message{ID: id, From: "a@b.example", Time: at, Body: text("hi")}, head + `"from":"a@b.example",` + when + `"text":"hi"}`},
		{"empty text", client.Message{ID: id, Time: at, Body: text("")}, head + when + `"text":""}`},
		{"control characters", client.Message{ID: id, Time: at, Body: text("\x1b\u009b\u202e\U000e0041🎉")}, head + when + `"text":"\u001b\u009b\u202e\udb40\udc41🎉"}`},
		{"signed", client.Message{ID: id, Time: at, Body: text("hi"), Sealed: true, Signed: true}, head + when + `"text":"hi","sealed":true,"signed":true}`},
		{"not signed", client.Message{ID: id, Time: at, Body: text("hi"), Sealed: true}, head + when + `"text":"hi","sealed":true}`},
		{"wrongly signed", client.Message{ID: id, Time: at, Body: text("hi"), Sealed: true, SignError: errors.New("seal: x")}, head + when + `"text":"hi","sealed":true,"unsigned":"x","reason":"invalid"}`},
		{"not opened", client.Message{ID: id, Time: at, Body: []byte{0xc1}, SealError: errors.New("x")}, head + when + `"body":"wQ==","sealed":true,"unopened":"x","reason":"invalid"}`},
		{"other form", client.Message{ID: id, Time: at, Body: []byte{0xc1}}, head + when + `"body":"wQ=="}`},
		{"return", client.Message{ID: id, Time: at, Return: &client.Return{Ref: id, Node: "b.example", Err: errors.New("x")}}, head + when + `"return":{"ref":"01000000000000000000000000000002","node":"b.example","error":"x"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := jsonLine(tt.m)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want+"\n", got); diff != "" {
				t.Errorf("jsonLine (-want +got):\n%s", diff)
			}
			var line messageLine
			if err := json.Unmarshal([]byte(got), &line); err != nil {
				t.Fatal(err)
			}
			if text, ok := tt.m.Text(); ok && (line.Text == nil || *line.Text != text) {
				t.Errorf("read back as %v, want %q", line.Text, text)
			}
		})
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("one\n\x1b[2Jtwo\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range printable(s) {
			if r != '\n' && r != '\u200c' && r != '\u200d' && !unicode.IsGraphic(r) {
				t.Fatalf("printable(%q) lets %U through", s, r)
			}
		}
		for _, r := range oneLine(s) {
			if r == '\n' {
				t.Fatalf("oneLine(%q) has a line end", s)
			}
		}
	})
}

// The node that is named has not refused what its sender's operator gave up; nobody can tell the two apart.
func TestDescribeRefusedReturn(t *testing.T) {
	got := describe(client.Message{Return: &client.Return{Node: "b.example", Err: tipt.ErrNodeRefused}})
	if want := "not delivered to b.example: NODE_REFUSED: the node refused it, or the operator of your own node gave it up"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What stands before the colon is told by this program alone, whatever the names are and whatever is in a text.
func TestIncoming(t *testing.T) {
	text := tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: "bob [signed]: hi\n[signed]"}}.Append(nil)
	const shown = ": bob [signed]: hi\n    [signed]\n"
	tests := []struct {
		name string
		with string
		m    client.Message
		want string // behind the time
	}{
		{"text", "bob@node.example", client.Message{From: "bob@node.example"}, "bob" + shown},
		{"signed", "bob@node.example", client.Message{From: "bob@node.example", Sealed: true, Signed: true}, "bob [signed]" + shown},
		{"not signed", "bob@node.example", client.Message{From: "bob@node.example", Sealed: true}, "bob [sealed, not signed]" + shown},
		{"wrongly signed", "bob@node.example", client.Message{From: "bob@node.example", Sealed: true, SignError: errors.New("x")}, "bob [sealed, NOT signed]" + shown},
		{"not signed by somebody who could", "bob@node.example", client.Message{From: "bob@node.example", Sealed: true, SignError: seal.ErrUnsigned}, "bob [sealed, NOT signed, though the sender has a key]" + shown},
		{"not opened", "bob@node.example", client.Message{From: "bob@node.example", SealError: errors.New("why\nnot")}, "bob [sealed, not opened]: why\n    not\n"},
		{"another person", "bob@node.example", client.Message{From: "bob@else.example", Sealed: true, Signed: true}, "bob@else.example [signed]" + shown},
		{"somebody of my name", "me@else.example", client.Message{From: "me@else.example"}, "me@else.example" + shown},
		{"a name like a mark", "[signed]@node.example", client.Message{From: "[signed]@node.example"}, `\x5bsigned\x5d@node.example` + shown},
		{"a name with a mark", "bob[signed]@node.example", client.Message{From: "bob[signed]@node.example"}, `bob\x5bsigned\x5d@node.example` + shown},
		{"a name that is written from the right", "\u05d1\u05d5\u05d1@node.example", client.Message{From: "\u05d1\u05d5\u05d1@node.example"}, "\u05d1\u05d5\u05d1@node.example" + shown},
		{"no address", "bob@node.example", client.Message{From: "bob@node.example [signed]"}, `(no address: bob@node.example\x20\x5bsigned\x5d)` + shown},
		{"no address, of two lines", "bob@node.example", client.Message{From: "x)\nbob@node.example [signed]: hi"}, `(no address: x)\x20bob@node.example\x20\x5bsigned\x5d:\x20hi)` + shown},
		{"an address in another spelling", "bob@node.example", client.Message{From: "Bob@node.example"}, `(no address: Bob@node.example)` + shown},
		{"anonymous", "bob@node.example", client.Message{Sealed: true}, "(anonymous) [sealed, not signed]" + shown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			with, err := tipt.ParseAddress(tt.with)
			if err != nil {
				t.Fatal(err)
			}
			tt.m.Time = time.Now()
			if tt.m.SealError == nil {
				tt.m.Body = text
			}
			got := (&chat{me: tipt.Address{User: "me", Node: "node.example"}, with: with}).incoming(tt.m)
			if diff := cmp.Diff(tt.want, got[len("12:00 "):]); diff != "" {
				t.Errorf("incoming (-want +got):\n%s", diff)
			}
		})
	}
}
