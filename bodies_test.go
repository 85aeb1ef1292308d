package tipt_test

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/tipt/tipt-go"
)

// A value is a body of some type.
type value interface {
	Append(b []byte) []byte
}

// A codec parses a body.
type codec func(body []byte, newer bool) (value, error)

// bodyCodec is the codec of a body in a packet.
func bodyCodec[T any, P interface {
	*T
	value
	Parse(body []byte, newer bool) error
}](b []byte, newer bool) (value, error) {
	x := P(new(T))
	return x, x.Parse(b, newer)
}

// rootCodec is the codec of what has no packet around it.
func rootCodec[T any, P interface {
	*T
	value
	Parse(b []byte) error
}](b []byte, _ bool) (value, error) {
	x := P(new(T))
	return x, x.Parse(b)
}

// noBody is the body of a request that has none.
type noBody struct{}

func (noBody) Append(b []byte) []byte { return b }

func (noBody) Parse(body []byte, _ bool) error { return tipt.ParseNil(body) }

// codecs are all codecs by the names that the vectors use.
var codecs = map[string]codec{
	"nil":                    bodyCodec[noBody],
	"HANDSHAKE request":      bodyCodec[tipt.HandshakeRequest],
	"HANDSHAKE response":     bodyCodec[tipt.HandshakeResponse],
	"REGISTER request":       bodyCodec[tipt.RegisterRequest],
	"SIGN_IN request":        bodyCodec[tipt.SignInRequest],
	"SIGN_IN response":       bodyCodec[tipt.SignInResponse],
	"GET_INFO response":      bodyCodec[tipt.GetInfoResponse],
	"FORWARD request":        bodyCodec[tipt.ForwardRequest],
	"FORWARD event":          forwardEvent,
	"FORWARD response":       bodyCodec[tipt.ForwardResponse],
	"GET_NODE_KEY request":   bodyCodec[tipt.GetNodeKeyRequest],
	"GET_NODE_KEY response":  bodyCodec[tipt.GetNodeKeyResponse],
	"SET_PASSWORD request":   bodyCodec[tipt.SetPasswordRequest],
	"LIST_DEVICES response":  bodyCodec[tipt.ListDevicesResponse],
	"REMOVE_DEVICE request":  bodyCodec[tipt.RemoveDeviceRequest],
	"DELETE_ACCOUNT request": bodyCodec[tipt.DeleteAccountRequest],
	"SET_KEY request":        bodyCodec[tipt.SetKeyRequest],
	"DELIVER request":        bodyCodec[tipt.DeliverRequest],
	"RETURN request":         bodyCodec[tipt.ReturnRequest],
	"GOING_AWAY event":       bodyCodec[tipt.GoingAwayEvent],

	"CNNodeForwardRequest":  rootCodec[tipt.SealedRequest],
	"CNNodeForwardResponse": rootCodec[tipt.ForwardAnswer],
	"GET_USER_KEY answer":   rootCodec[tipt.UserKeyAnswer],
	"content":               rootCodec[tipt.Content],
}

func forwardEvent(b []byte, newer bool) (value, error) {
	x := new(tipt.ForwardRequest)
	return x, x.ParseEvent(b, newer)
}

type object map[string]any

// describe is a body as the vectors write it: keys as on the wire, bytes in hex,
// times and waits as their numbers, an absent key absent.
func describe(t *testing.T, x value) object {
	switch x := x.(type) {
	case *noBody:
		return object{}
	case *tipt.HandshakeRequest:
		if x.Version == "" {
			return object{}
		}
		return object{"ver": x.Version}
	case *tipt.HandshakeResponse:
		return object{"ver": x.Version, "comp": x.Compatible}
	case *tipt.RegisterRequest:
		o := object{"user": x.User, "pass": x.Password}
		if x.HasInvite {
			o["inv"] = x.Invite
		}
		return o
	case *tipt.SignInRequest:
		o := object{"user": x.User, "dev": x.Device, "recv": x.Receive}
		if x.HasToken {
			o["tok"] = hexOf(x.Token)
		} else {
			o["pass"] = x.Password
		}
		return o
	case *tipt.SignInResponse:
		o := object{"addr": x.Address}
		if x.Token != nil {
			o["tok"] = hexOf(x.Token)
		}
		return o
	case *tipt.GetInfoResponse:
		return object{"node": x.Node, "soft": x.Software, "reg": x.Registration, "time": x.Time.UnixMilli()}
	case *tipt.ForwardRequest:
		o := object{"node": x.Node, "wait": x.Wait, "msg": hexOf(x.Sealed)}
		if x.Ref != nil {
			o["ref"] = x.Ref.String()
		}
		return o
	case *tipt.ForwardResponse:
		return object{"resp": hexOf(x.Response)}
	case *tipt.GetNodeKeyRequest:
		return object{"node": x.Node, "new": x.New}
	case *tipt.GetNodeKeyResponse:
		return object{"key": hexOf(x.Key)}
	case *tipt.SetPasswordRequest:
		return object{"old": x.Old, "new": x.New}
	case *tipt.ListDevicesResponse:
		devices := []object{}
		for _, d := range x.Devices {
			devices = append(devices, object{"dev": d.Name, "seen": d.Seen.UnixMilli(), "on": d.Online})
		}
		return object{"devs": devices}
	case *tipt.RemoveDeviceRequest:
		return object{"dev": x.Device}
	case *tipt.DeleteAccountRequest:
		return object{"pass": x.Password}
	case *tipt.SetKeyRequest:
		return object{"key": hexOrNil(x.Key)}
	case *tipt.DeliverRequest:
		o := object{"mid": x.ID.String(), "time": x.Time.UnixMilli(), "msg": hexOf(x.Message)}
		if x.From != "" {
			o["from"] = x.From
		}
		return o
	case *tipt.ReturnRequest:
		o := object{"mid": x.ID.String(), "node": x.Node, "time": x.Time.UnixMilli()}
		if x.Ref != nil {
			o["ref"] = x.Ref.String()
		}
		if x.HasCode {
			o["code"] = uint8(x.Code)
		} else {
			o["resp"] = hexOf(x.Response)
		}
		return o
	case *tipt.GoingAwayEvent:
		return object{"wait": int(x.Wait.Seconds())}
	case *tipt.SealedRequest:
		if x.GetUserKey != nil {
			return object{"type": x.Type, "body": object{"user": x.GetUserKey.User, "seal": hexOf(x.GetUserKey.Seal[:])}}
		}
		return object{"type": x.Type, "body": object{"to": x.Message.To, "mid": x.Message.ID.String(), "msg": hexOf(x.Message.Message)}}
	case *tipt.ForwardAnswer:
		if x.Err != nil {
			return object{"err": failure{Code: uint8(x.Err.Code), Msg: x.Err.Message, Wait: x.Err.Wait.Milliseconds()}}
		}
		return object{"body": hexOrNil(x.Body)}
	case *tipt.UserKeyAnswer:
		return object{"key": hexOrNil(x.Key)}
	case *tipt.Content:
		if x.Text != nil {
			return object{"type": x.Type, "body": object{"text": x.Text.Text, "time": x.Text.Time.UnixMilli()}}
		}
		return object{"type": x.Type, "body": hexOf(x.Sealed)}
	}
	t.Fatalf("no description of a %T", x)
	return nil
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }

func hexOrNil(b []byte) any {
	if b == nil {
		return nil
	}
	return hexOf(b)
}

func isMalformed(err error) bool {
	var bad *tipt.MalformedError
	return errors.As(err, &bad)
}
