// Package docs_test holds the pages against the code.
package docs_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
)

func readPage(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// section returns what stands under a heading, up to the next one of any level.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n"+heading)
	if !ok {
		t.Fatalf("the page has no heading %q", heading)
	}
	text, _, _ := strings.Cut(rest, "\n#")
	return text
}

var row = regexp.MustCompile(`(?m)^\| 0x([0-9a-f]{2}) \| ([A-Z_]+) \|`)

// codes returns the rows of the form "| 0x02 | NAME |" of text.
func codes(text string) map[uint8]string {
	names := make(map[uint8]string)
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		code, _ := strconv.ParseUint(m[1], 16, 8) // two hexadecimal digits
		names[uint8(code)] = m[2]
	}
	return names
}

// The tables of codes say what package tipt says, nothing more and nothing less.
func TestCodes(t *testing.T) {
	page := readPage(t, "protocol.md")
	_, errors, _ := strings.Cut(section(t, page, "## 6. Errors"), "CNNodeResponseError")
	nodeErrors, errors, _ := strings.Cut(errors, "CNClientResponseError")
	clientErrors, forwardErrors, _ := strings.Cut(errors, "CNNodeForwardError")
	// Package tipt has one type for both lists of response errors.
	bothErrors := nodeErrors + "\n" + clientErrors

	for _, tt := range []struct {
		name, text string
		in         func(uint8) string // the code's name in package tipt
	}{
		{"CNPacketType", section(t, page, "### CNPacketType"), func(c uint8) string { return tipt.PacketType(c).String() }},
		{"CNNodeRequestType", section(t, page, "### CNNodeRequestType"), func(c uint8) string { return tipt.NodeRequest(c).String() }},
		{"CNClientRequestType", section(t, page, "### CNClientRequestType"), func(c uint8) string { return tipt.ClientRequest(c).String() }},
		{"CNClientEventType", section(t, page, "### CNClientEventType"), func(c uint8) string { return tipt.ClientEvent(c).String() }},
		{"forward type", section(t, page, "### 5.3 Inside"), func(c uint8) string { return tipt.ForwardType(c).String() }},
		{"response errors", bothErrors, func(c uint8) string { return tipt.ErrorCode(c).String() }},
		{"CNNodeForwardError", forwardErrors, func(c uint8) string { return tipt.ForwardErrorCode(c).String() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := codes(tt.text)
			want := make(map[uint8]string)
			for c := range uint8(0x80) {
				if name := tt.in(c); !strings.HasPrefix(name, "0x") {
					want[c] = name
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("package tipt (-), protocol.md (+):\n%s", diff)
			}
		})
	}
}

var (
	hexBlock = regexp.MustCompile("(?s)```hex\n(.*?)```")
	gap      = regexp.MustCompile(`⟨(\d+) bytes⟩`)
	digits   = regexp.MustCompile(`^(?:\s*[0-9a-f]{2}\b)*`)
)

// blocks returns the bytes of the page's hex blocks, with zero bytes in place of a gap.
func blocks(t *testing.T, page string) [][]byte {
	t.Helper()
	var all [][]byte
	for _, m := range hexBlock.FindAllStringSubmatch(page, -1) {
		var text strings.Builder
		for line := range strings.Lines(m[1]) {
			line = gap.ReplaceAllStringFunc(line, func(s string) string {
				n, _ := strconv.Atoi(gap.FindStringSubmatch(s)[1]) // digits
				return strings.Repeat("00 ", n)
			})
			text.WriteString(digits.FindString(line))
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(text.String()), ""))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// The bytes of the first contact are what the codec reads and writes.
func TestFirstContact(t *testing.T) {
	id := tipt.MessageID{0x01, 0x97, 0xf2, 0xa5, 0xc6, 0xb0, 0x7c, 0x3e, 0x9a, 0x1d, 0x2b, 0x4c, 0x6e, 0x8f, 0x10, 0x32}
	token := make([]byte, tipt.TokenSize)
	for i := range token {
		token[i] = 0xa0 + byte(i)
	}
	written := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	content := tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: "hello", Time: written}}
	request := func(id uint8, code tipt.NodeRequest, body []byte) tipt.Packet {
		return tipt.Packet{Version: tipt.Version, ID: id, Type: tipt.PacketRequest, Code: uint8(code), Body: body}
	}
	response := func(id uint8, body []byte) tipt.Packet {
		return tipt.Packet{Version: tipt.Version, ID: id, Type: tipt.PacketResponse, Body: body}
	}
	packet := func(p tipt.Packet) []byte { return tipt.AppendPacket(nil, tipt.RevisionSeed, &p) }
	busy := response(2, nil)
	busy.Err = &tipt.Error{Code: tipt.ErrBusy, Wait: time.Second}

	want := []struct {
		name  string
		bytes []byte
	}{
		{"HANDSHAKE", packet(request(0, tipt.RequestHandshake, nil))},
		{"its response", packet(response(0, tipt.HandshakeResponse{Version: tipt.Version, Compatible: true}.Append(nil)))},
		{"SIGN_IN", packet(request(1, tipt.RequestSignIn, tipt.SignInRequest{
			User: "ada", Device: "laptop-7f3a", Password: "correct horse", Receive: true,
		}.Append(nil)))},
		{"its response", packet(response(1, tipt.SignInResponse{Address: "ada@node.example", Token: token}.Append(nil)))},
		{"TEXT", content.Append(nil)},
		{"MESSAGE", tipt.SealedRequest{
			Type:    tipt.ForwardMessage,
			Message: &tipt.MessageForward{To: "bob", ID: id, Message: content.Append(nil)},
		}.Append(nil)},
		{"FORWARD", packet(request(2, tipt.RequestForward, tipt.ForwardRequest{
			Node: "node.example", Sealed: make([]byte, 230), Ref: &id,
		}.Append(nil)))},
		{"its response", packet(response(2, nil))},
		{"BUSY", packet(busy)},
		{"DELIVER", packet(request(0, tipt.NodeRequest(tipt.RequestDeliver), tipt.DeliverRequest{
			ID: id, From: "ada@node.example", Time: written.Add(123 * time.Millisecond), Message: content.Append(nil),
		}.Append(nil)))},
		{"its response", packet(response(0, nil))},
	}
	got := blocks(t, readPage(t, "protocol.md"))
	if len(got) != len(want) {
		t.Fatalf("the page has %d hex blocks, want %d", len(got), len(want))
	}
	for i, w := range want {
		if !bytes.Equal(got[i], w.bytes) {
			t.Errorf("%s: the page has\n% x, the codec writes\n% x", w.name, got[i], w.bytes)
		}
	}
}
