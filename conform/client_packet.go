package conform

import (
	"fmt"
	"slices"
)

// clientAlways are the clauses that every packet of a client is held against.
var clientAlways = []string{
	"T-1.70", "T-2.37", "T-2.70", "T-2.71", "T-2.210", "T-3.37", "T-3.38", "T-3.70", "T-3.74", "T-3.220", "T-4.120", "T-4.121", "T-4.125", "T-5.70", "T-5.71", "T-6.20",
	"T-9.7",
}

// clientCodes are those of CNClientResponseError.
var clientCodes = []int{errInternal, errMalformed, errUnsupported, errBusy, errRejected}

// ofAClient are the clauses of a client's packets for those of a node's; what is not here is
// not a client's.
var ofAClient = map[string]string{
	"T-2.1": "T-2.37", "T-2.2": "T-2.37", "T-2.4": "T-2.71", "T-2.8": "T-2.71", "T-2.10": "T-2.70", "T-2.210": "T-2.210", "T-6.1": "T-6.20", "T-9.2": "T-9.7",
}

// readGuestPacket is readPacket for those of a client, whose codes become the seed's.
func readGuestPacket(b []byte, drafts bool) (*packet, []fault) {
	p, against := readPacket(b, drafts)
	var found []fault
	for _, f := range against {
		if clause := ofAClient[f.clause]; clause != "" {
			found = append(found, fault{clause, f.what})
		}
	}
	if p == nil {
		return nil, found
	}
	p.ofClient = true
	if drafts && p.pakt != pktResponse {
		p.reqt = guestCode(p.reqt)
	}
	if p.code != ok && p.code != noCode && !slices.Contains(clientCodes, p.code) {
		found = append(found, fault{"T-6.20", fmt.Sprintf("error code 0x%02x in a client's response", p.code)})
	}
	if reqt := p.root.get("reqt"); reqt != nil && reqt.kind == kindUint && reqt.marker > 0x7f {
		found = append(found, fault{"T-2.71", "a reqt that is no positive fixint"})
	}
	if p.pakt != pktResponse && p.reqt >= 0 && !slices.Contains(requests, p.reqt) {
		found = append(found, fault{"T-2.71", fmt.Sprintf("reqt 0x%02x, which is no CNNodeRequestType", p.reqt)})
	}
	return p, found
}

// guestName says what a client asks or tells.
func guestName(p *packet) string {
	name, known := requestNames[p.reqt]
	if !known {
		name = fmt.Sprintf("0x%02x", p.reqt)
	}
	if p.pakt == pktEvent {
		return "an EVENT " + name
	}
	return "a REQUEST " + name
}

// guestResponse says what a client's response is.
func guestResponse(p *packet) string {
	name := errorName(p.code)
	if p.code == errRejected {
		name = "REJECTED"
	}
	text := fmt.Sprintf("response %d, %s", p.id, name)
	if msg := p.root.get("err").get("msg").str(); msg != "" {
		text += fmt.Sprintf(" (%q)", msg)
	}
	return text
}

// requestShapes are the bodies of requests to a node, as section 4 has them.
var requestShapes = map[int]shape{
	reqRegister: {{key: "user", declared: "str8", most: 255}, {key: "pass", declared: "str8", most: 255}, {key: "inv", declared: "str8", most: 64, optional: true}},
	reqSignIn: {
		{key: "user", declared: "str8", most: 255},
		{key: "dev", declared: "str8", most: 64, optional: true},
		{key: "pass", declared: "str8", most: 255, optional: true},
		{key: "tok", declared: "bin8", most: 32, exact: true, optional: true},
		{key: "recv", declared: "bool", most: 1, optional: true},
	},
	reqForward: {
		{key: "node", declared: "str16", most: 500},
		{key: "wait", declared: "bool", most: 1},
		{key: "msg", declared: "bin32", most: 2_000_000},
		{key: "ref", declared: "bin8", most: 16, exact: true, optional: true},
	},
	reqGetNodeKey:    {{key: "node", declared: "str16", most: 500}, {key: "new", declared: "bool", most: 1, optional: true}},
	reqSetPassword:   {{key: "old", declared: "str8", most: 255}, {key: "new", declared: "str8", most: 255}},
	reqRemoveDevice:  {{key: "dev", declared: "str8", most: 64}},
	reqDeleteAccount: {{key: "pass", declared: "str8", most: 255}},
}

// bodyOf returns what is wrong with the body of a client's request.
func bodyOf(p *packet) []fault {
	const clause = "T-4.121"
	where := "body of " + guestName(p)
	switch p.reqt {
	case reqHandshake:
		root := p.root.get("ver") // missing in the drafts' form
		if ver := p.body.get("ver"); !p.body.isNil() && (p.body.n > 1 || ver != nil && root != nil && ver.str() != root.str()) {
			return []fault{{clause, where + " is neither nil nor the packet's version"}}
		}
	case reqGetInfo, reqListDevices:
		if !p.body.isNil() {
			return []fault{{clause, where + " is not nil"}}
		}
	case reqSetKey:
		if key := p.body.get("key"); p.body.isNil() || p.body.n != 1 || key == nil || key.kind != kindNil && key.kind != kindBin {
			return []fault{{clause, where + " has no `key` alone, a bin or nil"}}
		}
	case reqSignIn:
		found := requestShapes[p.reqt].faults(clause, where, p.body)
		if (p.body.get("pass") == nil) == (p.body.get("tok") == nil) {
			found = append(found, fault{clause, where + " has both or neither of `pass` and `tok`"})
		}
		return found
	default:
		shape, known := requestShapes[p.reqt]
		if !known {
			return nil
		}
		found := shape.faults(clause, where, p.body)
		if p.pakt == pktEvent { // whose `wait` may be missing
			found = slices.DeleteFunc(found, func(f fault) bool { return p.body.get("wait") == nil && p.reqt == reqForward })
		}
		return found
	}
	return nil
}

// sealedShapes are the bodies of requests inside the seal.
var sealedShapes = []shape{
	{
		{key: "to", declared: "str8", most: 255},
		{key: "mid", declared: "bin8", most: 16, exact: true},
		{key: "msg", declared: "bin32", most: 1_990_000},
	},
	{{key: "user", declared: "str8", most: 255}, {key: "seal", declared: "bin8", most: 32, exact: true}},
}

// sealedFaults returns what is wrong with a sealed request of so many bytes.
func sealedFaults(v *value, size int) []string {
	var found []string
	for _, f := range v.faults(1) {
		found = append(found, f.what+" inside the seal")
	}
	if v.end != size {
		found = append(found, fmt.Sprintf("%d bytes behind the map inside the seal", size-v.end))
	}
	kind := v.get("type").num()
	if kind < 0 || int(kind) >= len(sealedShapes) {
		return append(found, "no `type` of a sealed request")
	}
	for _, f := range sealedShapes[kind].faults("", "body inside the seal", v.get("body")) {
		found = append(found, f.what)
	}
	return found
}
