package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/seal"
)

// printable makes a text from elsewhere safe to print on a terminal: what could
// move the cursor, change colours or turn the direction of writing is shown as
// an escape. Line ends stay, with an indent behind, so that no line of a text can pass
// for a message of its own.
func printable(s string) string {
	s = strings.TrimSuffix(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	return escape(s, func(r rune) string {
		switch {
		case r == '\n':
			return "\n    "
		case r == '\t':
			return "    "
		case r < 0x100:
			return fmt.Sprintf(`\x%02x`, r)
		case r > 0xffff:
			return fmt.Sprintf(`\U%08x`, r)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})
}

// escape replaces each character that does not simply show. Joiners, which
// letters of some scripts and emoji need, stay.
func escape(s string, replace func(r rune) string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsGraphic(r) || r == '\u200c' || r == '\u200d' {
			b.WriteRune(r)
		} else {
			b.WriteString(replace(r))
		}
	}
	return b.String()
}

// oneLine is printable for what is to stay on one line.
func oneLine(s string) string {
	return strings.ReplaceAll(printable(s), "\n    ", " ")
}

// mark says behind the sender's name how a message was sealed from end to end. The name has no white space, colon
// or bracket in it (see sender), so that nothing that others write gets to where it stands or looks like it.
func mark(m client.Message) string {
	switch {
	case m.SealError != nil:
		return " [sealed, not opened]"
	case !m.Sealed:
		return ""
	case errors.Is(m.SignError, seal.ErrUnsigned):
		return " [sealed, NOT signed, though the sender has a key]"
	case m.SignError != nil:
		return " [sealed, NOT signed]"
	case !m.Signed:
		return " [sealed, not signed]"
	}
	return " [signed]"
}

// sealOf is mark, for programs.
func sealOf(m client.Message) string {
	switch {
	case m.SealError != nil:
		return "unopened"
	case !m.Sealed:
		return ""
	case !m.Signed:
		return "unsigned"
	}
	return "signed"
}

// describe is what a message says, for people.
func describe(m client.Message) string {
	if m.Return != nil {
		text := fmt.Sprintf("not delivered to %s: %v", m.Return.Node, m.Return.Err)
		if errors.Is(m.Return.Err, tipt.ErrNodeRefused) {
			text += " it, or the operator of your own node gave it up"
		}
		if m.Return.Ref != (tipt.MessageID{}) {
			text += fmt.Sprintf(" (message %s)", m.Return.Ref)
		}
		return printable(text)
	}
	if m.SealError != nil {
		return printable(unopened(m.SealError).words)
	}
	if text, ok := m.Text(); ok {
		return printable(text)
	}
	return fmt.Sprintf("[%d bytes that are no text; --json shows them]", len(m.Body))
}

// sender names the sender of a message, for people.
func sender(m client.Message) string {
	switch {
	case m.Return != nil:
		return "!"
	case m.From == "":
		return "(anonymous)"
	}
	if a, err := tipt.ParseAddress(m.From); err != nil || a.String() != m.From {
		// The account's node made it up.
		return "(no address: " + strings.ReplaceAll(unbracketed(m.From), " ", `\x20`) + ")"
	}
	return unbracketed(m.From)
}

// unbracketed is oneLine for addresses: brackets around a word are marks of this program's alone.
func unbracketed(s string) string {
	return strings.NewReplacer("[", `\x5b`, "]", `\x5d`).Replace(oneLine(s))
}

// A messageLine is the form of a message with `listen --json`.
type messageLine struct {
	ID     string      `json:"id"`
	From   string      `json:"from,omitempty"` // absent when anonymous, and in a return
	Time   time.Time   `json:"time"`           // when the node stored it
	Text   *string     `json:"text,omitempty"`
	Body   []byte      `json:"body,omitempty"` // base64; of what is no text, or was not opened
	Return *returnLine `json:"return,omitempty"`

	Sealed   bool   `json:"sealed,omitempty"`   // from end to end
	Signed   bool   `json:"signed,omitempty"`   // too, with the key kept for the sender
	Unopened string `json:"unopened,omitempty"` // why Body is what came
	Unsigned string `json:"unsigned,omitempty"` // why it does not count as signed, though it might be expected to
	Reason   string `json:"reason,omitempty"`   // code of Unopened or Unsigned
}

type returnLine struct {
	Ref   string `json:"ref,omitempty"`
	Node  string `json:"node"`
	Error string `json:"error"`
}

// jsonLine is a message as one line of JSON, escaped like printable.
func jsonLine(m client.Message) (string, error) {
	closed, unsigned := unopened(m.SealError), unsigned(m.SignError)
	line := messageLine{
		ID: m.ID.String(), From: m.From, Time: m.Time.UTC(),
		Sealed: m.Sealed || m.SealError != nil, Signed: m.Signed, Unopened: closed.words,
		Unsigned: unsigned.words, Reason: closed.code + unsigned.code, // one of them
	}
	if r := m.Return; r != nil {
		line.Return = &returnLine{Node: r.Node, Error: r.Err.Error()}
		if r.Ref != (tipt.MessageID{}) {
			line.Return.Ref = r.Ref.String()
		}
	} else if text, ok := m.Text(); ok {
		line.Text = &text
	} else {
		line.Body = m.Body
	}
	b, err := json.Marshal(line)
	if err != nil {
		return "", fmt.Errorf("print message %s: %w", m.ID, err)
	}
	return escape(string(b), func(r rune) string {
		if r > 0xffff {
			r -= 0x10000
			return fmt.Sprintf(`\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		return fmt.Sprintf(`\u%04x`, r)
	}) + "\n", nil
}

func parseID(s string) (tipt.MessageID, error) {
	var id tipt.MessageID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(id) {
		return id, usage("--id: %s is no message id: 32 hex digits", s)
	}
	copy(id[:], b)
	return id, nil
}

// A statusHandler prints what the client logs, one line a record.
type statusHandler struct {
	// What errors of connecting are about; set before anything is logged.
	node    tipt.NodeName
	connect string

	mu sync.Mutex // guards w
	w  io.Writer
}

// redirect makes it print elsewhere.
func (h *statusHandler) redirect(w io.Writer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.w = w
}

// Write prints whole lines where the records go.
func (h *statusHandler) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.w.Write(b)
}

func (h *statusHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *statusHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		value := a.Value.Any()
		switch v := value.(type) {
		case time.Duration:
			value = v.Round(100 * time.Millisecond)
		case error:
			if known := (&unreachableError{node: h.node, connect: h.connect, err: v}).known(); known != "" {
				value = known
			}
		}
		text += fmt.Sprintf(", %s: %v", a.Key, value)
		return true
	})
	return h.say(text)
}

// say prints a text as one line, which is cut for a terminal.
func (h *statusHandler) say(text string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, fold(fmt.Sprintf("tipt: %s\n", oneLine(text)), columnsOf(h.w)))
	return err
}

// WithAttrs leaves out which node it is: there is one.
func (h *statusHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *statusHandler) WithGroup(string) slog.Handler { return h }
