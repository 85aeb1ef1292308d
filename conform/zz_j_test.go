package conform

import (
	"os"
	"regexp"
	"testing"

	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

func TestZZ(t *testing.T) {
	n := tipttest.Start(t)
	o := options(n)
	o.Only = os.Getenv("ONLY")
	report := run(t, o)
	clean(t, report, unhelped...)
	re := regexp.MustCompile("^(" + o.Only + ")$")
	for _, d := range defects {
		if re.MatchString(d.clause) && !d.second && d.own == nil {
			report, err := runBroken(t, n, d)
			t.Log(d.clause, d.name, catches(t, d, report, err))
		}
	}
}

func TestZZSecond(t *testing.T) {
	_, o := withSecond(t, defect{own: func(c *node.Config) {}})
	o.Only = os.Getenv("ONLY")
	report := run(t, o)
	clean(t, report, "--slow")
	for _, r := range report.Results {
		t.Log(r.Clause.ID, r.Status)
	}
	re := regexp.MustCompile("^(" + o.Only + ")$")
	for _, d := range defects {
		if re.MatchString(d.clause) && (d.second || d.own != nil) {
			report, err := runBroken(t, nil, d)
			t.Log(d.clause, d.name, catches(t, d, report, err))
		}
	}
}
