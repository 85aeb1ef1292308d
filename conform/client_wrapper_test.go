package conform

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/client"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/seal"
)

// wrapped names the variable that makes a client of the test binary: a good one behind a proxy with the
// defect that the variable's value names.
const wrapped = "CONFORM_DEFECT"

// A clientDefect makes a good client a broken one, by a proxy between it and the suite or by what
// it does with what the library gives it. Each function may be nil.
type clientDefect struct {
	defect // its functions see the client's frames and packets as those of `up` and `ask`

	hello    func(*http.Request)                // the request for the upgrade
	tls      func(n int, config *tls.Config)    // of the nth connection, from 0
	loss     func(w *wrapper)                   // when a connection has ended
	seal     func(m *resealed)                  // changes what is in a FORWARD
	print    func(m client.Message) []string    // in place of its text or of what it is
	warn     func(was, is string, same bool)    // of a certificate that is not the one before
	taken    func(w *wrapper, r *http.Response) // the answer to the request for an upgrade
	parallel bool                               // each line is sent at once
	pings    bool                               // PINGs often, and ends a connection on which one has no answer …
	patient  bool                               // … or does not
	form     Revision                           // that it is told to speak
	penman   *penman                            // seals from end to end; nil where the library does

	certificate func(address string) ([]byte, error) // that it SETs where there is no TIPT_KEY; nil for none

	drafts func(n int, node net.Conn) *draftConn // puts the nth connection into the drafts' form; nil where it is not to be
}

// A resealed message is sealed anew for a defect.
type resealed struct {
	mid    bin
	msg    bin
	extra  []any // keys in the body more
	recipe recipe
	keys   []*pgp.PublicKey // the destination's subkeys
}

// A wrapper is a client with a defect while it runs.
type wrapper struct {
	d       clientDefect
	address string // of the suite
	name    string
	roots   *x509.CertPool
	to      tipt.Address

	mu    sync.Mutex // guards the following fields
	count int        // connections
	line  string     // being sent
	keys  []*pgp.PublicKey
	pool  chan net.Conn // a connection to be taken for the next one
	shut  bool          // nobody gets to the suite
}

// running is the wrapper of this process, if it is one.
var running *wrapper

// wrap is the main function of a client with a defect.
func wrap(name string) error {
	ctx := context.Background()
	all := slices.Concat(clientDefects, slowClients, draftClients, scriptClients, letterClients)
	i := slices.IndexFunc(all, func(d clientDefect) bool { return d.clause+" "+d.name == name })
	w := &wrapper{address: os.Getenv("TIPT_CONNECT"), roots: x509.NewCertPool()}
	if i >= 0 {
		w.d = all[i]
	} else {
		w.d.parallel = true
	}
	running = w
	root, err := os.ReadFile(os.Getenv("TIPT_CA"))
	if err != nil {
		return err
	}
	w.roots.AppendCertsFromPEM(root)
	u, err := url.Parse(os.Getenv("TIPT_URL"))
	if err != nil {
		return err
	}
	w.name = u.Hostname()
	if w.to, err = tipt.ParseAddress(os.Getenv("TIPT_TO")); err != nil {
		return err
	}
	listener, ca, err := w.listen()
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
	o := client.Options{
		RootCAs: []*x509.Certificate{ca}, Connect: listener.Addr().String(), Device: "dev-" + rand.Text()[:8],
		Pins: &watchedPins{warn: w.d.warn}, KeyChanged: w.keyChanged,
	}
	if name := os.Getenv("TIPT_KEY"); name != "" && w.d.penman == nil {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if o.Key, err = seal.ParseUserKey(b, nil); err != nil {
			return err
		}
	}
	c, err := client.Dial(ctx, tipt.NodeName(w.name), &o)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.SignIn(ctx, client.Credentials{User: os.Getenv("TIPT_USER"), Password: os.Getenv("TIPT_PASS")}); err != nil {
		return err
	}
	if err := w.setKey(ctx, c); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- w.sendLines(ctx, c) }()
	received := make(chan error, 1)
	go func() {
		received <- c.Receive(ctx, func(ctx context.Context, m client.Message) error { return w.show(ctx, c, m) })
	}()
	select {
	case err := <-sent:
		return err
	case err := <-received:
		return err
	}
}

func (w *wrapper) sendLines(ctx context.Context, c *client.Client) error {
	var failure error
	lines := bufio.NewScanner(os.Stdin)
	var sending sync.WaitGroup
	for lines.Scan() {
		line := lines.Text()
		w.mu.Lock()
		w.line = line
		w.mu.Unlock()
		sending.Go(func() {
			if err := w.send(ctx, c, line); err != nil {
				w.mu.Lock()
				failure = errors.Join(failure, err)
				w.mu.Unlock()
			}
		})
		if !w.d.parallel {
			sending.Wait()
		}
	}
	sending.Wait()
	return errors.Join(failure, lines.Err())
}

func (w *wrapper) send(ctx context.Context, c *client.Client, line string) error {
	if w.d.penman == nil {
		return c.Send(ctx, client.Outgoing{To: w.to, Text: line})
	}
	body, err := w.d.penman.write(ctx, c, w.to, line)
	if err != nil {
		if w.d.penman.quiet {
			return nil
		}
		return err
	}
	err = c.Send(ctx, client.Outgoing{To: w.to, Body: body})
	if w.d.penman.quiet {
		return nil
	}
	return err
}

func (w *wrapper) show(ctx context.Context, c *client.Client, m client.Message) error {
	text, is := m.Text()
	if !is {
		text = fmt.Sprintf("%d bytes", len(m.Body))
	}
	switch {
	case m.Signed:
		text = "signed: " + text
	case m.Sealed:
		text = "sealed: " + text
	}
	lines := []string{text}
	if w.d.penman != nil {
		if read := w.d.penman.read(ctx, c, m); read != nil {
			lines = read
		}
	}
	if w.d.print != nil {
		lines = w.d.print(m)
	}
	for _, line := range lines {
		fmt.Println(line)
	}
	return nil
}

// listen makes the proxy's listener, and the authority that the good client trusts.
func (w *wrapper) listen() (net.Listener, *x509.Certificate, error) {
	ca, err := devca.New()
	if err != nil {
		return nil, nil, err
	}
	cert, key, err := ca.Issue(w.name)
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(ca.CertPEM())
	root, err := x509.ParseCertificate(block.Bytes)
	return listener, root, err
}

// connect makes the TCP connection to the suite.
func (w *wrapper) connect() (net.Conn, error) {
	w.mu.Lock()
	pool, shut := w.pool, w.shut
	w.pool = nil
	w.mu.Unlock()
	switch {
	case shut:
		return nil, errors.New("nobody gets to the suite")
	case pool != nil:
		return <-pool, nil
	}
	return net.Dial("tcp", w.address)
}

// serve serves one connection of the good client; what fails ends it.
func (w *wrapper) serve(c net.Conn) {
	defer c.Close()
	tcp, err := w.connect()
	if err != nil {
		return
	}
	defer tcp.Close()
	if w.d.loss != nil {
		defer w.d.loss(w)
	}
	config := &tls.Config{ServerName: w.name, RootCAs: w.roots, NextProtos: []string{"http/1.1"}}
	w.mu.Lock()
	n := w.count
	w.count++
	w.mu.Unlock()
	if w.d.tls != nil {
		w.d.tls(n, config)
	}
	node := tls.Client(tcp, config)
	if err := node.Handshake(); err != nil {
		return
	}
	r := bufio.NewReader(c)
	request, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if w.d.hello != nil {
		w.d.hello(request)
	}
	if err := request.Write(node); err != nil {
		return
	}
	nr := bufio.NewReader(node)
	response, err := http.ReadResponse(nr, request)
	if err != nil {
		return
	}
	if w.d.taken != nil {
		w.d.taken(w, response)
	}
	if err := response.Write(c); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	b := &bent{client: c, node: node, asked: make(map[uint8]int)}
	heard := func(f frame) []frame { return []frame{f} }
	if w.d.drafts != nil {
		if drafts := w.d.drafts(n, node); drafts != nil {
			b.node, heard = drafts, drafts.heard
		}
	}
	d := w.d.defect
	d.ask, d.say = w.asking(d.ask), w.saying(d.say)
	if w.d.pings {
		defer w.ping(b, &d)()
	}
	var group sync.WaitGroup
	group.Go(func() {
		defer c.Close()
		frames(nr, b, func(f frame) {
			for _, f := range heard(f) {
				b.fromNode(d, f)
			}
		})
	})
	frames(r, b, func(f frame) { b.fromClient(d, f) })
	_ = node.Close() // so that the other ends
	group.Wait()
}

// ping sends PINGs until stop is called. Its own payload tells their PONGs, of which the client does not
// hear.
func (w *wrapper) ping(b *bent, d *defect) (stop func()) {
	const payload = "ping"
	answered := true // guarded by b.mu
	d.down = func(_ *bent, f frame) []frame {
		if f.opcode == opPong && string(f.payload) == payload {
			answered = true
			return nil
		}
		return []frame{f}
	}
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-done:
				return
			}
			b.mu.Lock()
			if !answered && !w.d.patient {
				_ = b.client.Close() // ends the other one, too
			}
			answered = false
			_, _ = b.node.Write(clientFrame(true, opPing, []byte(payload))) // the reader sees the end
			b.mu.Unlock()
		}
	}()
	return func() { close(done) }
}

// frames hands over frames until the connection ends.
func frames(r *bufio.Reader, b *bent, take func(frame)) {
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		b.mu.Lock()
		take(f)
		b.mu.Unlock()
	}
}

// saying learns the destination's key from what the node says.
func (w *wrapper) saying(say func(*bent, fields, int) any) func(*bent, fields, int) any {
	return func(b *bent, f fields, asked int) any {
		if asked == reqGetNodeKey && w.d.seal != nil {
			key, err := unpack(f.part("body").get("key").(raw))
			if err != nil {
				return nil
			}
			entity, err := openpgp.ReadEntity(pgp.NewReader(bytes.NewReader(key.bytes())))
			if err != nil {
				return nil
			}
			w.mu.Lock()
			w.keys = nil
			for _, sub := range entity.Subkeys {
				w.keys = append(w.keys, sub.PublicKey)
			}
			w.mu.Unlock()
		}
		if say == nil {
			return nil
		}
		return say(b, f, asked)
	}
}

// asking seals a FORWARD anew where the defect wants that.
func (w *wrapper) asking(ask func(*bent, fields) []raw) func(*bent, fields) []raw {
	if w.d.seal == nil {
		return ask
	}
	return func(_ *bent, f fields) []raw {
		if !isMessage(f) {
			return nil
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		body := f.part("body")
		ref, err := unpack(body.get("ref").(raw))
		if err != nil {
			return nil
		}
		m := &resealed{mid: ref.bytes(), msg: textMessage(w.line), keys: w.keys}
		w.d.seal(m)
		inner := append(fields{"to", string(w.to.User), "mid", m.mid, "msg", m.msg}, m.extra...)
		msg, err := m.recipe.seal(fields{"type", 0, "body", inner}.pack(), w.keys[0])
		if err != nil {
			return nil
		}
		return []raw{f.with("body", body.with("msg", bin(msg)).with("ref", m.mid)).pack()}
	}
}

func isAsking(f fields, reqt int) bool {
	return number(f, "pakt") == pktRequest && number(f, "reqt") == reqt
}

// isMessage tells a FORWARD of a MESSAGE, which has a `ref`, from one of GET_USER_KEY.
func isMessage(f fields) bool { return isAsking(f, reqForward) && f.part("body").get("ref") != nil }

// quit closes in the client's place.
func (b *bent) quit(code int) []raw {
	_, _ = b.node.Write(clientFrame(true, opClose, []byte{byte(code >> 8), byte(code)})) // the reader sees the end
	return []raw{}
}

// put sends the node a packet in the client's place.
func (b *bent) put(f fields) {
	_, _ = b.node.Write(clientFrame(true, opBinary, f.pack())) // likewise
}

// respond answers the node in the client's place.
func (b *bent) respond(f fields, code int) []raw {
	answer := fields{"ver", "1.0.0", "id", f.get("id"), "pakt", pktResponse}
	if code != ok {
		answer = append(answer, "err", fields{"code", code})
	}
	b.put(answer)
	return []raw{}
}

// later does something while the connection lasts.
func (b *bent) later(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		f()
	})
}

// noDefect is in place of the clause of a client without a defect.
const noDefect = "none"

// command runs the test binary as a client with a defect.
func command(clause, name string) (string, error) {
	binary, err := os.Executable()
	return fmt.Sprintf("%s='%s %s' exec '%s'", wrapped, clause, name, binary), err
}
