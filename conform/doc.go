// Package conform tests a Tipt node, or a client, from outside, clause by clause of their
// specification, docs/conformance.md. [Run] is the client of a node, [RunClient] the node of a
// client, which it starts as a program of its own.
//
// It is a second reading of docs/protocol.md and shares no code with the programs that it
// tests: numbers, msgpack, WebSocket frames and the making of OpenPGP messages are its own.
// A mistake in the package that everything else is built on would otherwise be made on both
// sides of the connection, and never show. A test holds it to that.
//
// A [Clause] is one obligation with a stable id. A scenario is a conversation that checks some
// clauses; scenarios run side by side, each with connections and accounts of its own. Beside
// what its scenario waits for, each packet that the other side sends is held against everything
// that holds for all packets.
package conform
