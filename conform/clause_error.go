package conform

var errorClauses = []Clause{
	{"T-6.1", Must, NodeSide, Ours, "`err` is a map of `code`, `msg` of at most 255 bytes and `wait` of at most 32 bits.", ""},
	{"T-6.190", Should, NodeSide, Ours, "A BUSY has a `wait`, in the seed's form.", ""},
	{"T-6.2", Must, NodeSide, Ours, "`code` is one of CNNodeResponseError.", ""},
	{"T-6.3", Must, NodeSide, Ours, "A client's `err` may have any `code` of its type, with `msg` and `wait`.", ""},
	{"T-6.4", Must, NodeSide, Ours, "A client's `err` of a wrong form is a malformed RESPONSE.", ""},
	{"T-6.5", Must, NodeSide, Ours, "A destination's error is one of CNNodeForwardError.", ""},
	{"T-6.6", Must, NodeSide, Ours, "INTERNAL is said of a fault of the node itself.", faulty},
	{"T-6.7", Must, ClientSide, Ours, "A client takes an unlisted code as a failure of unknown reason.", ""},
	{"T-6.8", Must, NodeSide, Ours, "A FORWARD or GET_NODE_KEY to a node that this one's operator has barred is NODE_REFUSED, or comes back with that `code`.", ""},
	{"T-6.9", Must, NodeSide, Ours, "OUTBOX_FULL answers a FORWARD with `wait` false when too much waits to be forwarded already.", ""},
	{"T-6.100", Must, NodeSide, Ours, "What the operator drops from the outbox comes back with `code` NODE_REFUSED.", ""},
	{"T-6.101", Must, NodeSide, Ours, "An internal error is status 500 to another node, as it is INTERNAL to a client.", faulty},
}
