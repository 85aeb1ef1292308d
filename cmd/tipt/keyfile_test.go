package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/seal"
)

func TestKeyFile(t *testing.T) {
	f, a := folder(t.TempDir()), tipt.Address{User: "kim", Node: "node.example"}
	if k, err := f.key(a); k != nil || err != nil {
		t.Fatalf("without a file: %v, %v", k, err)
	}
	if old, err := f.setKeyAside(a); old != "" || err != nil {
		t.Errorf("nothing was set aside as %q, %v", old, err)
	}
	var keys []*seal.UserKey
	for range 2 {
		k, err := seal.NewUserKey(a.String(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	want := func(k *seal.UserKey) {
		t.Helper()
		got, err := f.key(a)
		if err != nil || got == nil || got.Fingerprint() != k.Fingerprint() {
			t.Errorf("read %v, %v", got, err)
		}
	}
	if err := f.addKey(a, keys[0]); err != nil {
		t.Fatal(err)
	}
	want(keys[0])
	if err := f.addKey(a, keys[1]); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	want(keys[0])
	old, err := f.setKeyAside(a)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(old); err != nil || !bytes.Equal(b, keys[0].Append(nil)) {
		t.Errorf("set aside: %d bytes, %v", len(b), err)
	}
	if err := f.addKey(a, keys[1]); err != nil {
		t.Fatal(err)
	}
	want(keys[1])
}

// The newest key comes first, and one that was set aside for being damaged not at all.
func TestOldKeys(t *testing.T) {
	f, a := folder(t.TempDir()), tipt.Address{User: "kim", Node: "node.example"}
	if keys, err := f.oldKeys(a); keys != nil || err != nil {
		t.Fatalf("without a folder: %v, %v", keys, err)
	}
	var want []string
	for range 3 {
		k, err := seal.NewUserKey(a.String(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := f.addOldKey(a, k); err != nil {
			t.Fatal(err)
		}
		want = slices.Insert(want, 0, k.Fingerprint())
	}
	if err := os.WriteFile(f.keyFile(a), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.setKeyAside(a); err != nil {
		t.Fatal(err)
	}
	keys, err := f.oldKeys(a)
	var got []string
	for _, k := range keys {
		got = append(got, k.Fingerprint())
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
	if err := f.removeKeys(a); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(f.ownKeys(a)); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// Nothing known of a person and a person who is known to have no key are not the same.
func TestUserPins(t *testing.T) {
	p, a := pinFolder(t.TempDir()), tipt.Address{User: "kim", Node: "node.example"}
	for _, set := range [][]byte{nil, {}, []byte("certificate"), nil} {
		if b, err := p.Pin(a.Node); b != nil || err != nil {
			t.Errorf("the node has %q, %v", b, err)
		}
		if err := p.SetUserPin(a, set); err != nil {
			t.Fatal(err)
		}
		if b, err := p.UserPin(a); b == nil || !bytes.Equal(b, set) || err != nil {
			t.Errorf("%q was kept as %q, %v", set, b, err)
		}
	}
	if b, err := p.UserPin(tipt.Address{User: "jo", Node: a.Node}); b != nil || err != nil {
		t.Errorf("somebody else has %q, %v", b, err)
	}
}
