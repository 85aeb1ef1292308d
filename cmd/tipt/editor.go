package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/width"
)

// prompt is shown before the line being typed.
const prompt = "> "

// An editor reads lines from a terminal in raw mode and keeps the one being typed below
// everything that is printed meanwhile. The line takes one row: of a longer one the
// part around the cursor is shown.
type editor struct {
	in   *bufio.Reader
	cols func() int // of the terminal

	mu      sync.Mutex // guards the following
	out     io.Writer
	line    []rune
	cursor  int // index in line
	history []string
	recall  int // index in history of the line shown; len(history) for a new one
	draft   []rune
	hidden  bool // no line is being read
}

func newEditor(in *bufio.Reader, out io.Writer, cols func() int) *editor {
	return &editor{in: in, out: out, cols: cols, hidden: true}
}

// maxHistory is how many lines the arrow keys bring back.
const maxHistory = 100

// Keys, as a terminal sends them.
const (
	ctrlA     = 0x01
	ctrlB     = 0x02
	ctrlC     = 0x03
	ctrlD     = 0x04
	ctrlE     = 0x05
	ctrlF     = 0x06
	backspace = 0x08
	ctrlK     = 0x0b
	ctrlL     = 0x0c
	enter     = 0x0d
	ctrlN     = 0x0e
	ctrlP     = 0x10
	ctrlU     = 0x15
	ctrlW     = 0x17
	esc       = 0x1b
	rubout    = 0x7f
)

// Keys that a terminal sends as a sequence, in a range that holds no characters.
const (
	keyUp rune = unicode.MaxRune + 1 + iota
	keyDown
	keyLeft
	keyRight
	keyHome
	keyEnd
	keyDelete
	keyOther
)

// readLine returns the next line typed, and io.EOF after Ctrl-D on an empty line
// or Ctrl-C. The line is gone from the screen then; the caller may print it.
func (e *editor) readLine() (string, error) {
	e.show()
	for {
		key, err := e.readKey()
		if err != nil {
			return "", err
		}
		line, done, err := e.press(key)
		if done || err != nil {
			return line, err
		}
	}
}

// print writes whole lines above the one being typed.
func (e *editor) print(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err := io.WriteString(e.out, "\r\x1b[K"+strings.ReplaceAll(fold(text, e.cols()), "\n", "\r\n"))
	if err == nil && !e.hidden {
		err = e.drawLocked()
	}
	return err
}

// Write makes an editor a place to log to.
func (e *editor) Write(b []byte) (int, error) { return len(b), e.print(string(b)) }

// hide takes the line off the screen for good.
func (e *editor) hide() {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.hideLocked()
}

func (e *editor) show() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hidden = false
	e.recall = len(e.history)
	_ = e.drawLocked() // a terminal that is gone shows when it is read
}

// press lets a key act on the line.
func (e *editor) press(key rune) (line string, done bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch key {
	case enter, '\n':
		line = string(e.line)
		e.rememberLocked(line)
		return line, true, e.hideLocked()
	case ctrlC:
		_ = e.hideLocked()
		return "", true, io.EOF
	case ctrlD:
		if len(e.line) == 0 {
			_ = e.hideLocked()
			return "", true, io.EOF
		}
		e.deleteLocked(e.cursor, e.cursor+1)
	case keyDelete:
		e.deleteLocked(e.cursor, e.cursor+1)
	case backspace, rubout:
		e.deleteLocked(e.cursor-1, e.cursor)
	case ctrlW:
		e.deleteLocked(e.wordStartLocked(), e.cursor)
	case ctrlU:
		e.deleteLocked(0, e.cursor)
	case ctrlK:
		e.deleteLocked(e.cursor, len(e.line))
	case ctrlA, keyHome:
		e.cursor = 0
	case ctrlE, keyEnd:
		e.cursor = len(e.line)
	case ctrlB, keyLeft:
		e.cursor = max(e.cursor-1, 0)
	case ctrlF, keyRight:
		e.cursor = min(e.cursor+1, len(e.line))
	case ctrlP, keyUp:
		e.recallLocked(e.recall - 1)
	case ctrlN, keyDown:
		e.recallLocked(e.recall + 1)
	case ctrlL:
		if _, err := io.WriteString(e.out, "\x1b[H\x1b[2J"); err != nil {
			return "", false, err
		}
	default:
		if key == '\t' {
			key = ' '
		}
		if key > unicode.MaxRune || unicode.IsControl(key) || len(e.line) >= maxLine {
			return "", false, nil
		}
		e.line = append(e.line[:e.cursor], append([]rune{key}, e.line[e.cursor:]...)...)
		e.cursor++
	}
	return "", false, e.drawLocked()
}

func (e *editor) deleteLocked(from, to int) {
	from, to = max(from, 0), min(to, len(e.line))
	e.line = append(e.line[:from], e.line[to:]...)
	e.cursor = from
}

func (e *editor) wordStartLocked() int {
	i := e.cursor
	for i > 0 && e.line[i-1] == ' ' {
		i--
	}
	for i > 0 && e.line[i-1] != ' ' {
		i--
	}
	return i
}

func (e *editor) rememberLocked(line string) {
	if line == "" || len(e.history) > 0 && e.history[len(e.history)-1] == line {
		return
	}
	e.history = append(e.history, line)
	if len(e.history) > maxHistory {
		e.history = e.history[1:]
	}
}

// recallLocked shows a line of the history, or the draft again behind its end.
func (e *editor) recallLocked(i int) {
	if i < 0 || i > len(e.history) {
		return
	}
	if e.recall == len(e.history) {
		e.draft = e.line
	}
	e.recall = i
	if i == len(e.history) {
		e.line = e.draft
	} else {
		e.line = []rune(e.history[i])
	}
	e.cursor = len(e.line)
}

func (e *editor) hideLocked() error {
	e.line, e.draft, e.cursor, e.hidden = nil, nil, 0, true
	_, err := io.WriteString(e.out, "\r\x1b[K")
	return err
}

// drawLocked shows the line, or as much of it around the cursor as fits.
func (e *editor) drawLocked() error {
	room := max(e.cols()-len(prompt)-1, 1) // the last column would wrap
	from, used := e.cursor, 0
	for from > 0 && used+columns(e.line[from-1]) <= room {
		from--
		used += columns(e.line[from])
	}
	to, after := e.cursor, 0
	for to < len(e.line) && used+after+columns(e.line[to]) <= room {
		after += columns(e.line[to])
		to++
	}
	screen := "\r" + prompt + string(e.line[from:to]) + "\x1b[K"
	if after > 0 {
		screen += fmt.Sprintf("\x1b[%dD", after)
	}
	_, err := io.WriteString(e.out, screen)
	return err
}

// columns is how many columns of a terminal a character takes.
func columns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case width.LookupRune(r).Kind() == width.EastAsianWide, width.LookupRune(r).Kind() == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// readKey reads one key. A sequence that is not known is keyOther.
func (e *editor) readKey() (rune, error) {
	r, _, err := e.in.ReadRune()
	if err != nil || r != esc {
		return r, err
	}
	r, _, err = e.in.ReadRune()
	if err != nil || r != '[' && r != 'O' {
		return keyOther, err
	}
	var parameters strings.Builder
	for {
		if r, _, err = e.in.ReadRune(); err != nil {
			return keyOther, err
		}
		if r >= 0x40 && r <= 0x7e {
			break
		}
		if parameters.Len() < 16 {
			parameters.WriteRune(r)
		}
	}
	switch {
	case r == 'A':
		return keyUp, nil
	case r == 'B':
		return keyDown, nil
	case r == 'C':
		return keyRight, nil
	case r == 'D':
		return keyLeft, nil
	case r == 'H':
		return keyHome, nil
	case r == 'F':
		return keyEnd, nil
	case r != '~':
		return keyOther, nil
	}
	switch parameters.String() {
	case "1", "7":
		return keyHome, nil
	case "4", "8":
		return keyEnd, nil
	case "3":
		return keyDelete, nil
	}
	return keyOther, nil
}
