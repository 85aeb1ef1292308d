package main

import (
	"cmp"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

const (
	minColumns = 24 // a terminal with fewer wraps what it gets
	foldIndent = "    "
)

// fold cuts lines that a terminal with so many columns would wrap. The rows after the first are
// indented, like the lines of a text after its first, so that no part of a text stands where a message
// begins, to pass for another one. With 0 columns nothing is cut.
func fold(text string, columns int) string {
	if columns == 0 {
		return text
	}
	columns = max(columns, minColumns) - 1 // in the last one the cursor would wrap
	ambiguous := 1
	if eastAsian() {
		ambiguous = 2 // on some terminals there
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		room := columns
		for {
			n := rowOf(line, room, ambiguous)
			b.WriteString(line[:n])
			if line = line[n:]; line == "" {
				break
			}
			b.WriteString("\n" + foldIndent)
			room = columns - len(foldIndent)
		}
	}
	return b.String()
}

// rowOf is how many bytes of a line fit into a row, whole words where they are not too long. A character of
// ambiguous width takes so many columns.
func rowOf(line string, room, ambiguous int) int {
	used, word := 0, 0
	for i, r := range line {
		// What takes no column may take one where the terminal cannot combine it.
		takes := max(columns(r), 1)
		if width.LookupRune(r).Kind() == width.EastAsianAmbiguous {
			takes = ambiguous
		}
		if used += takes; used > room && r != '\n' {
			if word > i/2 {
				return word
			}
			return i
		}
		if r == ' ' {
			word = i + 1
		}
	}
	return len(line)
}

// eastAsian says whether the language is one in which terminals may show Cyrillic and Greek letters, dots and
// lines as wide as their own characters.
func eastAsian() bool {
	language := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"))
	return strings.HasPrefix(language, "ja") || strings.HasPrefix(language, "ko") || strings.HasPrefix(language, "zh")
}

// columnsOf is how many columns a terminal has, and 0 for what is none.
func columnsOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns == 0 {
		return 80
	}
	return columns
}
