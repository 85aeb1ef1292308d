package tipt_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"github.com/tipt/tipt-go"
)

type nameVectors struct {
	Nodes, Users []struct {
		In     string
		Out    *string
		Clause string
	}
	Versions []struct {
		In                       string
		Valid, Newer, Compatible bool
		Clause                   string
	}
}

func TestNodeNameVectors(t *testing.T) {
	for _, v := range readVectors[nameVectors](t, "names.json").Nodes {
		got, err := tipt.MapNodeName(v.In)
		if v.Out == nil {
			if !errors.Is(err, tipt.ErrNodeInvalid) || got != "" {
				t.Errorf("MapNodeName(%q) = %q, %v; want NODE_INVALID", v.In, got, err)
			}
		} else if err != nil || string(got) != *v.Out {
			t.Errorf("MapNodeName(%q) = %q, %v; want %q", v.In, got, err, *v.Out)
		}

		exact, err := tipt.ParseNodeName(v.In)
		if v.Out != nil && *v.Out == v.In {
			if err != nil || exact != got {
				t.Errorf("ParseNodeName(%q) = %q, %v; want it as it is", v.In, exact, err)
			}
		} else if !errors.Is(err, tipt.ErrNodeInvalid) || exact != "" {
			t.Errorf("ParseNodeName(%q) = %q, %v; want NODE_INVALID", v.In, exact, err)
		}
	}
}

func TestUserNameVectors(t *testing.T) {
	for _, v := range readVectors[nameVectors](t, "names.json").Users {
		got, err := tipt.ParseUserName(v.In)
		if v.Out == nil {
			if !errors.Is(err, tipt.ErrNameInvalid) || got != "" {
				t.Errorf("ParseUserName(%q) = %q, %v; want NAME_INVALID", v.In, got, err)
			}
		} else if err != nil || string(got) != *v.Out {
			t.Errorf("ParseUserName(%q) = %q, %v; want %q", v.In, got, err, *v.Out)
		}
	}
}

// TestPlainUserNames has ASCII names be what the profile makes of them, though it is not asked about most.
func TestPlainUserNames(t *testing.T) {
	check := func(s string) {
		t.Helper()
		want, err := precis.UsernameCaseMapped.String(s)
		if err != nil || strings.ContainsAny(want, "@/:") {
			want = ""
		}
		if got, err := tipt.ParseUserName(s); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("ParseUserName(%q) = %q, %v; want %q", s, got, err, want)
		}
	}
	for a := range byte(utf8.RuneSelf) {
		check(string([]byte{a}))
		for b := range byte(utf8.RuneSelf) {
			check(string([]byte{a, b}))
		}
	}
	const plain = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	random := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		s := make([]byte, 1+random.IntN(tipt.MaxUserNameSize))
		for i := range s {
			s[i] = plain[random.IntN(len(plain))]
		}
		check(string(s))
	}
}

func TestAddresses(t *testing.T) {
	longNode := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)
	for _, c := range []struct {
		in, out string
		err     error
	}{
		{"alice@a.example", "alice@a.example", nil},
		{"Alice@Bücher.Example.", "alice@xn--bcher-kva.example", nil},
		{strings.Repeat("u", 64) + "@" + longNode, strings.Repeat("u", 64) + "@" + longNode, nil},
		{"", "", tipt.ErrNameInvalid},
		{"alice", "", tipt.ErrNameInvalid},
		{"@a.example", "", tipt.ErrNameInvalid},
		{"alice@", "", tipt.ErrNodeInvalid},
		{"alice@b@a.example", "", tipt.ErrNodeInvalid},
		{"alice＠a.example", "", tipt.ErrNameInvalid},
		{"al ice@a.example", "", tipt.ErrNameInvalid},
		{"alice@127.0.0.1", "", tipt.ErrNodeInvalid},
		{"alice@a.example/x", "", tipt.ErrNodeInvalid},
	} {
		got, err := tipt.ParseAddress(c.in)
		switch {
		case c.err != nil:
			if !errors.Is(err, c.err) || got != (tipt.Address{}) {
				t.Errorf("ParseAddress(%q) = %q, %v; want %v", c.in, got, err, c.err)
			}
		case err != nil || got.String() != c.out:
			t.Errorf("ParseAddress(%q) = %q, %v; want %q", c.in, got, err, c.out)
		case len(got.String()) > tipt.MaxAddressSize:
			t.Errorf("address of %d bytes", len(got.String()))
		}
	}
}

func TestVersionVectors(t *testing.T) {
	for _, v := range readVectors[nameVectors](t, "names.json").Versions {
		_, err := tipt.ParseVersion(v.In)
		if (err == nil) != v.Valid {
			t.Errorf("ParseVersion(%q): %v; want valid %v", v.In, err, v.Valid)
		}
		if got := tipt.Compatible(v.In, tipt.Version); got != v.Compatible {
			t.Errorf("client %q compatible with node %s: %v", v.In, tipt.Version, got)
		}
		p := tipt.Packet{Version: v.In, Code: uint8(tipt.RequestGetInfo)}
		got, err := tipt.ParsePacket(tipt.AppendPacket(nil, tipt.RevisionSeed, &p), tipt.RevisionSeed)
		if (err == nil) != v.Valid || got.Newer != v.Newer {
			t.Errorf("packet of version %q: newer %v, %v; want valid %v, newer %v", v.In, got.Newer, err, v.Valid, v.Newer)
		}
	}
	for _, c := range []struct {
		client, node string
		want         bool
	}{
		{"1.9.9", "2.0.0", true},
		{"2.0.0", "2.0.0-alpha", true},
		{"3.0.0", "2.9.9", false},
		{"1.0.0", "1", false},
	} {
		if got := tipt.Compatible(c.client, c.node); got != c.want {
			t.Errorf("Compatible(%q, %q) = %v", c.client, c.node, got)
		}
	}
}

// FuzzUserName finds names that would change when mapped again: they would
// be two names of one user.
func FuzzUserName(f *testing.F) {
	for _, v := range readVectors[nameVectors](f, "names.json").Users {
		f.Add(v.In)
	}
	f.Add("a\xff")
	f.Fuzz(func(t *testing.T, s string) {
		name, err := tipt.ParseUserName(s)
		if err != nil {
			if !errors.Is(err, tipt.ErrNameInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if again, err := tipt.ParseUserName(string(name)); err != nil || again != name {
			t.Errorf("%q is mapped to %q, and that to %q, %v", s, name, again, err)
		}
		if len(name) > tipt.MaxUserNameSize || strings.ContainsAny(string(name), "@/: \t\n") {
			t.Errorf("%q is mapped to %q", s, name)
		}
	})
}

// FuzzNodeName does the same for nodes, whose names also stand in URLs.
func FuzzNodeName(f *testing.F) {
	for _, v := range readVectors[nameVectors](f, "names.json").Nodes {
		f.Add(v.In)
	}
	f.Add("\xd5.A")
	f.Fuzz(func(t *testing.T, s string) {
		name, err := tipt.MapNodeName(s)
		if err != nil {
			if !errors.Is(err, tipt.ErrNodeInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if again, err := tipt.ParseNodeName(string(name)); err != nil || again != name {
			t.Errorf("%q is mapped to %q, and that to %q, %v", s, name, again, err)
		}
		if len(name) > tipt.MaxNodeNameSize || strings.Trim(string(name), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			t.Errorf("%q is mapped to %q", s, name)
		}
	})
}
