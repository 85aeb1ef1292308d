package conform

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// protocol returns the part of the protocol between a heading and the next of its rank.
func protocol(t *testing.T, heading string) string {
	t.Helper()
	b, err := os.ReadFile(protocolPath)
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(b), "\n"+heading+"\n")
	if !found {
		t.Fatalf("the protocol has no %q", heading)
	}
	rank, _, _ := strings.Cut(heading, " ")
	if end := regexp.MustCompile(`\n#{2,` + strconv.Itoa(len(rank)) + `} `).FindStringIndex(part); end != nil {
		part = part[:end[0]]
	}
	return part
}

// declared are the keys that a text of the protocol declares, in tables and in braces, with their types; a "?" behind
// that marks those that may be left out.
func declaredKeys(text string) map[string]string {
	keys := make(map[string]string)
	const kind = `((?:str|bin|uint)[0-9]+|enum|bool|map|array|nil)`
	for _, form := range []string{"(?m)^\\| `([a-z]+)`(\\??) \\| " + kind, "[{,] ?`([a-z]+)`(\\??) " + kind} {
		for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(text, -1) {
			keys[m[1]] = m[3] + m[2]
		}
	}
	return keys
}

func asDeclared(keys []key) map[string]string {
	all := make(map[string]string)
	for _, k := range keys {
		all[k.name] = k.declared
		if k.optional {
			all[k.name] += "?"
		}
	}
	return all
}

// code reads 0x20.
func code(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.ParseUint(text, 0, 8)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// TestKeys holds the keys that are swept against those that the protocol declares, so that none is left out.
func TestKeys(t *testing.T) {
	check := func(what string, want, got map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the keys of %s (-protocol +swept):\n%s", what, diff)
		}
	}
	bodies := protocol(t, "## 4. Bodies")
	swept := make(map[int]map[string]string)
	for code, keys := range requestKeys {
		if swept[code&0xff] == nil {
			swept[code&0xff] = make(map[string]string)
		}
		maps.Copy(swept[code&0xff], asDeclared(keys))
	}
	for _, m := range regexp.MustCompile(`\n### ([A-Z_]+) \((0x[0-9a-f]{2})\)\n`).FindAllStringSubmatch(bodies, -1) {
		number := code(t, m[2])
		if requestNames[number] != m[1] {
			t.Errorf("request %s is %q in the protocol", m[2], m[1])
		}
		request, response, _ := strings.Cut(protocol(t, strings.TrimSpace(m[0])), "Response")
		want := declaredKeys(request)
		if len(want) > 0 || swept[number] != nil {
			check("request "+m[1], want, swept[number])
		}
		if shape, has := responses[number]; has && number != reqListDevices {
			check("the response to "+m[1], declaredKeys(response), shape.shape.declared())
		}
	}
	for heading, shape := range map[string]shape{
		"### DELIVER (0x00, to the client)": deliverShape, "### RETURN (0x01, to the client)": returnShape,
		"### GOING_AWAY (0x00, event to the client)": goingAwayShape, "### LIST_DEVICES (0x41)": append(shape{{key: "devs", declared: "array"}}, deviceShape...),
		"## 6. Errors": errorShape,
	} {
		text := protocol(t, heading)
		if heading == "### RETURN (0x01, to the client)" { // of two, one is there
			text = strings.NewReplacer("| `resp` |", "| `resp`? |", "| `code` |", "| `code`? |").Replace(text)
		}
		check(heading, declaredKeys(text), shape.declared())
	}
	root := make(map[string]string)
	for _, k := range responseKeys {
		if k.in == "err." {
			root[k.name] = asDeclared([]key{k.key})[k.name]
		}
	}
	check("err", declaredKeys(protocol(t, "## 6. Errors")), root)
	if got := slices.Sorted(maps.Keys(declaredKeys(strings.Split(protocol(t, "## 2. Packets"), "\n### ")[0]))); !slices.Equal(got, slices.Sorted(slices.Values(rootKeys))) {
		t.Errorf("the root has %q in the protocol", got)
	}
	inside := protocol(t, "### 5.3 Inside the seal")
	for kind, keys := range sealedKeys {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| 0x%02x \| %s \|([^|]*)\|`, kind, sealedNames[kind])).FindStringSubmatch(inside)
		if row == nil {
			t.Fatalf("the protocol has no sealed request %d, %s", kind, sealedNames[kind])
		}
		check(sealedNames[kind], declaredKeys("{"+strings.TrimSpace(row[1])), asDeclared(keys))
	}
	if rows := regexp.MustCompile(`(?m)^\| 0x`).FindAllString(inside, -1); len(rows) != len(sealedKeys) {
		t.Errorf("the protocol has %d sealed requests", len(rows))
	}
	_, request, _ := strings.Cut(inside, "CNNodeForwardRequest = map ")
	request, _, _ = strings.Cut(request, "}")
	check("CNNodeForwardRequest", declaredKeys(request), asDeclared(sealedRoot))
}

// declared are the shape's keys with their types.
func (s shape) declared() map[string]string {
	all := make(map[string]string)
	for _, f := range s {
		all[f.key] = f.declared
		if f.optional {
			all[f.key] += "?"
		}
	}
	return all
}

// TestRequests holds the requests that are made in every state against the table of section 2.
func TestRequests(t *testing.T) {
	text := protocol(t, "### CNNodeRequestType: requests to the node")
	who := map[string]int{"everybody, first, once": first, "only before signing in": beforehand, "before and after signing in": anybody, "only signed in": members}
	found := make(map[int]int)
	for _, m := range regexp.MustCompile(`(?m)^\| (0x[0-9a-f]{2}) \| ([A-Z_]+) \| ([^|]*) \|$`).FindAllStringSubmatch(text, -1) {
		number := code(t, m[1])
		if requestNames[number] != m[2] {
			t.Errorf("request %s is %q in the protocol", m[1], m[2])
		}
		may, known := who[m[3]]
		if !known {
			t.Errorf("%s: %q is who?", m[2], m[3])
		}
		found[number] = may
	}
	if diff := cmp.Diff(found, mayMake); diff != "" {
		t.Errorf("who may make a request (-protocol +suite):\n%s", diff)
	}
	if got := slices.Sorted(maps.Keys(mayMake)); !slices.Equal(got, requests) {
		t.Errorf("the requests are %v, and in the table %v", requests, got)
	}
}

// provoked are the clauses whose scenarios provoke an error.
var (
	provoked = map[int]string{
		errInternal: "T-6.6", errMalformed: "T-2.12", errUnsupported: "T-2.28", errHandshakeRequired: "T-3.25", errHandshakeDone: "T-3.26",
		errVersion: "T-3.27", errSignInRequired: "T-3.29", errSignedIn: "T-3.30", errBusy: "T-4.53", errTooLarge: "T-4.64",
		errNameTaken: "T-4.14", errNameInvalid: "T-4.5", errPasswordInvalid: "T-4.12", errRegistrationClosed: "T-4.18", errInviteInvalid: "T-4.15",
		errCredentials: "T-4.23", errDisabled: "T-4.33", errNodeInvalid: "T-4.2", errNodeUnreachable: "T-4.68", errNodeTimeout: "T-4.149",
		errNodeRefused: "T-4.69", errOutboxFull: "T-6.9",
	}
	provokedInside = map[int]string{
		errMalformed: "T-5.21", errUnsupported: "T-5.22", errNoSuchUser: "T-5.23", errMailboxFull: "T-4.94", errCannotOpen: "T-5.19",
	}
)

// TestErrors wants each error of the protocol to be provoked by a clause that names it, and no other.
func TestErrors(t *testing.T) {
	clauses := make(map[string]Clause)
	for _, c := range Clauses() {
		clauses[c.ID] = c
	}
	_, text, _ := strings.Cut(protocol(t, "## 6. Errors"), "CNNodeResponseError, in a node's response:")
	nodes, text, _ := strings.Cut(text, "CNClientResponseError, in a client's response:")
	_, inside, _ := strings.Cut(text, "CNNodeForwardError, in a destination's answer (5.3):")
	for _, table := range []struct {
		text     string
		names    map[int]string
		provoked map[int]string
	}{{nodes, errorNames, provoked}, {inside, answerNames, provokedInside}} {
		found := map[int]string{ok: "no error"}
		for _, m := range regexp.MustCompile(`(?m)^\| (0x[0-9a-f]{2}) \| ([A-Z_]+) \|`).FindAllStringSubmatch(table.text, -1) {
			found[code(t, m[1])] = m[2]
		}
		if diff := cmp.Diff(found, table.names); diff != "" {
			t.Errorf("the errors (-protocol +suite):\n%s", diff)
		}
		for number, name := range found {
			if number == ok {
				continue
			}
			c := clauses[table.provoked[number]]
			if !regexp.MustCompile(`\b`+name+`\b`).MatchString(c.Text) || !c.of(NodeSide) || c.Untested != "" && name != "INTERNAL" {
				t.Errorf("%s is not provoked by %q: %s", name, table.provoked[number], c.Text)
			}
		}
		if len(table.provoked) != len(found)-1 {
			t.Errorf("%d errors are provoked, of %d", len(table.provoked), len(found)-1)
		}
	}
}
