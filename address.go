package tipt

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
