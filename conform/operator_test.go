package conform

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go/internal/tipttest"
)

// An operator's command that does nothing is not the node's fault, and named.
func TestOperatorWithoutEffect(t *testing.T) {
	t.Parallel() // it waits, mostly
	_, o := withSecond(t, defect{})
	o.operate = func(context.Context, ...string) (string, error) { return "", nil }
	o.Only, o.Patience = "maintenance|restart|work-in-flight|rotated|disabled|killed|barred", 2*time.Second
	noEffect := regexp.MustCompile(`"(\w+(?: \w+)?)[^"]*" of the operator's command had no effect`)
	told := make(map[string]bool)
	for _, result := range run(t, o).Results {
		why := result.Why
		switch {
		case result.Clause.ID == "T-5.5" && result.Status == Failed:
			why = result.Findings[0].Got
		case result.Clause.ID == "T-5.3", result.Clause.ID == "T-5.4": // which come behind it
			continue
		case result.Status != NotTested:
			t.Errorf("%s %s: %v", result.Clause.ID, result.Status, result.Findings)
			continue
		}
		did := noEffect.FindStringSubmatch(why)
		if did == nil {
			t.Errorf("%s, without a word of the operator's command: %s", result.Clause.ID, why)
			continue
		}
		told[did[1]] = true
	}
	want := map[string]bool{"maintenance on": true, "restart": true, "key rotate": true, "user disable": true, "kill": true, "node block": true}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("want -, told +\n%s", diff)
	}
}

// One that cannot be run is an error at once; one that fails is not.
func TestOperatorCannotRun(t *testing.T) {
	n := tipttest.Start(t)
	for command, want := range map[string]string{
		"./absent":  "the operator's command cannot be run: ./absent maintenance off: exit status 127: ",
		t.TempDir(): "the operator's command cannot be run: ",
		"false":     "",
	} {
		o := options(n)
		o.Admin, o.Only = command, "info"
		_, err := Run(t.Context(), o)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want) || strings.HasSuffix(err.Error(), "\n")) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
}

// What was interrupted is reported as far as it came, and nothing is held against the node for it.
func TestInterrupted(t *testing.T) {
	n := tipttest.Start(t)
	o := options(n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Progress = func(_ string, done, _ int) {
		if done == 60 {
			cancel()
		}
	}
	report, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || report == nil {
		t.Fatalf("%v, %v", report, err)
	}
	cut := 0
	for _, result := range report.Results {
		if len(result.Findings) > 0 {
			t.Errorf("%s: %+v", result.Clause.ID, result.Findings)
		}
		if result.Why == interrupted {
			cut++
		}
	}
	if passed := report.Count(Passed); passed <= len(always) || cut == 0 || len(report.Blocked) > 0 || report.Left > 0 {
		t.Errorf("%d clauses passed, %d interrupted, not set up: %q, accounts left: %d", passed, cut, report.Blocked, report.Left)
	}
}

// Where a part of the clauses is asked for, the report has no other.
func TestOnly(t *testing.T) {
	n := tipttest.Start(t)
	for only, want := range map[string]map[string]Status{
		"barred":         {"T-5.45": NotTested, "T-6.8": NotTested},
		"T-1.29|T-5.45":  {"T-1.29": Passed, "T-5.45": NotTested}, // "upgrade" has others too
		"upgrade|T-1.31": {"T-1.3": Passed, "T-1.10": Passed, "T-1.29": Passed, "T-1.30": Passed, "T-1.31": NotTested},
	} {
		o := options(n)
		o.Only = only
		got := make(map[string]Status)
		for _, result := range run(t, o).Results {
			got[result.Clause.ID] = result.Status
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want -, got +\n%s", only, diff)
		}
	}
}
