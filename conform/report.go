package conform

import (
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Status is what came of a clause.
type Status string

// The statuses. What breaks a clause that says must has failed; what does not follow one that says should is
// told as a warning.
const (
	Passed    Status = "passed"
	Failed    Status = "failed"
	Warning   Status = "warning"
	NotTested Status = "not tested"
)

// A Result is what came of one clause.
type Result struct {
	Clause   Clause
	Status   Status
	Why      string // it was not tested
	Findings []Finding
}

// A Report is what came of a run.
type Report struct {
	Node, Software string   // empty where a client was tested
	Revision       Revision // the form of the packets
	Client         string   // the command that ran it
	Took           time.Duration
	Results        []Result
	Blocked        []string // scenarios that could not set their stage, and why
	Left           int      // accounts that could not be deleted
}

// report puts together what the scenarios found.
func (s *suite) report(ran []*T, took time.Duration) *Report {
	r := &Report{Node: s.node, Software: s.software, Revision: s.Revision, Took: took, Left: int(s.left.Load())}
	each := always
	if s.drafts() {
		each = slices.DeleteFunc(slices.Clone(always), func(id string) bool { return slices.Contains(seedAlways, id) })
		ran = append(ran, &T{scenario: scenario{name: everyPacket, clauses: seedAlways}, skipped: seedAlone})
	}
	r.judge(ran, NodeSide, each, s.only)
	return r
}

// judge adds a result for each clause of a side that is broken or was asked for: all where only is nil, else those
// whose id it matches, or the name of whose scenario.
func (r *Report) judge(ran []*T, side Side, always []string, only *regexp.Regexp) {
	asked := make(map[string]bool)
	reached := make(map[string]bool)
	why := make(map[string]string)
	findings := make(map[string][]Finding)
	for _, t := range ran {
		if t.blocked != "" {
			r.Blocked = append(r.Blocked, t.scenario.name+": "+t.blocked)
		}
		for id := range t.reached {
			reached[id] = true
		}
		for _, f := range t.findings {
			findings[f.Clause] = append(findings[f.Clause], f)
		}
		for _, id := range t.scenario.clauses {
			asked[id] = asked[id] || only != nil && only.MatchString(t.scenario.name)
			switch {
			case t.apart[id] != "":
				why[id] = t.apart[id]
			case t.skipped != "":
				why[id] = t.skipped
			case t.blocked != "":
				why[id] = "the scenario could not be set up: " + t.blocked
			case why[id] == "":
				why[id] = "the scenario ended before it came to this"
			}
		}
	}
	for _, id := range always {
		reached[id] = true
	}
	for _, c := range Clauses() {
		if !c.of(side) {
			continue
		}
		result := Result{Clause: c, Status: NotTested, Why: c.Untested, Findings: findings[c.ID]}
		switch {
		case len(result.Findings) > 0:
			result.Status, result.Why = Failed, ""
			if c.Level == Should {
				result.Status = Warning
			}
		case only != nil && !asked[c.ID] && !only.MatchString(c.ID):
			continue
		case reached[c.ID]:
			result.Status, result.Why = Passed, ""
		case c.Untested == "" && why[c.ID] == "": // not among those chosen
			continue
		case c.Untested == "":
			result.Why = why[c.ID]
		}
		r.Results = append(r.Results, result)
	}
}

// subject names what was tested.
func (r *Report) subject() string {
	if r.Client != "" {
		return fmt.Sprintf("%s, revision %s", r.Client, r.Revision)
	}
	return fmt.Sprintf("%s (%s), revision %s", r.Node, r.Software, r.Revision)
}

// Count returns how many clauses have that status.
func (r *Report) Count(status Status) int {
	n := 0
	for _, result := range r.Results {
		if result.Status == status {
			n++
		}
	}
	return n
}

// shownFindings is how many findings of one clause are printed.
const shownFindings = 3

// WriteText prints the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var text strings.Builder
	for _, result := range r.Results {
		if len(result.Findings) > 0 {
			result.writeText(&text)
		}
	}
	reasons := make(map[string][]string)
	var order []string
	for _, result := range r.Results {
		if result.Status == NotTested {
			if reasons[result.Why] == nil {
				order = append(order, result.Why)
			}
			reasons[result.Why] = append(reasons[result.Why], result.Clause.ID)
		}
	}
	for _, why := range order {
		fmt.Fprintf(&text, "not tested, %d: %s", len(reasons[why]), why)
		writeWords(&text, reasons[why])
	}
	for _, blocked := range r.Blocked {
		fmt.Fprintf(&text, "could not be set up: %s\n", blocked)
	}
	if r.Left > 0 {
		fmt.Fprintf(&text, "%d accounts could not be deleted\n", r.Left)
	}
	fmt.Fprintf(&text, "%s: %d clauses passed, %d failed, %d warnings, %d not tested, in %.1f s\n",
		r.subject(), r.Count(Passed), r.Count(Failed), r.Count(Warning), r.Count(NotTested), r.Took.Seconds())
	_, err := io.WriteString(w, text.String())
	return err
}

func (result Result) writeText(text *strings.Builder) {
	word := "FAIL"
	if result.Status == Warning {
		word = "WARN"
	}
	fmt.Fprintf(text, "%s %s (%s, %s) %s\n", word, result.Clause.ID, result.Clause.Level, result.Clause.Source, result.Clause.Text)
	different, times := apart(result.Findings)
	for i, f := range different {
		if i == shownFindings {
			fmt.Fprintf(text, "  and %d more\n", len(different)-i)
			break
		}
		fmt.Fprintf(text, "  in scenario %s", f.Scenario)
		if times[i] > 1 {
			fmt.Fprintf(text, ", %d times", times[i])
		}
		text.WriteString("\n")
		if f.Want != "" {
			fmt.Fprintf(text, "  expected: %s\n", f.Want)
		}
		fmt.Fprintf(text, "  got:      %s\n", f.Got)
		for _, c := range f.Crossed {
			fmt.Fprintf(text, "    %s\n", c.title())
			for _, line := range c.Head {
				fmt.Fprintf(text, "      %q\n", line)
			}
			if c.What == "packet" {
				for line := range strings.Lines(annotate(c.Bytes, c.names)) {
					text.WriteString("      " + line)
				}
			} else if len(c.Bytes) > 0 {
				fmt.Fprintf(text, "      % x\n", c.Bytes[:min(len(c.Bytes), shownBytes)])
			}
		}
	}
	text.WriteString("\n")
}

// apart returns the findings that differ in words, and how often there is each.
func apart(findings []Finding) (different []Finding, times []int) {
	for _, f := range findings {
		i := slices.IndexFunc(different, func(d Finding) bool {
			return d.Scenario == f.Scenario && d.Want == f.Want && d.Got == f.Got
		})
		if i < 0 {
			i = len(different)
			different, times = append(different, f), append(times, 0)
		}
		times[i]++
	}
	return different, times
}

// writeWords prints words, as many as fit on a line.
func writeWords(text *strings.Builder, words []string) {
	const width = 96
	column := width
	for _, word := range words {
		switch {
		case column+1+len(word) <= width:
			text.WriteString(" " + word)
		default:
			text.WriteString("\n    " + word)
			column = 3
		}
		column += 1 + len(word)
	}
	text.WriteString("\n")
}

func (c Crossing) title() string {
	verb := "received"
	if c.Sent {
		verb = "sent"
	}
	if c.Head != nil {
		return fmt.Sprintf("%s by HTTP, with a body of %d bytes, after %d ms", verb, c.Size, c.At.Milliseconds())
	}
	return fmt.Sprintf("%s a %s of %d bytes after %d ms", verb, c.What, c.Size, c.At.Milliseconds())
}

type jsonFinding struct {
	Scenario string         `json:"scenario"`
	Want     string         `json:"expected,omitempty"`
	Got      string         `json:"got"`
	Crossed  []jsonCrossing `json:"crossed,omitempty"`
}

type jsonCrossing struct {
	At   int64    `json:"ms"`
	Sent bool     `json:"sent"`
	What string   `json:"what"`
	Head []string `json:"head,omitempty"`
	Size int      `json:"size"`
	Hex  string   `json:"hex,omitempty"`
}

type jsonResult struct {
	ID       string        `json:"id"`
	Level    Level         `json:"level"`
	Side     Side          `json:"side"`
	Source   Source        `json:"source"`
	Text     string        `json:"text"`
	Status   Status        `json:"status"`
	Why      string        `json:"why,omitempty"`
	Findings []jsonFinding `json:"findings,omitempty"`
}

// WriteJSON prints the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	all := struct {
		Node     string       `json:"node,omitempty"`
		Software string       `json:"software,omitempty"`
		Revision Revision     `json:"revision,omitempty"`
		Client   string       `json:"client,omitempty"`
		Took     float64      `json:"seconds"`
		Blocked  []string     `json:"blocked,omitempty"`
		Left     int          `json:"accounts_left"`
		Clauses  []jsonResult `json:"clauses"`
	}{r.Node, r.Software, r.Revision, r.Client, r.Took.Seconds(), r.Blocked, r.Left, nil}
	for _, result := range r.Results {
		c := result.Clause
		j := jsonResult{ID: c.ID, Level: c.Level, Side: c.Side, Source: c.Source, Text: c.Text, Status: result.Status, Why: result.Why}
		for _, f := range result.Findings {
			found := jsonFinding{Scenario: f.Scenario, Want: f.Want, Got: f.Got}
			for _, x := range f.Crossed {
				found.Crossed = append(found.Crossed, jsonCrossing{x.At.Milliseconds(), x.Sent, x.What, x.Head, x.Size, hex.EncodeToString(x.Bytes)})
			}
			j.Findings = append(j.Findings, found)
		}
		all.Clauses = append(all.Clauses, j)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

// WriteJUnit prints the report as CI systems read it. They know no warning: it is a test that was skipped, which
// neither passed nor failed.
func (r *Report) WriteJUnit(w io.Writer) error {
	type message struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *message `xml:"failure,omitempty"`
		Skipped *message `xml:"skipped,omitempty"`
	}
	all := struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     string     `xml:"time,attr"`
		Cases    []testCase `xml:"testcase"`
	}{
		Name: r.subject(), Tests: len(r.Results), Failures: r.Count(Failed), Skipped: r.Count(NotTested) + r.Count(Warning),
		Time: fmt.Sprintf("%.3f", r.Took.Seconds()),
	}
	for _, result := range r.Results {
		c := testCase{Class: "section " + result.Clause.section(), Name: result.Clause.ID + " " + result.Clause.Text}
		switch result.Status {
		case Failed, Warning:
			var text strings.Builder
			result.writeText(&text)
			if m := (message{result.Findings[0].Got, text.String()}); result.Status == Failed {
				c.Failure = &m
			} else {
				c.Skipped = &message{"warning: " + m.Message, m.Text}
			}
		case NotTested:
			c.Skipped = &message{Message: result.Why}
		case Passed:
		}
		all.Cases = append(all.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	return encoder.Encode(all)
}
