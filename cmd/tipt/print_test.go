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
