package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tipt/tipt-go/bench/internal/process"
)

// A Report is what came of a load.
type Report struct {
	Bench    string   `json:"bench"`
	Figures  Figures  `json:"figures"`
	Mistakes Mistakes `json:"mistakes"`
	Broken   []string `json:"broken,omitempty"` // bounds that do not hold
	// Spans are the times in which it was measured, for a profile of the node to be cut to.
	Spans []Span `json:"spans,omitempty"`
}

// A Span is a time in which something was measured, in nanoseconds of this machine's
// CLOCK_MONOTONIC.
type Span struct {
	Name string `json:"name"`
	From int64  `json:"from"`
	Upto int64  `json:"upto"`
}

// span adds a time.
func (r *Report) span(name string, from, upto time.Time) {
	now, clock := time.Now(), process.Monotonic()
	r.Spans = append(r.Spans, Span{name, clock - now.Sub(from).Nanoseconds(), clock - now.Sub(upto).Nanoseconds()})
}

// Figures are what was measured, in the order in which people read it. Their names end with their units.
type Figures []Figure

// A Figure is one of them.
type Figure struct {
	Name  string
	Value float64
}

func (f *Figures) add(name string, value float64) { *f = append(*f, Figure{name, value}) }

// Get returns the figure of that name, false when it was not measured.
func (f Figures) Get(name string) (float64, bool) {
	i := slices.IndexFunc(f, func(f Figure) bool { return f.Name == name })
	if i < 0 {
		return 0, false
	}
	return f[i].Value, true
}

// MarshalJSON makes an object of them, in their order.
func (f Figures) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, figure := range f {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, figure.Name)
		b = append(b, ':')
		b = append(b, figure.text()...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Figures) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value float64
		if err := d.Decode(&value); err != nil {
			return err
		}
		f.add(fmt.Sprint(name), value)
	}
	return nil
}

// text is the value with what digits it deserves.
func (f Figure) text() string {
	if f.Value == float64(int64(f.Value)) || f.Value >= 1000 {
		return strconv.FormatFloat(f.Value, 'f', 0, 64)
	}
	return strconv.FormatFloat(f.Value, 'f', 3, 64)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\n", r.Bench)
	for _, f := range r.Figures {
		fmt.Fprintf(table, "  %s\t%s\n", strings.ReplaceAll(f.Name, "_", " "), f.text())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, bound := range r.Broken {
		fmt.Fprintf(w, "\nBROKEN: %s\n", bound)
	}
	if !r.Mistakes.Any() {
		_, err := fmt.Fprintln(w, "  no message was lost, doubled or out of order")
		return err
	}
	fmt.Fprintf(w, "\nMISTAKES: %v\n", &r.Mistakes)
	for _, example := range r.Mistakes.Examples {
		fmt.Fprintf(w, "  %s\n", example)
	}
	_, err := fmt.Fprintln(w, "The figures above are those of a node that makes mistakes.")
	return err
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Mistakes count what must not happen, in messages but for Cut.
type Mistakes struct {
	Lost       int      `json:"lost"`       // neither came nor was refused
	Doubled    int      `json:"doubled"`    // came again on one connection
	Misordered int      `json:"misordered"` // came before one that was accepted earlier
	Altered    int      `json:"altered"`    // came with another content, id or sender
	Refused    int      `json:"refused"`    // was answered with an error
	Returned   int      `json:"returned"`   // came back as a RETURN
	Cut        int      `json:"cut"`        // connections that ended, or did not come about
	Examples   []string `json:"examples,omitempty"`
}

// maxExamples bounds Examples.
const maxExamples = 10

// Any reports whether there are any.
func (m *Mistakes) Any() bool {
	return m.Lost+m.Doubled+m.Misordered+m.Altered+m.Refused+m.Returned+m.Cut > 0
}

// String counts them in words.
func (m *Mistakes) String() string {
	return fmt.Sprintf("%d lost, %d doubled, %d misordered, %d altered, %d refused, %d returned, %d connections cut",
		m.Lost, m.Doubled, m.Misordered, m.Altered, m.Refused, m.Returned, m.Cut)
}

// add counts one more of a kind, a field of m.
func (m *Mistakes) add(kind *int, format string, args ...any) {
	*kind++
	if len(m.Examples) < maxExamples {
		m.Examples = append(m.Examples, fmt.Sprintf(format, args...))
	}
}

// addLatencies adds the quantiles of latencies, which it sorts.
func (f *Figures) addLatencies(name string, latencies []time.Duration) {
	if len(latencies) == 0 {
		return
	}
	slices.Sort(latencies)
	for _, q := range []struct {
		name     string
		quantile float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}} {
		// The smallest that as many are not above.
		i := max(int(q.quantile*float64(len(latencies))+0.999999)-1, 0)
		f.add(name+"_"+q.name+"_ms", float64(latencies[min(i, len(latencies)-1)])/float64(time.Millisecond))
	}
}
