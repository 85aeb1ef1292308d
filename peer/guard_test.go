package peer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tipt/tipt-go"
)

// A nameServer is a DNS server on loopback.
type nameServer struct {
	conn net.PacketConn

	mu      sync.Mutex                // guards the following fields
	answers map[string][][]netip.Addr // by absolute name: for each look-up, the last for all that follow
	aliases map[string]string         // CNAMEs
	asked   map[dnsmessage.Question]int
}

// startNameServer runs a name server until the test ends.
func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{
		conn:    conn,
		answers: make(map[string][][]netip.Addr),
		aliases: make(map[string]string),
		asked:   make(map[dnsmessage.Question]int),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			reply, err := s.reply(b[:n])
			if err != nil {
				t.Errorf("name server: %v", err)
				continue
			}
			if _, err := conn.WriteTo(reply, from); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return s
}

// set says what a name resolves to: at each look-up one of the lists.
func (s *nameServer) set(name tipt.NodeName, lookups ...[]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range lookups {
		var addresses []netip.Addr
		for _, a := range list {
			addresses = append(addresses, netip.MustParseAddr(a))
		}
		s.answers[string(name)+"."] = append(s.answers[string(name)+"."], addresses)
	}
}

func (s *nameServer) alias(name, target tipt.NodeName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases[string(name)+"."] = string(target) + "."
}

// lookups returns how often each name was asked for.
func (s *nameServer) lookups() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make(map[string]int)
	for question, n := range s.asked {
		if question.Type == dnsmessage.TypeA {
			names[question.Name.String()] += n
		}
	}
	return names
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "udp", s.conn.LocalAddr().String())
		},
	}
}

func (s *nameServer) reply(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := p.Question()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := question.Name.String()
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	answer := func(name string, body dnsmessage.ResourceBody) {
		message.Answers = append(message.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET},
			Body:   body,
		})
	}
	lookup := s.asked[question]
	s.asked[question]++
	for target, ok := s.aliases[name]; ok; target, ok = s.aliases[name] {
		answer(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(target)})
		name = target
	}
	answers := s.answers[name]
	if len(answers) == 0 {
		message.RCode = dnsmessage.RCodeNameError
		return message.Pack()
	}
	for _, a := range answers[min(lookup, len(answers)-1)] {
		switch {
		case question.Type == dnsmessage.TypeA && a.Is4():
			answer(name, &dnsmessage.AResource{A: a.As4()})
		case question.Type == dnsmessage.TypeAAAA && a.Is6():
			answer(name, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	return message.Pack()
}

// errAllowed ends a connection that the guard of a test let pass.
var errAllowed = errors.New("allowed")

// newTestGuard returns a guard that asks the name server, and connects nowhere but
// to what is in the table: dialled gets the addresses it would have connected to.
func newTestGuard(s *nameServer, resolve map[tipt.NodeName]string) (g *guard, dialled func() []string) {
	g = newGuard(resolve, s.resolver())
	var mu sync.Mutex
	var addresses []string
	control := g.guarded.ControlContext
	g.guarded.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if err := control(ctx, network, address, c); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		addresses = append(addresses, address)
		return errAllowed
	}
	return g, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return addresses
	}
}

func TestGuardRefusesSpecialAddresses(t *testing.T) {
	names := startNameServer(t)
	g, dialled := newTestGuard(names, nil)
	for _, test := range []struct {
		address string
		rule    string // in the error; "" for an address that is allowed
	}{
		{"0.0.0.0", "0.0.0.0/8"},
		{"0.1.2.3", "0.0.0.0/8"},
		{"10.0.0.1", "10.0.0.0/8"},
		{"10.255.255.255", "10.0.0.0/8"},
		{"100.64.0.1", "100.64.0.0/10"}, // carrier-grade NAT
		{"100.127.255.255", "100.64.0.0/10"},
		{"127.0.0.1", "127.0.0.0/8"},
		{"127.255.255.255", "127.0.0.0/8"},
		{"169.254.169.254", "169.254.0.0/16"}, // the metadata service of clouds
		{"172.16.0.1", "172.16.0.0/12"},
		{"172.31.255.255", "172.16.0.0/12"},
		{"192.0.0.1", "192.0.0.0/24"},
		{"192.0.2.1", "192.0.2.0/24"},
		{"192.31.196.1", "192.31.196.0/24"},
		{"192.52.193.1", "192.52.193.0/24"},
		{"192.88.99.1", "192.88.99.0/24"},
		{"192.168.0.1", "192.168.0.0/16"},
		{"192.175.48.1", "192.175.48.0/24"},
		{"198.18.0.1", "198.18.0.0/15"},
		{"198.19.255.255", "198.18.0.0/15"},
		{"198.51.100.1", "198.51.100.0/24"},
		{"203.0.113.1", "203.0.113.0/24"},
		{"224.0.0.1", "224.0.0.0/4"},
		{"239.255.255.255", "224.0.0.0/4"},
		{"240.0.0.1", "240.0.0.0/4"},
		{"255.255.255.255", "240.0.0.0/4"},

		{"::", "Global Unicast"},
		{"::1", "Global Unicast"},
		{"::127.0.0.1", "Global Unicast"},       // IPv4-compatible
		{"::ffff:127.0.0.1", "127.0.0.0/8"},     // mapped
		{"::ffff:10.0.0.1", "10.0.0.0/8"},       // mapped
		{"::ffff:0:10.0.0.1", "Global Unicast"}, // translated
		{"64:ff9b::10.0.0.1", "Global Unicast"}, // NAT64
		{"64:ff9b::8.8.8.8", "Global Unicast"},  // NAT64, of a public address
		{"64:ff9b:1::1", "Global Unicast"},      // NAT64, local
		{"100::1", "Global Unicast"},            // discard
		{"100:0:0:1::1", "Global Unicast"},
		{"2001::1", "2001::/23"},              // Teredo
		{"2001:2::1", "2001::/23"},            // benchmarks
		{"2001:10::1", "2001::/23"},           // ORCHID
		{"2001:20::1", "2001::/23"},           // ORCHIDv2
		{"2001:db8::1", "2001:db8::/32"},      // documentation
		{"2002:a00:1::1", "2002::/16"},        // 6to4 of 10.0.0.1
		{"2002:808:808::1", "2002::/16"},      // 6to4 of a public address
		{"2620:4f:8000::1", "2620:4f:8000::"}, // AS112
		{"3fff::1", "3fff::/20"},              // documentation
		{"4000::1", "Global Unicast"},         // not assigned
		{"5f00::1", "Global Unicast"},         // segment routing
		{"fc00::1", "Global Unicast"},         // unique local
		{"fd12:3456::1", "Global Unicast"},
		{"fe80::1", "Global Unicast"}, // link-local
		{"fec0::1", "Global Unicast"}, // site-local
		{"ff02::1", "Global Unicast"}, // multicast

		{"8.8.8.8", ""},
		{"9.255.255.255", ""},
		{"11.0.0.1", ""},
		{"100.63.255.255", ""},
		{"100.128.0.1", ""},
		{"172.15.255.255", ""},
		{"172.32.0.1", ""},
		{"192.169.0.1", ""},
		{"223.255.255.255", ""},
		{"::ffff:8.8.8.8", ""},
		{"2001:4860:4860::8888", ""},
		{"2606:4700::1111", ""},
		{"2a00:1450::1", ""},
	} {
		name := tipt.NodeName("n" + strings.NewReplacer(".", "-", ":", "-").Replace(test.address) + "n.example")
		names.set(name, []string{test.address})
		before := len(dialled())
		_, err := g.dial(t.Context(), "tcp", string(name)+":443")
		if errors.Is(err, syscall.EAFNOSUPPORT) {
			continue // a machine without IPv6 refuses it by itself
		}
		if test.rule == "" {
			if !errors.Is(err, errAllowed) || len(dialled()) != before+1 {
				t.Errorf("%s: %v, want it allowed", test.address, err)
			}
			continue
		}
		if !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), test.rule) {
			t.Errorf("%s: %v, want it forbidden by %s", test.address, err, test.rule)
		}
		if len(dialled()) != before {
			t.Errorf("%s was connected to", test.address)
		}
	}
}

func TestGuardRefusesByNameAndPort(t *testing.T) {
	names := startNameServer(t)
	names.set("good.example", []string{"8.8.8.8"})
	g, dialled := newTestGuard(names, nil)
	for _, test := range []struct{ address, rule string }{
		{"good.example:80", "port 80"},
		{"good.example:8443", "port 8443"},
		{"8.8.8.8:443", "an address"},
		{"[2001:4860:4860::8888]:443", "NODE_INVALID"},
		{"0x8.0x8.0x8.0x8:443", "an address"},
		{"134744072:443", "fully qualified"},
		{"localhost:443", "fully qualified"},
		{"Good.example:443", "lower-case"},
		{"good.example.:443", "final dot"},
	} {
		_, err := g.dial(t.Context(), "tcp", test.address)
		if !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), test.rule) {
			t.Errorf("%s: %v, want it forbidden because of %s", test.address, err, test.rule)
		}
	}
	if asked := names.lookups(); len(asked) != 0 {
		t.Errorf("the resolver was asked for %v", asked)
	}
	if _, err := g.dial(t.Context(), "tcp", "good.example:443"); !errors.Is(err, errAllowed) || len(dialled()) != 1 {
		t.Errorf("the good one: %v", err)
	}
	// Not below the search domains of this machine.
	if asked := names.lookups(); len(asked) != 1 || asked["good.example."] != 1 {
		t.Errorf("the resolver was asked for %v", asked)
	}
}

// TestGuardIsNotLedAround has names that mean something public at first sight.
func TestGuardIsNotLedAround(t *testing.T) {
	names := startNameServer(t)
	g, dialled := newTestGuard(names, nil)
	dial := func(name tipt.NodeName, want error) {
		t.Helper()
		if _, err := g.dial(t.Context(), "tcp", string(name)+":443"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	// An alias of a name inside.
	names.alias("alias.example", "hop.example")
	names.alias("hop.example", "inside.example")
	names.set("inside.example", []string{"10.0.0.1"})
	dial("alias.example", ErrForbidden)
	// A second look-up that answers otherwise (DNS rebinding).
	names.set("rebind.example", []string{"8.8.8.8"}, []string{"127.0.0.1"}, []string{"::1"})
	dial("rebind.example", errAllowed)
	dial("rebind.example", ErrForbidden)
	dial("rebind.example", ErrForbidden)
	if n := names.lookups()["rebind.example."]; n != 3 {
		t.Errorf("%d look-ups, want one for each connection", n)
	}
	// Both at once: what is public may be tried, the others never.
	names.set("both.example", []string{"127.0.0.1", "8.8.4.4", "10.0.0.1", "::1", "fe80::1"})
	_, err := g.dial(t.Context(), "tcp", "both.example:443")
	if !errors.Is(err, errAllowed) && !errors.Is(err, ErrForbidden) {
		t.Errorf("both.example: %v", err)
	}
	for _, address := range dialled() {
		if address != "8.8.8.8:443" && address != "8.8.4.4:443" {
			t.Errorf("%s was connected to", address)
		}
	}
}

// TestGuardTable has a name in the operator's table, whose address and port are otherwise forbidden.
func TestGuardTable(t *testing.T) {
	names := startNameServer(t)
	names.set(other, []string{"8.8.8.8"})
	accepted := make(chan struct{}, 1)
	address := serveRaw(t, func(net.Conn) { accepted <- struct{}{} })
	g, dialled := newTestGuard(names, map[tipt.NodeName]string{other: address})
	conn, err := g.dial(t.Context(), "tcp", string(other)+":443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	<-accepted
	if len(names.lookups()) != 0 || len(dialled()) != 0 {
		t.Errorf("asked for %v, dialled %v", names.lookups(), dialled())
	}
	names.set("sub.other.example", []string{"127.0.0.1"})
	if _, err := g.dial(t.Context(), "tcp", "sub.other.example:443"); !errors.Is(err, ErrForbidden) {
		t.Errorf("a name below the one in the table: %v", err)
	}
}

// TestForbiddenIsUnreachable is the guard as the client shows it.
func TestForbiddenIsUnreachable(t *testing.T) {
	names := startNameServer(t)
	names.set("inside.example", []string{"10.0.0.1"})
	c := newClient(t, newCA(t), "", func(o *ClientOptions) { o.Resolver = names.resolver() })
	for _, test := range []struct {
		name tipt.NodeName
		want string
		told string // to the user
	}{
		{"inside.example", "10.0.0.0/8", "the name leads to no address that this node connects to"},
		{"nowhere.example", "lookup nowhere.example. ", "there is no node of that name"}, // as an absolute name
	} {
		_, err := c.Forward(t.Context(), test.name, alice, []byte("sealed"))
		f := wantFailure(t, err)
		if f.Unknown || !f.Destination || !f.Temporary() || f.Code() != tipt.ErrNodeUnreachable || !strings.Contains(f.Error(), test.want) {
			t.Errorf("%s: %+v, want NODE_UNREACHABLE because of %s", test.name, f, test.want)
		}
		if coded := f.Coded(); coded.Wait != minPause || coded.Message != test.told {
			t.Errorf("%s: wait %v, %q", test.name, coded.Wait, coded.Message)
		}
	}
}

// TestRedirectIsNotFollowed has a node that points inside.
func TestRedirectIsNotFollowed(t *testing.T) {
	ca := newCA(t)
	names := startNameServer(t)
	names.set("inside.example", []string{"127.0.0.1"})
	for _, status := range []int{301, 302, 303, 307, 308} {
		address := serve(t, ca, other, http.RedirectHandler("https://inside.example/api/forward", status))
		c := newClient(t, ca, address, func(o *ClientOptions) { o.Resolver = names.resolver() })
		_, err := c.Forward(t.Context(), other, alice, []byte("sealed"))
		if f := wantFailure(t, err); f.Status != status || f.Unknown || f.Destination || !f.Temporary() || f.Code() != tipt.ErrNodeRefused {
			t.Errorf("%d: %+v", status, f)
		}
		_, err = c.PublicKey(t.Context(), other)
		if f := wantFailure(t, err); f.Status != status {
			t.Errorf("%d: key: %+v", status, f)
		}
	}
	if asked := names.lookups(); len(asked) != 0 {
		t.Errorf("the resolver was asked for %v", asked)
	}
}

func wantFailure(t *testing.T, err error) *Failure {
	t.Helper()
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		t.Fatalf("got %v, want a Failure", err)
	}
	return f
}
