package conform

import (
	"fmt"
	"strings"
	"unicode"
)

// shownBytes is how many bytes of a long string or binary are printed.
const shownBytes = 48

// annotate prints a packet's bytes with what they mean beside them.
func annotate(b []byte) string {
	var text strings.Builder
	root, err := unpack(b)
	if err != nil {
		dump(&text, b, 0, fmt.Sprintf("(%v)", err))
		return text.String()
	}
	root.annotate(&text, b, 0, "")
	if root.end < len(b) {
		dump(&text, b[root.end:], 0, "behind the root")
	}
	return text.String()
}

func (v *value) annotate(text *strings.Builder, b []byte, indent int, name string) {
	switch v.kind {
	case kindMap, kindArray:
		dump(text, b[v.head:v.body], indent, fmt.Sprintf("%s%s of %d", name, v.kind, v.n))
		for i := 0; i < len(v.items); i++ {
			item, key := v.items[i], ""
			if v.kind == kindMap {
				key = fmt.Sprintf("%q: ", item.content)
				if item.kind != kindStr || i+1 == len(v.items) {
					key = item.plain() + ": "
				}
				i++
				if child := v.items[i]; child.kind == kindMap || child.kind == kindArray {
					dump(text, b[item.head:item.end], indent+1, strings.TrimSuffix(key, " "))
					child.annotate(text, b, indent+1, "")
					continue
				}
				dump(text, b[item.head:v.items[i].end], indent+1, key+v.items[i].plain())
				continue
			}
			item.annotate(text, b, indent+1, "")
		}
	default:
		dump(text, b[v.head:v.end], indent, name+v.plain())
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
