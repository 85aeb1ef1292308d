package conform

import (
	"fmt"
	"strings"
	"unicode"
)

// shownBytes is how many bytes of a long string or binary are printed.
const shownBytes = 48

// annotate prints a packet's bytes with what they mean beside them. names says what numbers
// in it stand for.
func annotate(b []byte, names func(root *value) map[*value]string) string {
	var text strings.Builder
	root, err := unpack(b)
	if err != nil {
		dump(&text, b, 0, fmt.Sprintf("(%v)", err))
		return text.String()
	}
	root.annotate(&text, b, root.head, 0, "", names(root))
	if root.end < len(b) {
		dump(&text, b[root.end:], 0, "behind the root")
	}
	return text.String()
}

// annotate prints a value behind its key, if it has one; both begin at head.
func (v *value) annotate(text *strings.Builder, b []byte, head, indent int, key string, names map[*value]string) {
	switch v.kind {
	case kindMap, kindArray:
		dump(text, b[head:v.body], indent, fmt.Sprintf("%s%s of %d", key, v.kind, v.n))
		for i := 0; i < len(v.items); i++ {
			item := v.items[i]
			if v.kind == kindArray {
				item.annotate(text, b, item.head, indent+1, "", names)
				continue
			}
			i++
			v.items[i].annotate(text, b, item.head, indent+1, item.plain()+": ", names)
		}
	default:
		plain := v.plain()
		if name := names[v]; name != "" {
			plain += " " + name
		}
		dump(text, b[head:v.end], indent, key+plain)
	}
}

// plain says a value that holds no others in words.
func (v *value) plain() string {
	switch v.kind {
	case kindNil:
		return "nil"
	case kindBool:
		return fmt.Sprint(v.n == 1)
	case kindUint:
		return fmt.Sprint(v.n)
	case kindStr:
		if len(v.content) > 80 {
			return fmt.Sprintf("str of %d bytes", len(v.content))
		}
		return fmt.Sprintf("%q", v.content)
	case kindBin:
		return fmt.Sprintf("%d bytes", len(v.content))
	}
	return v.kind.String()
}

// dump prints bytes, 16 a line, with a comment behind the first.
func dump(text *strings.Builder, b []byte, indent int, comment string) {
	comment = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, comment)
	left := 0
	if len(b) > shownBytes {
		left, b = len(b)-shownBytes, b[:shownBytes]
	}
	margin := strings.Repeat("  ", indent)
	for first := true; first || len(b) > 0; first = false {
		line := margin + fmt.Sprintf("% x", b[:min(16, len(b))])
		b = b[min(16, len(b)):]
		if first {
			line = fmt.Sprintf("%-58s %s", line, comment)
		}
		text.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if left > 0 {
		fmt.Fprintf(text, "%s… %d bytes more\n", margin, left)
	}
}
