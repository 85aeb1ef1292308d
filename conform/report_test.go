package conform

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A report says each fault once, with what crossed, and why the rest was not tested.
func TestReportText(t *testing.T) {
	request := fields{"ver", "1.0.0", "id", 7, "pakt", pktRequest, "reqt", reqForward, "body", fields{"node", "a.example", "list", []any{1}}}.pack()
	crossed := []Crossing{
		{At: time.Second, Sent: true, What: "packet", Size: len(request), Bytes: request, toNode: true},
		{At: 2 * time.Second, What: "close", Size: 2, Bytes: []byte{3, 0xea}},
	}
	r := &Report{Node: "node.example", Software: "x/1", Revision: RevisionSeed, Took: 3 * time.Second, Results: []Result{
		{Clause: Clause{"T-9.1", Must, NodeSide, Seed, "It answers.", ""}, Status: Failed, Findings: []Finding{
			{"T-9.1", "one", "an answer", "none", crossed},
			{"T-9.1", "two", "", "nothing", nil},
			{"T-9.1", "one", "an answer", "none", nil},
		}},
	}}
	r.Results = append(r.Results,
		Result{Clause: Clause{"T-9.2", Should, NodeSide, Ours, "It is kind.", ""}, Status: Warning, Findings: []Finding{{"T-9.2", "one", "", "rudeness", nil}}},
		Result{Clause: Clause{"T-9.3", Must, NodeSide, Ours, "It is there.", ""}, Status: Passed},
	)
	for i := range 20 {
		r.Results = append(r.Results, Result{Clause: Clause{ID: fmt.Sprintf("T-8.%d", i+1)}, Status: NotTested, Why: "needs help"})
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := `FAIL T-9.1 (must, seed) It answers.
  in scenario one, 2 times
  expected: an answer
  got:      none
    sent a packet of 55 bytes after 1000 ms
      85                                                         map of 5
        a3 76 65 72 a5 31 2e 30 2e 30                            "ver": "1.0.0"
        a2 69 64 07                                              "id": 7
        a4 70 61 6b 74 00                                        "pakt": 0 REQUEST
        a4 72 65 71 74 20                                        "reqt": 32 FORWARD
        a4 62 6f 64 79 82                                        "body": map of 2
          a4 6e 6f 64 65 a9 61 2e 65 78 61 6d 70 6c 65           "node": "a.example"
          a4 6c 69 73 74 91                                      "list": array of 1
            01                                                   1
    received a close of 2 bytes after 2000 ms
      03 ea
  in scenario two
  got:      nothing

WARN T-9.2 (should, ours) It is kind.
  in scenario one
  got:      rudeness

not tested, 20: needs help
    T-8.1 T-8.2 T-8.3 T-8.4 T-8.5 T-8.6 T-8.7 T-8.8 T-8.9 T-8.10 T-8.11 T-8.12 T-8.13 T-8.14
    T-8.15 T-8.16 T-8.17 T-8.18 T-8.19 T-8.20
node.example (x/1), revision seed: 1 clauses passed, 1 failed, 1 warnings, 20 not tested, in 3.0 s
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

// What breaks a must has failed. What does not follow a should is a warning, however the report is written: it
// neither failed nor passed.
func TestWarnings(t *testing.T) {
	scenario := scenario{name: "one", clauses: []string{"T-1.3", "T-2.10", "T-4.53"}}
	reached := map[string]bool{"T-1.3": true, "T-2.10": true, "T-4.53": true}
	r := new(Report)
	r.judge([]*T{{scenario: scenario, reached: reached, findings: []Finding{
		{Clause: "T-1.3", Scenario: "one", Got: "a wrong"}, {Clause: "T-2.10", Scenario: "one", Got: "a long form"},
	}}}, NodeSide, nil, regexp.MustCompile("one"))
	want := map[string]Status{"T-1.3": Failed, "T-2.10": Warning, "T-4.53": Passed}
	got := make(map[string]Status)
	for _, result := range r.Results {
		got[result.Clause.ID] = result.Status
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	for _, tt := range []struct {
		form  string
		write func(io.Writer) error
		want  []string
	}{
		{"text", r.WriteText, []string{"FAIL T-1.3 (must", "WARN T-2.10 (should", ": 1 clauses passed, 1 failed, 1 warnings, 0 not tested, "}},
		{"JSON", r.WriteJSON, []string{`"status": "failed"`, `"status": "warning"`, `"status": "passed"`}},
		{"JUnit", r.WriteJUnit, []string{`tests="3" failures="1" skipped="1"`, `<failure message="a wrong">FAIL `, `<skipped message="warning: a long form">WARN `}},
	} {
		var text strings.Builder
		if err := tt.write(&text); err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if strings.Count(text.String(), want) != 1 {
				t.Errorf("%s: there is not one %q in\n%s", tt.form, want, text.String())
			}
		}
	}
}

// What the numbers of a packet mean depends on where it goes, and on its form.
func TestNames(t *testing.T) {
	for _, tt := range []struct {
		crossing   Crossing
		pakt, reqt int
		want       string
	}{
		{Crossing{toNode: true}, pktRequest, reqHandshake, "0 REQUEST 0 HANDSHAKE"},
		{Crossing{toNode: true}, pktRequest, 0x21, "0 REQUEST 33 GET_NODE_KEY"},
		{Crossing{toNode: true, drafts: true}, pktRequest, 0x21, "0 REQUEST 33 FORWARD"},
		{Crossing{toNode: true, drafts: true}, pktRequest, 0x20, "0 REQUEST 32 GET_NODE_KEY"},
		{Crossing{toNode: true}, pktRequest, 0x7f, "0 REQUEST 127"},
		{Crossing{toNode: true}, pktResponse, 0, "1 RESPONSE 0"},
		{Crossing{toNode: true}, pktEvent, 0, "2 EVENT 0"},
		{Crossing{}, pktRequest, 0, "0 REQUEST 0 DELIVER"},
		{Crossing{}, pktRequest, 1, "0 REQUEST 1 RETURN"},
		{Crossing{}, pktRequest, 2, "0 REQUEST 2"},
		{Crossing{}, pktEvent, 0, "2 EVENT 0 GOING_AWAY"},
		{Crossing{}, 3, 0, "3 0"},
	} {
		var got []string
		for line := range strings.Lines(annotate(fields{"pakt", tt.pakt, "reqt", tt.reqt}.pack(), tt.crossing.names)) {
			if _, said, has := strings.Cut(line, `": `); has {
				got = append(got, strings.TrimSpace(said))
			}
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt, got, tt.want)
		}
	}
}
