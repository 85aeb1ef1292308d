package tap

import (
	"errors"
	"strings"

	"github.com/tipt/tipt-go"
)

// A check reads a body as the protocol has it.
type check func(body []byte, newer bool) error

// parser is a check by a body's type.
func parser[T any, P interface {
	*T
	Parse(body []byte, newer bool) error
}]() check {
	return func(body []byte, newer bool) error { return P(new(T)).Parse(body, newer) }
}

func none(body []byte, _ bool) error { return tipt.ParseNil(body) }

func forwardEvent(body []byte, newer bool) error {
	return new(tipt.ForwardRequest).ParseEvent(body, newer)
}

// bodies says by the name of a request or event what its body is.
var bodies = map[tipt.PacketType]map[string]check{
	tipt.PacketRequest: {
		tipt.RequestHandshake.String():     parser[tipt.HandshakeRequest](),
		tipt.RequestRegister.String():      parser[tipt.RegisterRequest](),
		tipt.RequestSignIn.String():        parser[tipt.SignInRequest](),
		tipt.RequestGetInfo.String():       none,
		tipt.RequestForward.String():       parser[tipt.ForwardRequest](),
		tipt.RequestGetNodeKey.String():    parser[tipt.GetNodeKeyRequest](),
		tipt.RequestSetPassword.String():   parser[tipt.SetPasswordRequest](),
		tipt.RequestListDevices.String():   none,
		tipt.RequestRemoveDevice.String():  parser[tipt.RemoveDeviceRequest](),
		tipt.RequestDeleteAccount.String(): parser[tipt.DeleteAccountRequest](),
		tipt.RequestSetKey.String():        parser[tipt.SetKeyRequest](),
		tipt.RequestDeliver.String():       parser[tipt.DeliverRequest](),
		tipt.RequestReturn.String():        parser[tipt.ReturnRequest](),
	},
	tipt.PacketResponse: {
		tipt.RequestHandshake.String():     parser[tipt.HandshakeResponse](),
		tipt.RequestRegister.String():      none,
		tipt.RequestSignIn.String():        parser[tipt.SignInResponse](),
		tipt.RequestGetInfo.String():       parser[tipt.GetInfoResponse](),
		tipt.RequestForward.String():       forwardResponse,
		tipt.RequestGetNodeKey.String():    parser[tipt.GetNodeKeyResponse](),
		tipt.RequestSetPassword.String():   none,
		tipt.RequestListDevices.String():   parser[tipt.ListDevicesResponse](),
		tipt.RequestRemoveDevice.String():  none,
		tipt.RequestDeleteAccount.String(): none,
		tipt.RequestSetKey.String():        none,
		tipt.RequestDeliver.String():       none,
		tipt.RequestReturn.String():        none,
	},
	tipt.PacketEvent: {
		tipt.RequestForward.String(): forwardEvent,
		tipt.EventGoingAway.String(): parser[tipt.GoingAwayEvent](),
	},
}

// forwardResponse takes both forms: which one is right, `wait` of the request says.
func forwardResponse(body []byte, newer bool) error {
	if body == nil {
		return nil
	}
	return new(tipt.ForwardResponse).Parse(body, newer)
}

// sectionOf is where docs/protocol.md speaks of a request or event.
func sectionOf(name string) string {
	if strings.HasPrefix(name, "0x") {
		return "2, CNNodeRequestType"
	}
	return "4, " + name
}

// nodeBodies are the clauses about what a node says, by request and event.
var nodeBodies = map[string]string{
	tipt.RequestHandshake.String():   "T-4.8",
	tipt.RequestRegister.String():    "T-4.11",
	tipt.RequestSignIn.String():      "T-4.19",
	tipt.RequestGetInfo.String():     "T-4.37",
	tipt.RequestListDevices.String(): "T-4.42",
	tipt.RequestForward.String():     "T-4.60",
	tipt.RequestGetNodeKey.String():  "T-4.70",
	tipt.RequestDeliver.String():     "T-4.74",
	tipt.RequestReturn.String():      "T-4.95",
	tipt.EventGoingAway.String():     "T-4.98",
}

// optional are the keys marked "?" in section 4.
var optional = map[string]bool{"inv": true, "dev": true, "recv": true, "ref": true, "new": true, "from": true, "msg": true, "wait": true}

// clause returns the clause about a packet of a client's, or that about one of a node's.
func (p *Packet) clause(client, node string) string {
	if p.toNode {
		return client
	}
	return node
}

// clauseOf returns the clause of docs/conformance.md that a malformed packet breaks.
func (p *Packet) clauseOf(err error) string {
	bad, ok := errors.AsType[*tipt.MalformedError](err)
	switch {
	case !ok && p.name == tipt.RequestSetKey.String():
		return "T-4.51" // too large, as are the others that are not malformed
	case !ok:
		return "T-4.64"
	case !p.toNode && strings.HasPrefix(bad.Key, "body") && nodeBodies[p.name] != "":
		return nodeBodies[p.name]
	case !p.toNode && strings.HasPrefix(bad.Key, "err"):
		return "T-6.1"
	case !p.toNode && bad.Key == "ver":
		return "T-2.2"
	case !p.toNode && bad.Key == "reqt":
		return "T-2.4"
	case !p.toNode:
		return "T-2.1"
	}
	return clauseOfClient(bad)
}

// clauseOfClient reads the clause out of what was found and what was wanted.
func clauseOfClient(bad *tipt.MalformedError) string {
	key := bad.Key[strings.LastIndexByte(bad.Key, '.')+1:]
	marker := strings.TrimPrefix(bad.Found, "fix")
	family, _, _ := strings.Cut(bad.Want, " ")
	switch {
	case bad.Key == "ver" && (bad.Found == "no such key" || strings.Contains(bad.Want, "semantic version")):
		return "T-2.3"
	case bad.Key == "reqt" && bad.Want == "nil or no such key":
		return "T-3.8"
	case bad.Key == "pakt" && strings.HasPrefix(bad.Found, "0x"):
		return "T-3.7"
	case bad.Key == "err" && strings.HasPrefix(bad.Found, "the key in a"):
		return "T-2.9"
	case strings.HasPrefix(bad.Key, "err"):
		return "T-6.4"
	case bad.Key == "body" && strings.HasPrefix(bad.Found, "map beside"):
		return "T-2.8"
	case bad.Key == "body" && bad.Want == "nil or no such key":
		return "T-2.7"
	case bad.Found == "no such key":
		return "T-2.16"
	case bad.Found == "an unknown key":
		return "T-2.24"
	case bad.Found == "the key twice":
		return "T-2.17"
	case strings.HasSuffix(bad.Found, "bytes after the map"):
		return "T-2.18"
	case bad.Found == "the end of the bytes", strings.HasSuffix(bad.Want, "bytes left"):
		return "T-2.20"
	case bad.Want == "UTF-8":
		return "T-2.15"
	case strings.Contains(bad.Found, " at depth "):
		return "T-2.22"
	case bad.Key == "", strings.HasPrefix(bad.Found, "a key of type"), bad.Want == "a length of at most 16 bits":
		return "T-2.23"
	case strings.HasPrefix(marker, "ext"), bad.Found == "0xc1":
		return "T-2.19"
	case bad.Key == "reqt":
		return "T-2.5"
	case bad.Found == "nil" && optional[key]:
		return "T-2.21"
	case bad.Want == "one of them":
		return "T-4.22"
	case key == "ref" && strings.HasSuffix(bad.Found, " bytes"):
		return "T-4.65"
	case key == "dev" && strings.HasSuffix(bad.Found, " bytes"):
		return "T-4.26"
	case bad.Want == "positive fixint" && strings.HasPrefix(bad.Found, "uint "), strings.HasPrefix(marker, family+" "):
		return "T-2.12"
	}
	return "T-2.13"
}
