package tipt

// Close codes of the WebSocket (section 1.6; 1000 and 1005 are RFC 6455's).
const (
	CloseNormal      = 1000 // nothing is left to say
	CloseGoingAway   = 1001 // the node stops or restarts
	CloseProtocol    = 1002 // protocol violation
	CloseText        = 1003 // a text message
	CloseNoStatus    = 1005 // never sent: the close frame had no code
	ClosePolicy      = 1008 // no HANDSHAKE in time
	CloseTooLarge    = 1009 // a message over the limit
	CloseInternal    = 1011 // internal error
	CloseMaintenance = 1012 // the node is in maintenance
	CloseOverload    = 1013 // connections run short
	CloseScript      = 4000 // a browser's script, in place of the codes below 3000
	CloseReplaced    = 4001 // the same device signed in on a newer connection
	CloseSignedOut   = 4002 // the device was signed out: revoked, password changed, account gone or disabled
)
