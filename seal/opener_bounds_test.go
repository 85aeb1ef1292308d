package seal

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	tipt "github.com/tipt/tipt-go"
)

// enter keeps one more session key of a sender and returns it.
func (o *Opener) enter(from tipt.Address, number int) *keptKey {
	k := &keptKey{
		from:   from,
		packet: fmt.Appendf(make([]byte, 0, 110), "%0110d", number), // as long as one for an ECDH subkey
		key:    bytes.Repeat([]byte{1}, 32),
		subkey: &o.key.decryption[0],
		since:  testTime,
	}
	o.keep(k)
	return k
}

func (k *keptKey) isKept(o *Opener) bool {
	return o.find(k.from, k.packet, testTime) != nil
}

// One sender cannot have more than its few, and they take the place of its own.
func TestOpenerBoundsSenders(t *testing.T) {
	o := NewOpener(newTestKey(t))
	bob := o.enter(tipt.Address{User: "bob", Node: alice.Node}, 0)
	var entered []*keptKey
	for i := range 2 * maxKeptSender {
		entered = append(entered, o.enter(alice, i))
	}
	for i, k := range entered {
		if got, want := k.isKept(o), i >= maxKeptSender; got != want {
			t.Errorf("number %d kept: %v, want %v", i, got, want)
		}
		if wiped := k.key[0] == 0; wiped == k.isKept(o) {
			t.Errorf("number %d kept: %v, wiped: %v", i, k.isKept(o), wiped)
		}
	}
	if !bob.isKept(o) {
		t.Error("a sender's session key made room for another's")
	}
	o.enter(alice, 2*maxKeptSender-1) // again
	wantKept(t, o, maxKeptSender+1)
}

func user(node tipt.NodeName, number int) tipt.Address {
	return tipt.Address{User: tipt.UserName(fmt.Sprint("user", number)), Node: node}
}

// One node's users cannot have more than their share, and the oldest makes room.
func TestOpenerBoundsNodes(t *testing.T) {
	for _, tt := range []struct {
		node tipt.NodeName
		most int
	}{{"a.example", 512}, {"node.example", 16_384}} {
		t.Run(string(tt.node), func(t *testing.T) {
			o := NewOpener(newTestKey(t))
			others := []*keptKey{o.enter(user("b.example", 0), 0), o.enter(user("c.example", 0), 0)}
			if tt.node != "node.example" {
				others = append(others, o.enter(user("node.example", 0), 0))
			}
			var entered []*keptKey
			for i := range tt.most + 10 {
				entered = append(entered, o.enter(user(tt.node, i), 0))
			}
			wantKept(t, o, tt.most+len(others))
			for i, k := range entered {
				if got, want := k.isKept(o), i >= 10; got != want {
					t.Fatalf("number %d kept: %v, want %v", i, got, want)
				}
			}
			for _, k := range others {
				if !k.isKept(o) {
					t.Errorf("that of %v made room for another node's", k.from)
				}
			}
		})
	}
}

// All other nodes together have a share, which is not that of this node's users.
func TestOpenerBoundsAll(t *testing.T) {
	o := NewOpener(newTestKey(t))
	own := o.enter(user("node.example", 0), 0)
	var entered []*keptKey
	for i := range 20 {
		for j := range 300 {
			entered = append(entered, o.enter(user(tipt.NodeName(fmt.Sprintf("n%d.example", i)), j), 0))
		}
	}
	wantKept(t, o, 4_096+1)
	for i, k := range entered {
		if got, want := k.isKept(o), i >= len(entered)-4_096; got != want {
			t.Fatalf("number %d kept: %v, want %v", i, got, want)
		}
	}
	if !own.isKept(o) {
		t.Error("an own user's made room for another node's")
	}
}

// What a full cache weighs, as the documentation says it.
func TestOpenerSize(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packet int
		want   uint64 // bytes for each session key
	}{{"ECDH", 110, 500}, {"ML-KEM", maxKeptPacket, 1_700}} {
		o := NewOpener(newTestKey(t))
		before := heap()
		for i := range maxKeptOwn {
			o.keep(&keptKey{from: user("node.example", i), packet: make([]byte, tt.packet), key: bytes.Repeat([]byte{1}, 32), since: testTime})
		}
		if got := (heap() - before) / maxKeptOwn; got > tt.want {
			t.Errorf("%s: %d bytes, want %d at most", tt.name, got, tt.want)
		}
		wantKept(t, o, maxKeptOwn)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
