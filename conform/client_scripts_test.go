package conform

import (
	"net/http"
	"regexp"
	"testing"
	"time"
)

// scriptClient is in place of the clause of what scriptClients are.
const scriptClient = "script"

// scriptClients are such as a script in a browser may be.
var scriptClients = []clientDefect{
	clientDefect{defect: defect{clause: scriptClient, name: "good", up: closingAs(4000)}, hello: withOrigin}.asking(func(b *bent, f fields) []raw {
		if isAsking(f, reqSignIn) {
			info := f.with("id", 99).with("reqt", reqGetInfo).without("body")
			b.later(time.Second, func() { b.put(info) })
		}
		return nil
	}).ignoring(99),
	{defect: defect{clause: scriptClient, name: "pings", up: closingAs(4000)}, hello: withOrigin, pings: true},
	{defect: defect{clause: scriptClient, name: "never pings", up: closingAs(4000)}, hello: withOrigin},
}

// clientScriptDefects are scripts that close as they may not.
var clientScriptDefects = []clientDefect{
	{defect: defect{clause: "T-1.36", name: "a code below 3000"}, hello: withOrigin},
	{defect: defect{clause: "T-1.36", name: "a code below 3000, elsewhere", only: "client-unasked"}, hello: withOrigin},
	{defect: defect{clause: "T-1.36", name: "1000 for all", up: closingAs(1000)}, hello: withOrigin},
	{defect: defect{clause: "T-1.36", name: "a code of its own", up: closingAs(4009)}, hello: withOrigin},
}

func withOrigin(r *http.Request) { r.Header.Set("Origin", "https://chat.example") }

// closingAs has a client close with a code where it would with another below 3000.
func closingAs(code int) func(*bent, frame) []frame {
	return func(_ *bent, f frame) []frame {
		if f.opcode == opClose && len(f.payload) >= 2 {
			if was := int(f.payload[0])<<8 | int(f.payload[1]); was < 3000 && was != 1000 {
				f.payload = []byte{byte(code >> 8), byte(code)}
			}
		}
		return []frame{f}
	}
}

// What concerns a script in a browser passes with one that does as it may.
func TestClientInABrowser(t *testing.T) {
	cmd, err := command(scriptClient, "good")
	if err != nil {
		t.Fatal(err)
	}
	report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: `T-1\.(36|7[124])|T-3\.7[35]`})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, report, clientDraftAlone)
	if passed := report.Count(Passed); passed < 6 {
		t.Errorf("only %d clauses were tested", passed)
	}
}

// A script sends GET_INFO, which stands for PING.
func TestScriptsThatPing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken []string
	}{
		{"good", nil},
		{"pings", []string{"T-1.26"}},
		{"never pings", []string{"T-1.25", "T-1.26"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd, err := command(scriptClient, tt.name)
			if err != nil {
				t.Fatal(err)
			}
			only := regexp.MustCompile(`T-1\.2[56]`)
			report, err := RunClient(t.Context(), ClientOptions{Command: cmd, Only: only.String(), Slow: true, minute: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			var broken []string
			for _, result := range report.Results {
				if only.MatchString(result.Clause.ID) && len(result.Findings) > 0 {
					broken = append(broken, result.Clause.ID)
				}
			}
			if len(broken) != len(tt.broken) || len(broken) > 0 && broken[0] != tt.broken[0] {
				t.Errorf("it breaks %v, want %v", broken, tt.broken)
			}
		})
	}
}
