package conform

// clientIDDefects are clients that mistake an id, a code or a name for another.
var clientIDDefects = []clientDefect{
	edits("T-4.36", "client-device", "the same device everywhere", pktRequest, reqSignIn, func(f fields) fields {
		return f.with("body", f.part("body").with("dev", "laptop"))
	}),
	hears("T-3.71", "client-unknown", "takes one request of those that are unknown", func(b *bent, f fields, _ int) any {
		if number(f, "pakt") == pktRequest && number(f, "reqt") == 0x41 {
			return b.respond(f, ok)
		}
		return nil
	}),
	hears("T-3.73", "client-last-pakt", "overlooks the last pakt", func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") == 0x7f {
			return []raw{}
		}
		return nil
	}),
	countsUp("T-3.16"),
	countsUp("T-3.74"),
	mindsEvents("an event with the id of its request", true, false),
	mindsEvents("an event with the id of a request of the node", false, true),
	reservesForEvents(),
	shakesTwice("at once", reqHandshake),
	shakesTwice("once signed in", reqForward),
}

// countsUp is a client whose every request has the id after that of the one before, in flight or not.
func countsUp(clause string) clientDefect {
	next := 0
	own := make(map[int]int) // by the id in its place
	d := asks(clause, "client-late", "counts upwards", func(_ *bent, f fields) []raw {
		if number(f, "pakt") != pktRequest {
			return nil
		}
		id := next % 256
		next++
		if _, used := own[id]; !used {
			own[id] = number(f, "id")
		}
		return []raw{f.with("id", id).pack()}
	}).hearing(func(_ *bent, f fields, _ int) any {
		if number(f, "pakt") != pktResponse {
			return nil
		}
		id := number(f, "id")
		is := own[id]
		delete(own, id)
		return f.with("id", is)
	})
	d.parallel = true
	return d
}

// shakesTwice is a client that sends another HANDSHAKE behind its first request of a type.
func shakesTwice(when string, reqt int) clientDefect {
	return asks("T-3.220", everyClient, "shakes hands twice, "+when, func(b *bent, f fields) []raw {
		if isAsking(f, reqHandshake) {
			b.note = string(f.with("id", 99).pack())
		}
		if !isAsking(f, reqt) || b.note == "" {
			return nil
		}
		again := raw(b.note)
		b.note = ""
		return []raw{f.pack(), again}
	}).ignoring(99)
}

// mindsEvents is a client that ends the connection for an EVENT with an id that is in flight.
func mindsEvents(what string, ours, theirs bool) clientDefect {
	inFlight := make(map[int]bool)
	return asks("T-2.220", "client-event-ids", "minds "+what, func(_ *bent, f fields) []raw {
		switch {
		case ours && isAsking(f, reqForward):
			inFlight[number(f, "id")] = true
		case theirs && number(f, "pakt") == pktResponse:
			delete(inFlight, number(f, "id"))
		}
		return nil
	}).hearing(func(b *bent, f fields, _ int) any {
		switch id := number(f, "id"); {
		case theirs && isDeliver(f):
			inFlight[id] = true
		case ours && number(f, "pakt") == pktResponse:
			delete(inFlight, id)
		case number(f, "pakt") == pktEvent && inFlight[id]:
			return b.quit(1002)
		}
		return nil
	})
}

// reservesForEvents is a client that takes no request under an id that an EVENT had.
func reservesForEvents() clientDefect {
	reserved := make(map[int]bool)
	return hears("T-2.220", "client-event-ids", "reserves the ids of events", func(b *bent, f fields, _ int) any {
		switch id := number(f, "id"); {
		case number(f, "pakt") == pktEvent:
			reserved[id] = true
		case isDeliver(f) && reserved[id]:
			return b.quit(1002)
		}
		return nil
	})
}
