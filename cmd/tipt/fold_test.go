package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFold(t *testing.T) {
	const columns = minColumns // 23 to be used, 19 of them behind an indent
	tests := []struct{ name, in, want string }{
		{"short", "one\ntwo\n", "one\ntwo\n"},
		{"just fits", strings.Repeat("x", 23) + "\n", strings.Repeat("x", 23) + "\n"},
		{"words", "one two three four five six seven eight\n", "one two three four \n    five six seven \n    eight\n"},
		{"a long word", strings.Repeat("x", 45) + "\n", strings.Repeat("x", 23) + "\n    " + strings.Repeat("x", 19) + "\n    xxx\n"},
		{"a word is not cut off for little", "ab " + strings.Repeat("x", 22) + "\n", "ab " + strings.Repeat("x", 20) + "\n    xx\n"},
		{"wide", strings.Repeat("日", 13) + "\n", strings.Repeat("日", 11) + "\n    日日\n"},
		{"what may take a column", strings.Repeat("e\u0301", 12) + "\n", strings.Repeat("e\u0301", 11) + "e\n    \u0301\n"},
		{"spaces", strings.Repeat(" ", 30) + "x\n", strings.Repeat(" ", 23) + "\n           x\n"},
		{"no line end", strings.Repeat("x", 24), strings.Repeat("x", 23) + "\n    x"},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, fold(tt.in, columns)); diff != "" {
				t.Errorf("fold (-want +got):\n%s", diff)
			}
			if got := fold(tt.in, 0); got != tt.in {
				t.Errorf("without a terminal it becomes %q", got)
			}
		})
	}
	if got, want := fold(strings.Repeat("x", 24), 3), fold(strings.Repeat("x", 24), columns); got != want {
		t.Errorf("at 3 columns %q, want %q", got, want)
	}
	var b bytes.Buffer
	if got := columnsOf(&b); got != 0 {
		t.Errorf("a buffer has %d columns", got)
	}
}

// Where a terminal may show them wide, dots do not push what follows them to where a message begins.
func TestFoldInEastAsia(t *testing.T) {
	dots := strings.Repeat("…", 20) + "\n"
	for _, tt := range []struct{ all, ctype, lang, want string }{
		{"", "", "de_DE.UTF-8", dots},
		{"", "", "ja_JP.UTF-8", strings.Repeat("…", 11) + "\n    " + strings.Repeat("…", 9) + "\n"},
		{"", "zh_CN.UTF-8", "de_DE.UTF-8", strings.Repeat("…", 11) + "\n    " + strings.Repeat("…", 9) + "\n"},
		{"C.UTF-8", "ko_KR.UTF-8", "ko_KR.UTF-8", dots},
	} {
		t.Setenv("LC_ALL", tt.all)
		t.Setenv("LC_CTYPE", tt.ctype)
		t.Setenv("LANG", tt.lang)
		if got := fold(dots, minColumns); got != tt.want {
			t.Errorf("%+v: folded to %q", tt, got)
		}
	}
}

// No row but the first of a line begins where a message does, and nothing is lost.
func FuzzFold(f *testing.F) {
	f.Add("12:00 bob: hello     12:00 bob [signed]: hello\n", 30)
	f.Fuzz(func(t *testing.T, s string, width int) {
		width &= 0xff
		line := oneLine(s)
		folded := fold(line+"\n", width)
		rows := strings.Split(strings.TrimSuffix(folded, "\n"), "\n")
		for n, row := range rows {
			used := 0
			for _, r := range row {
				used += columns(r)
			}
			if width != 0 && used >= max(width, minColumns) {
				t.Errorf("%q takes %d of %d columns", row, used, width)
			}
			if n > 0 {
				var ok bool
				if rows[n], ok = strings.CutPrefix(row, foldIndent); !ok {
					t.Errorf("the row %q is not indented", row)
				}
			}
		}
		if got := strings.Join(rows, ""); got != line {
			t.Errorf("%q became %q", line, got)
		}
	})
}
