package conform

// Why a clause that obliges clients has no scenario.
const (
	browsers = "needs a browser"
	unseen   = "what a client does not do does not show"
	raced    = "a client may have answered the first before it reads the second"
	oneByOne = "a client need not have two requests in flight"
	keyless  = "a client that sends lines need not ask for a user's key"
	endToEnd = "the suite cannot read yet what is sealed from end to end"
)

// Sentences of the specification that oblige clients too, beside those of the sections' own lists.
var clientClauses = []Clause{
	{"T-1.70", Must, ClientSide, Ours, "A client sends each packet as one binary message, in masked frames that obey RFC 6455.", ""},
	{"T-1.71", Must, ClientSide, Ours, "A client closes with 1003 for a text message.", ""},
	{"T-1.72", Must, ClientSide, Draft, "A client closes with 1009 for a message over 2,100,000 bytes.", ""},
	{"T-1.73", Must, ClientSide, Ours, "A client takes a packet in fragments, as RFC 6455 allows.", ""},
	{"T-1.74", Should, ClientSide, Ours, "A client that is done closes with 1000.", ""},
	{"T-2.70", Should, ClientSide, Seed, "A client writes each value in the smallest encoding that holds it.", ""},
	{"T-2.71", Must, ClientSide, Seed, "A client's REQUEST and EVENT have a CNNodeRequestType as `reqt`; its RESPONSE has none, or nil, and alone may have `err`, then without `body`.", ""},
	{"T-2.72", Must, ClientSide, Ours, "A client takes a value in a larger marker than necessary, yet not wider than declared.", ""},
	{"T-2.73", Must, ClientSide, Seed, "A client takes a nil `reqt` or `body` of a RESPONSE like one that is absent.", ""},
	{"T-2.74", Must, ClientSide, Ours, "A client skips unknown keys, at any level, of a packet whose `ver` is newer than its own.", ""},
	{"T-3.70", Must, ClientSide, Seed, "A client answers each request of the node exactly once, with its `id`, and answers nothing else.", ""},
	{"T-3.71", Must, ClientSide, Ours, "A client answers a request of a type that it does not know with UNSUPPORTED.", ""},
	{"T-3.72", Must, ClientSide, Ours, "A client answers a malformed REQUEST too, whose `id` and `pakt` can be read.", ""},
	{"T-3.73", Must, ClientSide, Ours, "A client closes with 1002 for a packet whose `id` or `pakt` cannot be read, one of an unknown `pakt`, and a malformed RESPONSE.", ""},
	{"T-3.74", Must, ClientSide, Seed, "A client does not use an id that is in flight, and so has at most 256 requests there.", ""},
	{"T-3.75", Must, ClientSide, Ours, "A client closes with 1002 for a RESPONSE whose id is not in flight, such as a second one.", ""},
	{"T-3.76", Must, ClientSide, Ours, "A client closes with 1002 for a REQUEST whose id is in flight.", raced},
	{"T-3.77", Must, ClientSide, Seed, "A client takes the ids of the two directions as independent, and all 256 of them, 0 too.", ""},
	{"T-3.78", Must, ClientSide, Ours, "A client takes responses in any order.", ""},
	{"T-3.79", Must, ClientSide, Ours, "A client takes a response that comes late as the one to its request.", ""},
	{"T-4.120", Must, ClientSide, Ours, "A client's packets carry the same version throughout.", ""},
	{"T-4.121", Must, ClientSide, Ours, "The bodies of a client's requests are as section 4 declares them; its response to DELIVER and RETURN has none.", ""},
	{"T-4.122", Must, ClientSide, Ours, "A client takes a DELIVER whose `msg` has 1,990,000 bytes.", ""},
	{"T-4.123", Must, ClientSide, Ours, "A client takes a DELIVER without `from`.", ""},
	{"T-4.124", Must, ClientSide, Ours, "A client answers a RETURN like a DELIVER, with `resp` and with `code`.", ""},
	{"T-4.125", Must, ClientSide, Ours, "A client sets `ref`, where it sets one, to the message's `mid`.", ""},
	{"T-4.126", Must, ClientSide, Ours, "A client answers a DELIVER or RETURN only when it is safe: a client that is killed has shown what it has answered, or shows it when it is started again.", ""},
	{"T-5.70", Must, ClientSide, Ours, "A client seals to the destination's certificate: SEIPD 1 with session keys of version 3 or SEIPD 2 with those of version 6, at most 8, chunks of at most 256 KiB, one literal packet, no compression, signature or password.", ""},
	{"T-5.71", Must, ClientSide, Ours, "Inside the seal is a request as section 5.3 declares it, under the types of section 2.", ""},
	{"T-5.72", Must, ClientSide, Ours, "A client sends GET_USER_KEY with `wait` true alone, and a `seal` made for this request.", keyless},
	{"T-5.73", Must, ClientSide, Ours, "After CANNOT_OPEN a client fetches the node's key anew, with `new`, and seals to that.", ""},
	{"T-5.74", Should, ClientSide, Ours, "`mid` is a UUID of version 7.", ""},
	{"T-5.75", Must, ClientSide, Ours, "A client takes from a sealed answer one map with nothing but zeros behind it, and after CANNOT_OPEN asks again with a new `seal`.", keyless},
	{"T-5.76", Must, ClientSide, Ours, "A client seals to a subkey that is valid, neither expired nor revoked.", ""},
	{"T-6.20", Must, ClientSide, Ours, "A client's `err` is a map of `code`, one of CNClientResponseError, `msg` of at most 255 bytes and `wait` of at most 32 bits.", ""},
	{"T-7.9", Must, ClientSide, Ours, "It takes new subkeys under the same primary key as no change.", ""},
	{"T-8.6", Must, ClientSide, Ours, "A client skips unknown keys in what it finds in `msg`.", ""},
	{"T-8.5", Must, ClientSide, Ours, "Clients send a SEALED whenever the recipient has a certificate.", endToEnd},
	{"T-9.7", Must, ClientSide, Draft, "In the drafts' form a client's packets have no `ver` but that in HANDSHAKE's body, and GET_NODE_KEY is 0x20, FORWARD 0x21, and `err` the bare code.", ""},
}
