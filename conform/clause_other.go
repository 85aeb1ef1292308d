package conform

// Sections 7 to 9.
var otherClauses = []Clause{
	{"T-7.1", Must, ClientSide, Ours, "A client reconnects with exponential back-off and full jitter, from 1 s on.", ""},
	{"T-7.170", Must, ClientSide, Ours, "Its pauses grow from 1 s to 5 min, and no further.", "shows only after some twenty minutes without a node"},
	{"T-7.2", Must, ClientSide, Ours, "It does not reconnect by itself after 4001 or 4002.", ""},
	{"T-7.3", Must, ClientSide, Ours, "It takes a connection as lost when a PING, or the GET_INFO in its place, has no answer within 30 s.", ""},
	{"T-7.4", Must, ClientSide, Ours, "It honours `Retry-After`, GOING_AWAY and `wait`.", ""},
	{"T-7.5", Must, ClientSide, Ours, "It signs in by token.", ""},
	{"T-7.6", Must, ClientSide, Ours, "It resends what got no response, with the same `mid` and `ref`.", ""},
	{"T-7.7", Must, ClientSide, Ours, "It reports as failed what was in flight at a second close with 1009 or 1002.", ""},
	{"T-7.8", Must, ClientSide, Ours, "It warns when a node's primary key changes, unless the old one has certified the new certificate's user id, within that certificate.", ""},
	{"T-7.171", Must, ClientSide, Ours, "It keeps the fingerprint of the first primary key that it saw of a node from one start to the next.", "where a program keeps something is its user's to say, and each start may be one of another installation"},
	{"T-8.1", Must, NodeSide, Ours, "A node delivers whatever bytes `msg` has.", ""},
	{"T-8.2", Must, ClientSide, Ours, "Clients put a TEXT or a SEALED into `msg`.", ""},
	{"T-8.3", Must, ClientSide, Ours, "A message is shown as signed only when its intended recipient is this client's certificate and its signer the one kept for `from`.", ""},
	{"T-8.4", Must, ClientSide, Ours, "A `msg` of another form is shown as what it is, never dropped.", ""},
	{"T-9.1", Must, NodeSide, Draft, "A HANDSHAKE with `ver` in its body alone chooses the drafts' form, and is answered in it.", ""},
	{"T-9.2", Must, NodeSide, Draft, "In the drafts' form packets have no `ver`, GET_NODE_KEY is 0x20, FORWARD 0x21, and `err` is the bare code.", ""},
	{"T-9.3", Must, NodeSide, Ours, "Until a HANDSHAKE is taken a node answers in the seed's form.", ""},
	{"T-9.190", Must, NodeSide, Ours, "A HANDSHAKE that was refused chooses nothing: the next may have the other form.", ""},
	{"T-9.4", Must, NodeSide, Ours, "The form is fixed for a connection by its HANDSHAKE.", ""},
	{"T-9.5", Must, NodeSide, Ours, "In the drafts' form the version of HANDSHAKE stands for the `ver` of each later packet, when it comes to unknown keys too.", ""},
	{"T-9.6", Must, NodeSide, Ours, "A node serves clients of both forms, and nothing else depends on the form.", ""},
}
