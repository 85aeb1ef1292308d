package tap

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tipt/tipt-go/internal/msgpack"
)

// A Viewer prints what crosses, for people.
type Viewer struct {
	Out   io.Writer
	Color bool
	// Numbers tells connections apart by their number.
	Numbers bool
}

const (
	rowBytes     = 12 // of hex in a row
	commentAt    = 46 // column
	maxValueRows = 2  // of one value
	maxRows      = 100
	maxNotes     = 20
)

// paint colors a text.
func (v *Viewer) paint(color, text string) string {
	if !v.Color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	yellow = "33"
)

func (v *Viewer) start(now time.Time, number int) string {
	text := v.paint(dim, now.Format("15:04:05.000"))
	if v.Numbers {
		text += fmt.Sprintf(" [%d]", number)
	}
	return text
}

// line prints what is no crossing.
func (v *Viewer) line(number int, text string) error {
	_, err := fmt.Fprintf(v.Out, "%s %s\n", v.start(time.Now(), number), text)
	return err
}

// show prints a crossing.
func (v *Viewer) show(now time.Time, number int, x Crossing, p *Packet) error {
	var text strings.Builder
	arrow, color := "← node", "35"
	if x.ToNode {
		arrow, color = "→ node", "36"
	}
	title := v.paint(bold, p.Title)
	if p.Failed || strings.HasPrefix(p.Title, "MALFORMED") {
		title = v.paint(bold+";"+red, p.Title)
	}
	fmt.Fprintf(&text, "%s %s  %s", v.start(now, number), v.paint(color, arrow), title)
	if size := max(x.Size, len(x.Bytes)); size > 0 {
		text.WriteString(", " + count(size, "byte"))
	}
	if p.Section != "" {
		text.WriteString(v.paint(dim, "  (section "+p.Section+")"))
	}
	text.WriteByte('\n')
	r := rows{p: p, b: x.Bytes}
	switch {
	case x.Kind == Binary:
		r.value("", "", &p.root)
		if p.root.End < len(x.Bytes) {
			behind := "behind it"
			if p.broken != nil {
				behind = p.broken.Error()
			}
			r.add(1, p.root.End, len(x.Bytes), behind)
		}
	case len(x.Bytes) > 0:
		comment := ""
		if x.Kind == Text {
			comment = strconv.Quote(shorten(plain(string(p.hideShown(x.Bytes)))))
		}
		r.add(1, 0, len(x.Bytes), comment)
	}
	r.print(v, &text)
	for i, n := range p.Notes {
		if i == maxNotes {
			text.WriteString("    " + v.paint(yellow, "! … "+count(len(p.Notes)-i, "note")+" more") + "\n")
			break
		}
		clause := n.Clause
		if clause != "" {
			clause += " "
		}
		text.WriteString("    " + v.paint(yellow, "! "+clause+plain(n.Text)) + "\n")
	}
	_, err := io.WriteString(v.Out, text.String())
	return err
}

// hideShown is hide for the masks that are not to be shown.
func (p *Packet) hideShown(b []byte) []byte {
	for _, m := range p.Masks {
		if m.shown {
			return b
		}
	}
	return p.hide(b)
}

// rows are the bytes of a message with what they mean beside them.
type rows struct {
	p    *Packet
	b    []byte
	list []row
	over int // rows that are not printed
}

type row struct{ hex, comment string }

// value adds the rows of a value and what is in it. What stands before it, its
// key, is in the same row if it fits.
func (r *rows) value(path, label string, v *msgpack.Value) {
	r.entry(path, label, v.Start, v, 1)
}

// entry adds the rows for the bytes from at, where a value's key begins, to the value's end.
func (r *rows) entry(path, label string, at int, v *msgpack.Value, depth int) {
	if v.Family != msgpack.Object && v.Family != msgpack.Array {
		r.add(depth, at, v.End, label+r.p.value(path, v, r.b))
		return
	}
	kind := "map"
	if v.Family == msgpack.Array {
		kind = "array"
	}
	r.add(depth, at, v.Body, fmt.Sprintf("%s%s of %d", label, kind, v.N))
	for i := 0; i < len(v.Items); i++ {
		item := &v.Items[i]
		if v.Family == msgpack.Array {
			r.entry(path+"[]", "", item.Start, item, depth+1)
			continue
		}
		key := join("", item, r.b)
		if i+1 == len(v.Items) {
			r.add(depth+1, item.Start, item.End, strconv.Quote(key)+": nothing more")
			return
		}
		inner := key
		if path != "" {
			inner = path + "." + key
		}
		i++
		r.entry(inner, strconv.Quote(key)+": ", item.Start, &v.Items[i], depth+1)
	}
}

// add adds the bytes from at to end.
func (r *rows) add(depth, at, end int, comment string) {
	margin := strings.Repeat("  ", depth+1)
	for n := 0; n == 0 || at < end; n++ {
		if n == maxValueRows && end-at > rowBytes {
			r.put(row{margin + fmt.Sprintf("… %s more", count(end-at, "byte")), ""})
			return
		}
		stop := min(at+rowBytes, end)
		var hex []string
		for i := at; i < stop; i++ {
			hex = append(hex, r.hex(i))
		}
		at = stop
		r.put(row{margin + strings.Join(hex, " "), comment})
		comment = ""
	}
}

func (r *rows) put(one row) {
	if len(r.list) == maxRows {
		r.over++
		return
	}
	r.list = append(r.list, one)
}

// hex is a byte of the message, unless it is secret.
func (r *rows) hex(i int) string {
	for _, m := range r.p.Masks {
		if !m.shown && m.At <= i && i < m.At+m.Size {
			return "··"
		}
	}
	return fmt.Sprintf("%02x", r.b[i])
}

func (r *rows) print(v *Viewer, text *strings.Builder) {
	for _, one := range r.list {
		text.WriteString(v.paint(dim, one.hex))
		if one.comment != "" {
			text.WriteString(strings.Repeat(" ", max(2, commentAt-len([]rune(one.hex)))) + one.comment)
		}
		text.WriteByte('\n')
	}
	if r.over > 0 {
		fmt.Fprintf(text, "    … %s more\n", count(r.over, "row"))
	}
}

// count is a number of things.
func count(n int, what string) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n != 1 {
		what += "s"
	}
	return digits + " " + what
}
