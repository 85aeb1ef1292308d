package conform

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/node"
)

// quota is what the nodes of the tests hold, where they hold little.
const quota = 150

// small is a node that holds little.
func small(c *node.Config) {
	c.Mailbox.MaxCount, c.Limits.Outbox.UserEntries = quota, quota
}

// smallBytes is one that counts bytes.
func smallBytes(c *node.Config) {
	c.Mailbox.MaxBytes, c.Limits.Outbox.UserBytes = quota*8, quota*6
}

// What a node holds is found whether it counts messages or their bytes.
func TestQuotas(t *testing.T) {
	t.Parallel() // it waits, mostly
	for name, configure := range map[string]func(*node.Config){"messages": small, "bytes": smallBytes} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(tipttest.Start(t, configure))
			o.Only, o.Quota = ".*-full", quota
			report := run(t, o)
			clean(t, report)
			if passed := report.Count(Passed); passed != 5 {
				t.Errorf("%d clauses passed, want 5", passed)
			}
		})
	}
}

// A limit that is not reached fails nothing, and passes nothing: the suite gives up when the node says BUSY,
// and where it does not know how little the node holds, after so many messages.
func TestLimitsNotReached(t *testing.T) {
	t.Parallel() // it waits, mostly
	for _, tt := range []struct {
		name, scenarios, why string
		configure            func(*node.Config)
		change               func(*Options)
	}{
		{"busy", ".*-full", "BUSY after 20 messages", func(c *node.Config) { c.Limits.UserMessages = 20 }, func(o *Options) { o.Quota = quota }},
		{"unknown", "outbox-full", "not reached after 10001 messages", asUsual, func(o *Options) { o.Slow = true }},
		{"connections", "connections-short", "did not run short", asUsual, func(o *Options) { o.Connections, o.unsigned = 10, time.Millisecond }},
		{"failures", "failed-sign-ins", "10 failures for one name, and no BUSY", asUsual, func(*Options) {}},
		{"neither", ".*-full", "give --slow, or --quota", asUsual, func(*Options) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := options(tipttest.Start(t, tt.configure))
			o.Only = tt.scenarios
			tt.change(&o)
			report := run(t, o)
			for _, result := range report.Results {
				if slices.Contains(always, result.Clause.ID) {
					continue
				}
				if result.Status != NotTested || !strings.Contains(result.Why, tt.why) {
					t.Errorf("%s %s: %s %+v", result.Clause.ID, result.Status, result.Why, result.Findings)
				}
			}
		})
	}
}

// A node whose quota is larger than the tester says is one that does not keep to it.
func TestQuotaExceeded(t *testing.T) {
	t.Parallel() // it waits, mostly
	o := options(tipttest.Start(t, small))
	o.Only, o.Quota = ".*-full", quota-1
	var failed []string
	for _, result := range run(t, o).Results {
		if result.Status == Failed {
			failed = append(failed, result.Clause.ID)
		}
	}
	if want := []string{"T-4.94", "T-6.9"}; !slices.Equal(failed, want) {
		t.Errorf("failed: %v, want %v", failed, want)
	}
}

// staysFull is a node at which a mailbox that was full once takes nothing more.
func staysFull() defect {
	var full atomic.Bool
	return answers("T-4.102", "stays full", func(resp raw) raw {
		v, err := unpack(resp)
		if err != nil {
			return resp
		}
		if answerCode(v) == errMailboxFull {
			full.Store(true)
		}
		if full.Load() {
			return fields{"err", fields{"code", errMailboxFull}}.pack()
		}
		return resp
	})
}

// quotaFirst is a node that refuses a resend, too, when its mailbox is full.
func quotaFirst() defect {
	var full atomic.Bool
	return answers("T-5.25", "looks at the quota first", func(resp raw) raw {
		v, err := unpack(resp)
		if err == nil && answerCode(v) == errMailboxFull {
			full.Store(true)
		} else if err == nil && full.Load() {
			return fields{"err", fields{"code", errMailboxFull}}.pack()
		}
		return resp
	})
}

var quotaDefects = []defect{
	answersWith("T-4.94", errMailboxFull, ok).of(small),
	answersWith("T-4.94", errMailboxFull, errNoSuchUser).of(small),
	staysFull().of(small),
	lost("T-4.102", func(_ *bent, f fields) bool { return says(f, "1 000007") || says(f, "4 000007") }).of(small),
	lost("T-4.103", func(_ *bent, f fields) bool { return refuses(f, errNoSuchUser) }).of(small),
	swap("T-6.9", reqForward, errOutboxFull, ok).of(small),
	dropped("T-2.142", "does not count EVENTs", func(fields) bool { return true }).of(small),
	swap("T-6.9", reqForward, errOutboxFull, errInternal).of(small),
	quotaFirst().during("mailbox-full").of(small),
}

// refuses reports whether a RETURN brings that refusal of a destination.
func refuses(f fields, code int) bool {
	b, _ := f.part("body").get("resp").(raw)
	resp, err := unpack(b)
	if err != nil || resp.bytes() == nil {
		return false
	}
	answer, err := unpack(resp.bytes())
	return err == nil && answerCode(answer) == code
}
