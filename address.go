package tipt

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
)

// A NodeName is the name of a node: a fully-qualified domain name in
// lower-case A-labels without a final dot, at most 253 bytes (section 4).
// It is valid by construction: make one with [ParseNodeName] or [MapNodeName].
type NodeName string

// A UserName is the name of a user in its mapped form: PRECIS
// UsernameCaseMapped without `@`, `/`, `:` or white space, 1 to 64 bytes (section 4).
// Make one with [ParseUserName].
type UserName string

// An Address names a user of a node and is written user@node.
type Address struct {
	User UserName
	Node NodeName
}

// String is user@node.
func (a Address) String() string { return string(a.User) + "@" + string(a.Node) }

// domain maps as section 4 has it and judges every label.
var domain = idna.New(
	idna.MapForLookup(), // UTS 46, valid labels, letters, digits and hyphens alone
	idna.Transitional(false),
	idna.BidiRule(),
)

// ParseNodeName takes a node's name that is already in its one form, as it is
// everywhere but in what people write. The error is an [*Error] with [ErrNodeInvalid].
func ParseNodeName(s string) (NodeName, error) {
	n, err := MapNodeName(s)
	if err == nil && string(n) != s {
		return "", nodeInvalid("not in lower-case A-labels without a final dot")
	}
	return n, err
}

// MapNodeName takes a node's name of at most [MaxRawNodeSize] bytes as the `node` of FORWARD and
// GET_NODE_KEY may have it: with U-labels, upper case and a final dot (UTS 46,
// non-transitional). The error is an [*Error] with [ErrNodeInvalid].
func MapNodeName(s string) (NodeName, error) {
	if len(s) > MaxRawNodeSize {
		return "", nodeInvalid("longer than %d bytes", MaxRawNodeSize)
	}
	if !utf8.ValidString(s) { // package idna would make a label even of that
		return "", nodeInvalid("not in UTF-8")
	}
	name, err := domain.ToASCII(s)
	if err != nil {
		return "", nodeInvalid("%v", err)
	}
	name = strings.TrimSuffix(name, ".")
	if len(name) > MaxNodeNameSize {
		return "", nodeInvalid("longer than %d bytes", MaxNodeNameSize)
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if len(l) < 1 || len(l) > 63 {
			return "", nodeInvalid("a label has 1 to 63 bytes")
		}
	}
	// An address literal is no name, nor is one label fully qualified: resolvers
	// would append to it what they like.
	if len(labels) < 2 {
		return "", nodeInvalid("not fully qualified")
	}
	if isNumber(labels[len(labels)-1]) {
		return "", nodeInvalid("an address and no name")
	}
	return NodeName(name), nil
}

// isNumber reports whether a name that ends in this label is taken for an IPv4
// address by some resolver: digits, or 0x and hex digits.
func isNumber(label string) bool {
	if digits, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func nodeInvalid(format string, args ...any) error {
	return &Error{Code: ErrNodeInvalid, Message: fmt.Sprintf(format, args...)}
}

// ParseUserName maps a name of at most [MaxRawUserNameSize] bytes to a user's
// name. The error is an [*Error] with [ErrNameInvalid].
func ParseUserName(s string) (UserName, error) {
	if len(s) > MaxRawUserNameSize {
		return "", nameInvalid("longer than %d bytes", MaxRawUserNameSize)
	}
	name := s
	if !isPlain(s) {
		var err error
		if name, err = precis.UsernameCaseMapped.String(s); err != nil {
			return "", nameInvalid("%v", err)
		}
	}
	if name == "" || len(name) > MaxUserNameSize {
		return "", nameInvalid("has %d bytes, not 1 to %d", len(name), MaxUserNameSize)
	}
	if strings.ContainsAny(name, "@/:") { // the profile itself has no white space
		return "", nameInvalid("contains @, / or :")
	}
	return UserName(name), nil
}

// isPlain reports whether a name has only letters and the like that the mapping leaves as they are, as nearly all names.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func nameInvalid(format string, args ...any) error {
	return &Error{Code: ErrNameInvalid, Message: fmt.Sprintf(format, args...)}
}

// ParseAddress takes what people write as an address and maps both its parts. The
// error is an [*Error] with [ErrNameInvalid] or [ErrNodeInvalid], as the part.
func ParseAddress(s string) (Address, error) {
	user, node, ok := strings.Cut(s, "@")
	if !ok {
		return Address{}, nameInvalid("an address is user@node")
	}
	u, err := ParseUserName(user)
	if err != nil {
		return Address{}, err
	}
	n, err := MapNodeName(node)
	if err != nil {
		return Address{}, err
	}
	return Address{User: u, Node: n}, nil
}
