package conform

import (
	"fmt"
	"regexp"
	"slices"
)

// Packet types.
const (
	pktRequest  = 0
	pktResponse = 1
	pktEvent    = 2
)

// Requests to the node.
const (
	reqHandshake     = 0x00
	reqRegister      = 0x01
	reqSignIn        = 0x02
	reqGetInfo       = 0x03
	reqForward       = 0x20
	reqGetNodeKey    = 0x21
	reqSetPassword   = 0x40
	reqListDevices   = 0x41
	reqRemoveDevice  = 0x42
	reqDeleteAccount = 0x43
	reqSetKey        = 0x44
)

// requests are those of section 2's table.
var requests = []int{
	reqHandshake, reqRegister, reqSignIn, reqGetInfo, reqForward, reqGetNodeKey,
	reqSetPassword, reqListDevices, reqRemoveDevice, reqDeleteAccount, reqSetKey,
}

var requestNames = map[int]string{
	reqHandshake: "HANDSHAKE", reqRegister: "REGISTER", reqSignIn: "SIGN_IN", reqGetInfo: "GET_INFO", reqForward: "FORWARD",
	reqGetNodeKey: "GET_NODE_KEY", reqSetPassword: "SET_PASSWORD", reqListDevices: "LIST_DEVICES",
	byToken: "SIGN_IN by token", reqRemoveDevice: "REMOVE_DEVICE", reqDeleteAccount: "DELETE_ACCOUNT", reqSetKey: "SET_KEY",
}

// Requests and events to the client.
const (
	reqDeliver    = 0x00
	reqReturn     = 0x01
	evtGoingAway  = 0x00
	newestRequest = reqReturn
)

// Errors. ok stands for a response without one.
const (
	ok                    = -1
	noCode                = -2 // of an err that has none
	errInternal           = 0x00
	errMalformed          = 0x01
	errUnsupported        = 0x02
	errHandshakeRequired  = 0x03
	errHandshakeDone      = 0x04
	errVersion            = 0x05
	errSignInRequired     = 0x06
	errSignedIn           = 0x07
	errBusy               = 0x08
	errTooLarge           = 0x09
	errNameTaken          = 0x10
	errNameInvalid        = 0x11
	errPasswordInvalid    = 0x12
	errRegistrationClosed = 0x13
	errInviteInvalid      = 0x14
	errCredentials        = 0x18
	errDisabled           = 0x19
	errNodeInvalid        = 0x20
	errNodeUnreachable    = 0x21
	errNodeTimeout        = 0x22
	errNodeRefused        = 0x23
	errOutboxFull         = 0x24

	// In a client's response, and in a destination's answer.
	errRejected    = 0x30
	errNoSuchUser  = 0x30
	errMailboxFull = 0x31
	errCannotOpen  = 0x34
)

var errorNames = map[int]string{
	ok: "no error", errInternal: "INTERNAL", errMalformed: "MALFORMED", errUnsupported: "UNSUPPORTED",
	errHandshakeRequired: "HANDSHAKE_REQUIRED", errHandshakeDone: "HANDSHAKE_DONE", errVersion: "VERSION",
	errSignInRequired: "SIGN_IN_REQUIRED", errSignedIn: "SIGNED_IN", errBusy: "BUSY", errTooLarge: "TOO_LARGE",
	errNameTaken: "NAME_TAKEN", errNameInvalid: "NAME_INVALID", errPasswordInvalid: "PASSWORD_INVALID",
	errRegistrationClosed: "REGISTRATION_CLOSED", errInviteInvalid: "INVITE_INVALID", errCredentials: "CREDENTIALS",
	errDisabled: "DISABLED", errNodeInvalid: "NODE_INVALID", errNodeUnreachable: "NODE_UNREACHABLE",
	errNodeTimeout: "NODE_TIMEOUT", errNodeRefused: "NODE_REFUSED", errOutboxFull: "OUTBOX_FULL",
}

var answerNames = map[int]string{
	ok: "no error", errMalformed: "MALFORMED", errUnsupported: "UNSUPPORTED", errNoSuchUser: "NO_SUCH_USER",
	errMailboxFull: "MAILBOX_FULL", errCannotOpen: "CANNOT_OPEN",
}

func errorName(code int) string { return codeName(errorNames, code) }

func codeName(names map[int]string, code int) string {
	if code == noCode {
		return "an err without a code"
	}
	if name, known := names[code]; known {
		return name
	}
	return fmt.Sprintf("0x%02x", code)
}

// names says what the numbers of a packet's pakt and reqt stand for.
func (c Crossing) names(root *value) map[*value]string {
	pakt, reqt := root.get("pakt"), root.get("reqt")
	names := map[*value]string{}
	if n := pakt.num(); n >= pktRequest && n <= pktEvent {
		names[pakt] = [...]string{"REQUEST", "RESPONSE", "EVENT"}[n]
	}
	switch number := int(reqt.num()); {
	case pakt.num() == pktRequest && c.toNode:
		if c.drafts && number == draftForward {
			number = reqForward
		} else if c.drafts && number == draftGetNodeKey {
			number = reqGetNodeKey
		}
		names[reqt] = requestNames[number]
	case pakt.num() == pktRequest && number >= reqDeliver && number <= newestRequest:
		names[reqt] = [...]string{"DELIVER", "RETURN"}[number]
	case pakt.num() == pktEvent && number == evtGoingAway && !c.toNode:
		names[reqt] = "GOING_AWAY"
	}
	return names
}

// A packet is one that the other side sent.
type packet struct {
	bytes []byte
	root  *value
	pakt  int
	id    uint8
	reqt  int // -1 where there is none
	body  *value
	code  int // of its error, or ok

	ofClient bool // it came from a client
}

// String says what the packet is, in one line.
func (p *packet) String() string {
	switch {
	case p.ofClient && p.pakt == pktResponse:
		return guestResponse(p)
	case p.ofClient:
		return guestName(p)
	}
	switch p.pakt {
	case pktRequest:
		name := [...]string{"DELIVER", "RETURN"}[min(max(0, p.reqt), newestRequest)]
		return fmt.Sprintf("request %s with id %d", name, p.id)
	case pktEvent:
		return fmt.Sprintf("event 0x%02x", p.reqt)
	}
	text := fmt.Sprintf("response %d, %s", p.id, errorName(p.code))
	if msg := p.root.get("err").get("msg").str(); msg != "" {
		text += fmt.Sprintf(" (%q)", msg)
	}
	return text
}

// wait returns the milliseconds that a BUSY asks for, or 0.
func (p *packet) wait() int64 { return max(0, p.root.get("err").get("wait").num()) }

// semver is the grammar of semver.org.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

// everyPacket is in place of a scenario for what is checked whenever a node sends something.
const everyPacket = "every-packet"

// always are the clauses that every packet of a node is held against.
var always = []string{
	"T-1.8", "T-1.200", "T-1.17", "T-1.39", "T-2.1", "T-2.2", "T-2.4", "T-2.8", "T-2.10", "T-2.29", "T-2.30", "T-2.38", "T-2.210", "T-3.1", "T-3.13", "T-4.10", "T-6.1", "T-6.2",
	"T-6.190",
}

// rootKeys are those of every packet.
var rootKeys = []string{"ver", "id", "pakt", "reqt", "body", "err"}

// rootTypes are the types of those of them that a marker can be too wide for.
var rootTypes = []key{{name: "ver", declared: "str8"}, {name: "id", declared: "uint8"}, {name: "pakt", declared: "enum"}, {name: "reqt", declared: "enum"}}

// readPacket reads a node's packet in the seed's form or that of the later drafts, with what is
// wrong with its root. It returns no packet when its id and pakt are not there.
func readPacket(b []byte, drafts bool) (*packet, []fault) {
	root, err := unpack(b)
	if err != nil {
		return nil, []fault{{"T-2.1", "bytes that are no msgpack: " + err.Error()}}
	}
	found := root.faults(1)
	if root.end != len(b) {
		found = append(found, fault{"T-2.1", fmt.Sprintf("%d bytes behind the root map", len(b)-root.end)})
	}
	if root.kind != kindMap {
		return nil, append(found, fault{"T-2.1", "a root that is no map but " + root.kind.String()})
	}
	for i := 0; i < len(root.items); i += 2 {
		if key := string(root.items[i].content); !slices.Contains(rootKeys, key) {
			found = append(found, fault{"T-2.1", "the unknown key " + key + " in the root"})
		}
	}
	switch ver := root.get("ver"); {
	case drafts && ver != nil:
		found = append(found, fault{"T-9.2", fmt.Sprintf("ver %q in the root", ver.str())})
	case drafts:
	case len(ver.str()) > 64 || !semver.MatchString(ver.str()):
		found = append(found, fault{"T-2.2", fmt.Sprintf("ver %q", ver.str())})
	}
	for _, k := range rootTypes {
		found = append(found, root.get(k.name).wide(k.name, k.declared)...)
	}
	p := &packet{bytes: b, root: root, reqt: -1, body: root.get("body"), code: ok}
	id, pakt := root.get("id").num(), root.get("pakt").num()
	if id < 0 || id > 255 || pakt < 0 || pakt > pktEvent {
		return nil, append(found, fault{"T-2.1", "no id, or no pakt of 0 to 2"})
	}
	p.id, p.pakt = uint8(id), int(pakt)
	reqt := root.get("reqt")
	switch {
	case p.pakt == pktResponse && !reqt.isNil():
		found = append(found, fault{"T-2.4", "a reqt in a RESPONSE"})
	case p.pakt != pktResponse && reqt.num() < 0:
		found = append(found, fault{"T-2.4", "no reqt in a REQUEST or EVENT"})
	case p.pakt == pktRequest && reqt.num() > newestRequest:
		found = append(found, fault{"T-2.29", fmt.Sprintf("a REQUEST with reqt 0x%02x", reqt.num())})
	case p.pakt == pktEvent && reqt.num() != evtGoingAway:
		found = append(found, fault{"T-2.30", fmt.Sprintf("an EVENT with reqt 0x%02x", reqt.num())})
	case p.pakt == pktEvent:
		found = append(found, goingAwayShape.faults("T-2.30", "body", p.body)...)
	}
	p.reqt = int(reqt.num())
	if !p.body.isNil() && p.body.kind != kindMap {
		found = append(found, fault{"T-2.1", "a body that is neither map nor nil but " + p.body.kind.String()})
	}
	if e := root.get("err"); e != nil {
		if p.pakt != pktResponse {
			found = append(found, fault{"T-2.8", "err in what is no RESPONSE"})
		}
		if !p.body.isNil() {
			found = append(found, fault{"T-2.8", "body beside err"})
		}
		code := e.get("code")
		if drafts {
			code = e
			found = append(found, e.wide("err", "enum")...)
			if e.kind != kindUint {
				found = append(found, fault{"T-9.2", "an err that is no bare code but " + e.kind.String()})
			}
		} else {
			found = append(found, errorShape.faults("T-6.1", "err", e)...)
		}
		p.code = noCode
		if n := code.num(); n >= 0 {
			p.code = int(n)
		}
		if p.code == errBusy && !drafts && e.get("wait") == nil {
			found = append(found, fault{"T-6.190", "BUSY without wait"})
		}
		if _, known := errorNames[p.code]; !known {
			found = append(found, fault{"T-6.2", fmt.Sprintf("error code %d", p.code)})
		}
	}
	return p, found
}

// A field is a key of a body as section 4 declares it.
type field struct {
	key      string
	declared string // its type
	most     uint64 // length in bytes, or value
	exact    bool   // most is the only length
	optional bool
}

type shape []field

const anyNumber = 1<<63 - 1

var (
	errorShape = shape{
		{key: "code", declared: "enum", most: 0x7f},
		{key: "msg", declared: "str8", most: 255, optional: true},
		{key: "wait", declared: "uint32", most: 1<<32 - 1, optional: true},
	}
	deliverShape = shape{
		{key: "mid", declared: "bin8", most: 16, exact: true},
		{key: "from", declared: "str16", most: 318, optional: true},
		{key: "time", declared: "uint64", most: anyNumber},
		{key: "msg", declared: "bin32", most: 1_990_000},
	}
	returnShape = shape{
		{key: "mid", declared: "bin8", most: 16, exact: true},
		{key: "ref", declared: "bin8", most: 16, exact: true, optional: true},
		{key: "node", declared: "str8", most: 253},
		{key: "time", declared: "uint64", most: anyNumber},
		{key: "resp", declared: "bin32", most: 4096, optional: true},
		{key: "code", declared: "enum", most: 0x7f, optional: true},
	}
	goingAwayShape = shape{{key: "wait", declared: "uint16", most: 1<<16 - 1}}
	deviceShape    = shape{{key: "dev", declared: "str8", most: 64}, {key: "seen", declared: "uint64", most: anyNumber}, {key: "on", declared: "bool", most: 1}}
)

// bodyless are the requests whose response without an error has no body. FORWARD has clauses of its own.
var bodyless = []int{reqRegister, reqSetPassword, reqRemoveDevice, reqDeleteAccount, reqSetKey}

// responses are the bodies of responses without an error.
var responses = map[int]struct {
	clause string
	shape  shape
}{
	reqHandshake: {"T-4.8", shape{{key: "ver", declared: "str8", most: 64}, {key: "comp", declared: "bool", most: 1}}},
	reqSignIn: {"T-4.19", shape{
		{key: "addr", declared: "str16", most: 318},
		{key: "tok", declared: "bin8", most: 32, exact: true, optional: true},
	}},
	reqGetInfo: {"T-4.37", shape{
		{key: "node", declared: "str8", most: 253},
		{key: "soft", declared: "str8", most: 255},
		{key: "reg", declared: "enum", most: 2},
		{key: "time", declared: "uint64", most: anyNumber},
	}},
	reqGetNodeKey:  {"T-4.70", shape{{key: "key", declared: "bin16", most: 8192}}},
	reqListDevices: {"T-4.42", shape{{key: "devs", declared: "array", most: 1 << 16}}},
}

// faults returns what in v is not as the shape wants it.
func (s shape) faults(clause, where string, v *value) []fault {
	if v == nil || v.kind != kindMap {
		return []fault{{clause, where + " is no map"}}
	}
	var found []fault
	for i := 0; i < len(v.items); i += 2 {
		key := string(v.items[i].content)
		if !slices.ContainsFunc(s, func(f field) bool { return f.key == key }) {
			found = append(found, fault{clause, fmt.Sprintf("the unknown key %s.%s", where, key)})
		}
	}
	for _, f := range s {
		switch got := v.get(f.key); {
		case got == nil && !f.optional:
			found = append(found, fault{clause, fmt.Sprintf("%s.%s is missing", where, f.key)})
		case got == nil:
		case got.kind != kindOf(f.declared):
			found = append(found, fault{clause, fmt.Sprintf("%s.%s is %s, not %s", where, f.key, got.kind, kindOf(f.declared))})
		case got.n > f.most || f.exact && got.n != f.most:
			found = append(found, fault{clause, fmt.Sprintf("%s.%s has %d, more or less than %d", where, f.key, got.n, f.most)})
		}
		found = append(found, v.get(f.key).wide(where+"."+f.key, f.declared)...)
	}
	return found
}
