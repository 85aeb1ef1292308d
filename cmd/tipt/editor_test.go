package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

// typed returns an editor into which these keys are typed, and its screen.
func typed(keys string, cols int) (*editor, *strings.Builder) {
	var screen strings.Builder
	return newEditor(bufio.NewReader(strings.NewReader(keys)), &screen, func() int { return cols }), &screen
}

func TestEditorKeys(t *testing.T) {
	const left, right, up, down = "\x1b[D", "\x1bOC", "\x1b[A", "\x1b[B"
	tests := []struct {
		name string
		keys string
		want []string
	}{
		{"lines", "one\rtwo\r", []string{"one", "two"}},
		{"characters of all widths", "é日🎉\r", []string{"é日🎉"}},
		{"backspace", "ab\x7f\x08c\r", []string{"c"}},
		{"backspace at the start", "\x7fa\r", []string{"a"}},
		{"insert in the middle", "ac" + left + "b\r", []string{"abc"}},
		{"left and right stop at the ends", left + "a" + right + right + "b\r", []string{"ab"}},
		{"home and end", "b\x1b[Ha\x1b[Fc\x1b[1~x\x1b[4~y\r", []string{"xabcy"}},
		{"ctrl-a and ctrl-e", "b\x01a\x05c\r", []string{"abc"}},
		{"delete", "abc\x1b[H\x1b[3~\x04\r", []string{"c"}},
		{"delete at the end", "a\x1b[3~\r", []string{"a"}},
		{"ctrl-w", "one two  \x17three\r", []string{"one three"}},
		{"ctrl-u", "one\x15two\r", []string{"two"}},
		{"ctrl-k", "onetwo" + left + left + left + "\x0b\r", []string{"one"}},
		{"tab is a space", "a\tb\r", []string{"a b"}},
		{"control characters are dropped", "a\x00\x1f\xc2\x9bb\r", []string{"ab"}},
		{"unknown sequences are dropped", "a\x1b[15~\x1b[1;5C\x1bxb\r", []string{"ab"}},
		{"history", "one\rtwo\r" + up + up + "\r" + up + down + "new\r", []string{"one", "two", "one", "new"}},
		{"history keeps the draft", "one\rdra" + up + down + "ft\r", []string{"one", "draft"}},
		{"history stays as it was", "one\r" + up + "x\r" + up + up + "\r", []string{"one", "onex", "one"}},
		{"history ends", "one\r" + up + up + up + down + down + down + "x\r", []string{"one", "x"}},
		{"ctrl-d on an empty line ends", "one\r\x04two\r", []string{"one"}},
		{"ctrl-c ends", "one\rtwo\x03three\r", []string{"one"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := typed(tt.keys, 80)
			for _, want := range tt.want {
				got, err := e.readLine()
				if err != nil || got != want {
					t.Fatalf("readLine = %q, %v, want %q", got, err, want)
				}
			}
			if got, err := e.readLine(); !errors.Is(err, io.EOF) {
				t.Errorf("readLine = %q, %v, want the end", got, err)
			}
		})
	}
}

// show plays what was written to a screen of one row and returns the row and the
// column of the cursor. Rows that a line end has left are returned before.
func show(t *testing.T, written string, cols int) (above []string, row string, cursor int) {
	t.Helper()
	var cells []rune
	put := func(r rune) {
		for len(cells) <= cursor {
			cells = append(cells, ' ')
		}
		cells[cursor] = r
		cursor++
	}
	for written != "" {
		var n int
		switch {
		case strings.HasPrefix(written, "\x1b[K"):
			cells = cells[:min(cursor, len(cells))]
			n = len("\x1b[K")
		case strings.HasPrefix(written, "\x1b["):
			end := strings.IndexByte(written, 'D')
			for _, digit := range written[2:end] {
				n = 10*n + int(digit-'0')
			}
			cursor -= n
			n = end + 1
		case written[0] == '\r':
			cursor, n = 0, 1
		case written[0] == '\n':
			above = append(above, strings.ReplaceAll(string(cells), "\x00", ""))
			cells, n = nil, 1
		default:
			r := []rune(written)[0]
			put(r)
			if columns(r) == 2 {
				put(0)
			}
			n = len(string(r))
		}
		written = written[n:]
		if cursor >= cols {
			t.Fatalf("%q runs over the %d columns of the screen", string(cells), cols)
		}
	}
	return above, strings.ReplaceAll(string(cells), "\x00", ""), cursor
}

func TestEditorDraws(t *testing.T) {
	tests := []struct {
		name   string
		keys   string
		row    string
		cursor int
	}{
		{"empty", "", "> ", 2},
		{"short", "abc", "> abc", 5},
		{"cursor inside", "abc\x1b[D", "> abc", 4},
		{"deleted", "abc\x7f\x7f", "> a", 3},
		{"as long as fits", "1234567", "> 1234567", 9},
		{"longer shows its end", "123456789", "> 3456789", 9},
		{"longer shows its start", "123456789\x01", "> 1234567", 2},
		{"wide characters", "日本語", "> 日本語", 8},
		{"wide characters, longer", "日本語日本", "> 語日本", 8},
		{"wide characters, cursor inside", "日本語\x1b[D", "> 日本語", 6},
		{"combining", "e\u0301x", "> e\u0301x", 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, screen := typed(tt.keys, 10)
			if _, err := e.readLine(); !errors.Is(err, io.EOF) {
				t.Fatalf("readLine: %v", err)
			}
			written := strings.ReplaceAll(screen.String(), "\u0301", "")
			_, row, cursor := show(t, written, 10)
			if want := strings.ReplaceAll(tt.row, "\u0301", ""); row != want || cursor != tt.cursor {
				t.Errorf("shows %q with the cursor in column %d, want %q, %d", row, cursor, want, tt.cursor)
			}
		})
	}
}

func TestEditorPrintsAboveTheLine(t *testing.T) {
	e, screen := typed("typing", 20)
	if err := e.print("before\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.readLine(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := e.print("one\ntwo\n"); err != nil {
		t.Fatal(err)
	}
	above, row, _ := show(t, screen.String(), 20)
	if want := "before one two"; strings.Join(above, " ") != want || row != "> typing" {
		t.Errorf("shows %q above %q, want %q above the line", above, row, want)
	}
	e.hide()
	if _, row, _ := show(t, screen.String(), 20); row != "" {
		t.Errorf("after hide the screen shows %q", row)
	}
}
