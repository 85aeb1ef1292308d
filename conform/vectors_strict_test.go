package conform

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A judge finds the clauses that a message breaks.
type judge struct {
	newer   bool // unknown keys are skipped
	clauses []string
}

func (s *judge) breaks(clauses ...string) {
	for _, c := range clauses {
		if !slices.Contains(s.clauses, c) {
			s.clauses = append(s.clauses, c)
		}
	}
}

// clauseOf is what bytes break that are no value.
func clauseOf(err error) string {
	switch {
	case errors.Is(err, errUnused):
		return "T-2.19"
	case errors.Is(err, errDeep):
		return "T-2.22"
	}
	return "T-2.20"
}

// all finds what section 2 forbids whatever the keys are.
func (s *judge) all(v *value, depth int) {
	switch v.kind {
	case kindExt:
		s.breaks("T-2.19")
	case kindStr:
		if !utf8.Valid(v.content) {
			s.breaks("T-2.15")
		}
	case kindArray, kindMap:
		if depth > 4 {
			s.breaks("T-2.22")
		}
		if v.marker == 0xdd || v.marker == 0xdf {
			s.breaks("T-2.23")
		}
		seen := make(map[string]bool)
		for i, item := range v.items {
			s.all(item, depth+1)
			if v.kind == kindArray || i%2 == 1 {
				continue
			}
			if item.kind != kindStr || item.marker > 0xd9 {
				s.breaks("T-2.23")
			}
			if seen[string(item.content)] {
				s.breaks("T-2.17")
			}
			seen[string(item.content)] = true
		}
	}
}

// fields holds a map against a declaration. A key with "/" is one of several of which one is there.
func (s *judge) fields(of, declared string, v *value) {
	if v == nil || v.kind != kindMap {
		s.breaks("T-2.13")
		return
	}
	var known []string
	choices, made := false, 0
	for f := range strings.FieldsSeq(declared) {
		part := strings.Split(f, ":")
		key := strings.TrimRight(part[0], "?/")
		known = append(known, key)
		got := v.get(key)
		if strings.HasSuffix(part[0], "/") {
			choices = true
			if got != nil {
				made++
			}
		}
		switch {
		case got == nil && part[0] == key:
			s.breaks("T-2.16")
		case got == nil, part[1] == "any":
		case got.kind == kindNil && strings.HasSuffix(part[0], "?") && !strings.Contains(part[1], "nil"):
			s.breaks("T-2.21")
		default:
			s.value(of, key, part, got)
		}
	}
	if choices && made != 1 {
		s.breaks("T-4.22")
	}
	for i := 0; i < len(v.items); i += 2 {
		if !s.newer && !slices.Contains(known, string(v.items[i].content)) {
			s.breaks("T-2.24")
		}
	}
}

// kinds are those of the declared types, and the widest marker of each.
var declaredKinds = map[string]struct {
	kind   kind
	widest byte
}{
	"str8": {kindStr, 0xd9}, "str16": {kindStr, 0xda}, "str32": {kindStr, 0xdb}, "bin8": {kindBin, 0xc4}, "bin16": {kindBin, 0xc5}, "bin32": {kindBin, 0xc6},
	"enum": {kindUint, 0x7f}, "uint8": {kindUint, 0xcc}, "uint16": {kindUint, 0xcd}, "uint32": {kindUint, 0xce}, "uint64": {kindUint, 0xcf},
	"bool": {kindBool, 0xc3}, "nil": {kindNil, 0xc0}, "map": {kindMap, 0xde}, "array": {kindArray, 0xdc},
}

func (s *judge) value(of, key string, part []string, got *value) {
	clause := "T-2.13"
	for declared := range strings.SplitSeq(part[1], "|") {
		want := declaredKinds[declared]
		switch {
		case got.kind != want.kind:
		case got.marker > want.widest:
			clause = "T-2.12"
		default:
			clause = ""
		}
		if clause == "" {
			break
		}
	}
	if clause != "" {
		s.breaks(clause)
		return
	}
	if part[1] == "uint64" && got.n > anyNumber {
		s.breaks("T-2.13")
	}
	if len(part) < 3 || got.kind == kindNil {
		return
	}
	least, most, _ := strings.Cut(part[2], "-")
	low, _ := strconv.ParseUint(least, 10, 64)
	high, _ := strconv.ParseUint(most, 10, 64)
	if got.n >= low && got.n <= high {
		return
	}
	switch {
	case key == "dev" && of == "REMOVE_DEVICE request":
		s.breaks("T-4.45")
	case key == "dev":
		s.breaks("T-4.26")
	case key == "ref":
		s.breaks("T-4.65")
	case key == "msg" && of == "CNNodeForwardRequest":
		s.breaks("T-5.24")
	case key == "msg" && strings.HasPrefix(of, "FORWARD "):
		s.breaks("T-4.64")
	case key == "key":
		s.breaks("T-4.51")
	default:
		s.breaks("T-2.13") // of what a node sends, whose clause is another
	}
}

// strictly is what readStrictly found.
type strictly struct {
	root     *value
	readable bool
	id, pakt int64
	newer    bool
	clauses  []string
}

// readStrictly reads a client's packet. The version stands for `ver` in the drafts' form.
func readStrictly(b []byte, drafts bool, version string) strictly {
	var r strictly
	r.id, r.pakt, r.readable = idOf(b)
	s := new(judge)
	root, err := unpack(b)
	key := "" // of the root, what is wrong first
	if err != nil {
		s.breaks(clauseOf(err))
	} else {
		r.root = root
		key = s.root(b, root, drafts, version)
		r.newer = s.newer
	}
	if len(s.clauses) == 0 {
		return r
	}
	// What a packet is decides what comes of it.
	switch {
	case !r.readable:
		s.breaks("T-3.5")
	case r.pakt > pktEvent:
		s.breaks("T-3.7")
	case r.pakt == pktEvent:
		s.breaks("T-2.34")
	case r.pakt == pktResponse && key == "err":
		s.breaks("T-6.4")
	case r.pakt == pktResponse:
		s.breaks("T-3.8")
	}
	r.clauses = s.clauses
	return r
}

// root holds a root against section 2, and says which key was wrong, if it is err.
func (s *judge) root(b []byte, root *value, drafts bool, version string) (key string) {
	s.all(root, 1)
	if root.end != len(b) {
		s.breaks("T-2.18")
	}
	if root.kind != kindMap {
		s.breaks("T-2.23")
		return ""
	}
	ver := root.get("ver")
	switch {
	case drafts && ver != nil:
		s.breaks("T-9.2")
	case drafts && version == "":
		// The HANDSHAKE has yet to say it.
	case drafts:
		s.newer = newerThanOne(version)
	case ver == nil:
		s.breaks("T-2.3")
	case ver.kind != kindStr:
		s.breaks("T-2.13")
	case ver.marker > 0xd9:
		s.breaks("T-2.12")
	case len(ver.content) > 64 || !semver.Match(ver.content):
		s.breaks("T-2.3")
	default:
		s.newer = newerThanOne(ver.str())
	}
	id, pakt, reqt, body := root.get("id"), root.get("pakt"), root.get("reqt"), root.get("body")
	if id == nil || id.kind != kindUint || id.marker > 0xcc || pakt == nil || pakt.kind != kindUint || pakt.marker > 0x7f {
		s.breaks("T-3.5")
	}
	switch isEnum := reqt != nil && reqt.kind == kindUint && reqt.marker <= 0x7f; {
	case pakt.num() > pktEvent:
		s.breaks("T-3.7")
	case pakt.num() == pktResponse && !reqt.isNil(), pakt.num() != pktResponse && !isEnum:
		s.breaks("T-2.5")
	}
	if !body.isNil() && body.kind != kindMap {
		s.breaks("T-2.13")
	}
	for i := 0; i < len(root.items); i += 2 {
		if name := string(root.items[i].content); !s.newer && !slices.Contains([]string{"ver", "id", "pakt", "reqt", "body", "err"}, name) {
			s.breaks("T-2.24")
		}
	}
	e := root.get("err")
	if e == nil {
		return ""
	}
	before := len(s.clauses)
	switch {
	case pakt.num() != pktResponse:
		s.breaks("T-2.9")
	case drafts && (e.kind != kindUint || e.marker > 0x7f):
		s.breaks("T-9.2")
	case !drafts:
		inner := &judge{newer: s.newer}
		inner.fields("an err", declarations["an err"], e)
		s.clauses = append(s.clauses, inner.clauses...)
	}
	if len(s.clauses) > before {
		return "err"
	}
	if !body.isNil() {
		s.breaks("T-2.8")
	}
	return ""
}

// idOf reads id and pakt as far as section 3.1 lets one.
func idOf(b []byte) (id, pakt int64, readable bool) {
	if len(b) == 0 || b[0]&0xf0 != 0x80 && b[0] != 0xde {
		return 0, 0, false
	}
	entries, at := int(b[0]&15), 1
	if b[0] == 0xde {
		if len(b) < 3 {
			return 0, 0, false
		}
		entries, at = int(b[1])<<8|int(b[2]), 3
	}
	met := make(map[string]int)
	values := make(map[string]int64)
	for range entries {
		key, err := unpackAt(b, at, 0)
		if err != nil || key.depth() > 3 {
			break
		}
		at = key.end
		name := ""
		if key.kind == kindStr && key.marker <= 0xd9 {
			name = string(key.content)
			met[name]++
		}
		v, err := unpackAt(b, at, 0)
		if err != nil || v.depth() > 3 {
			if name != "" {
				delete(values, name)
			}
			break
		}
		at = v.end
		widest := map[string]byte{"id": 0xcc, "pakt": 0x7f}[name]
		if v.kind == kindUint && v.marker <= widest {
			values[name] = int64(v.n)
		}
	}
	id, okID := values["id"]
	pakt, okPakt := values["pakt"]
	if !okID || !okPakt || met["id"] != 1 || met["pakt"] != 1 {
		return 0, 0, false
	}
	return id, pakt, true
}

// depth is how deep maps and arrays nest in v.
func (v *value) depth() int {
	if v.kind != kindMap && v.kind != kindArray {
		return 0
	}
	most := 0
	for _, item := range v.items {
		most = max(most, item.depth())
	}
	return most + 1
}

// chosen reports whether a first packet is a HANDSHAKE in the drafts' form, and its version.
func chosen(b []byte) (version string, drafts bool) {
	root, err := unpack(b)
	sound := new(judge)
	if err == nil {
		sound.all(root, 1)
	}
	if err != nil || root.end != len(b) || len(sound.clauses) > 0 || root.get("ver") != nil || root.get("pakt").num() != pktRequest || root.get("reqt").num() != reqHandshake {
		return "", false
	}
	ver := root.get("body").get("ver")
	return ver.str(), ver != nil
}

// newerThanOne reports whether a version comes after 1.0.0 by precedence.
func newerThanOne(version string) bool {
	if !semver.MatchString(version) {
		return false
	}
	version, _, _ = strings.Cut(version, "+")
	core, _, pre := strings.Cut(version, "-")
	if core == "1.0.0" || pre && core == "0.0.0" {
		return false
	}
	return core[0] != '0'
}
