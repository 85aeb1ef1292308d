package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/store"
)

// devCmd is `tiptd dev`.
type devCmd struct {
	Nodes  int    `default:"1" placeholder:"N" help:"How many nodes: 1, or 2 that forward to each other (${default})."`
	Listen string `placeholder:"ADDR" help:"Where to listen (127.0.0.1:7443, or the next port that is free, which the data folder remembers)."`
	Data   string `placeholder:"DIR" type:"path" help:"Folder of its data; by default one in your cache folder."`
}

func (c *devCmd) Run(ctx context.Context, s streams) error {
	if c.Nodes != 1 && c.Nodes != 2 {
		return fmt.Errorf("--nodes: %d; write 1 or 2", c.Nodes)
	}
	if c.Data == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find your cache folder: %w; name a folder with --data", err)
		}
		c.Data = filepath.Join(cache, "tipt", "dev")
		if c.Nodes > 1 {
			c.Data = filepath.Join(cache, "tipt", "dev-nodes")
		}
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	// The same one at the next start: clients remember it.
	ca, err := devca.Open(filepath.Join(c.Data, "authority.pem"))
	if err != nil {
		return err
	}
	p, taken, err := c.listen(ca)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w := welcome{Data: shellWord(c.Data)}
	if w.Tipt, w.Source, err = tiptCommand(); err != nil {
		return errors.Join(err, p.close())
	}
	return p.run(ctx, s, log, nil, func(i int, st store.Store) error {
		n := p.nodes[i]
		if i == 0 {
			// Only now: the folder's lock is held, so no other node uses the file.
			root := filepath.Join(c.Data, "ca.pem")
			if err := os.WriteFile(root, p.ca.CertPEM(), 0o600); err != nil {
				return fmt.Errorf("write the root certificate: %w", err)
			}
			w.Root = shellWord(root)
			if taken != "" {
				if err := c.keepPort(s, n, taken); err != nil {
					return err
				}
			}
			w.Bob = newPerson(ctx, st, "bob", n)
		}
		if n.exposed() {
			log.Warn("other machines reach this node, and whoever reaches it may register; give --listen 127.0.0.1:PORT to keep it to yourself", "listen", n.listener.Addr())
		}
		if i < len(p.nodes)-1 {
			return nil
		}
		// With two nodes, alice is on the other one.
		w.Alice = newPerson(ctx, st, "alice", n)
		if err := welcomeText.Execute(s.out, w); err != nil {
			return fmt.Errorf("print what to do next: %w", err)
		}
		return nil
	})
}

// Where `tiptd dev` listens unless it is told.
const (
	devHost  = "127.0.0.1"
	devPort  = 7443
	devTries = 100 // how many ports further it looks
)

// listen opens the sockets. Taken is the first address that another program has, for which
// these are a substitute.
func (c *devCmd) listen(ca *devca.CA) (p *playground, taken string, err error) {
	names := playNames(c.Nodes)
	if c.Listen != "" {
		p, err = newPlayground(ca, c.Data, c.Listen, names)
		return p, "", err
	}
	first := devPort
	switch kept, err := os.ReadFile(c.portFile()); {
	case err == nil:
		if first, err = strconv.Atoi(strings.TrimSpace(string(kept))); err != nil {
			return nil, "", fmt.Errorf("read the port in %s: %w; delete the file", c.portFile(), err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, "", fmt.Errorf("read the port of the last start: %w", err)
	}
	for port := first; ; port += c.Nodes {
		p, err = newPlayground(ca, c.Data, net.JoinHostPort(devHost, strconv.Itoa(port)), names)
		var failed *net.OpError
		if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &failed) || port-first >= devTries {
			return p, taken, err
		}
		if taken == "" {
			taken = failed.Addr.String()
		}
	}
}

// portFile is the file that has the first node's port, once another was taken.
func (c *devCmd) portFile() string { return filepath.Join(c.Data, "port") }

// keepPort has the next start take the same port: clients remember it.
func (c *devCmd) keepPort(s streams, n playNode, taken string) error {
	_, port, err := net.SplitHostPort(n.addr())
	if err != nil {
		return fmt.Errorf("tell the port: %w", err)
	}
	if err := os.WriteFile(c.portFile(), []byte(port+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the port: %w", err)
	}
	_, err = fmt.Fprintf(s.err, "%s is taken by another program; this data folder has port %s from now on\n", taken, port)
	return err
}

// welcome is what `tiptd dev` tells.
type welcome struct {
	Data, Root string
	Tipt       string // starts the client
	Source     string // the folder to start it in; "" is any
	Bob, Alice person
}

type person struct {
	Verb string // register, or sign-in when there is such a user from an earlier run
	Node tipt.NodeName
	Addr string
}

func newPerson(ctx context.Context, st store.Store, name tipt.UserName, n playNode) person {
	p := person{Verb: "register", Node: n.name, Addr: n.addr()}
	if _, err := st.User(ctx, name); err == nil {
		p.Verb = "sign-in"
	}
	return p
}

var welcomeText = template.Must(template.New("welcome").Parse(`
{{- if eq .Bob.Node .Alice.Node}}
A node to play with runs as {{.Bob.Node}} on {{.Bob.Addr}}. Ctrl-C ends it.
{{- else}}
Two nodes to play with run as {{.Bob.Node}} on {{.Bob.Addr}} and
{{.Alice.Node}} on {{.Alice.Addr}}. Ctrl-C ends them.
{{- end}}
All data is in {{.Data}}; delete that folder to begin anew.

Paste into a second terminal, to receive as bob:

{{with .Source}}  cd {{.}}
{{end}}  export TIPT_CA={{.Root}} TIPT_CONNECT={{.Bob.Addr}}
  echo bob-likes-tea | {{.Tipt}} {{.Bob.Verb}} bob@{{.Bob.Node}}
  {{.Tipt}} listen --as bob@{{.Bob.Node}}

Paste into a third, to write as alice:

{{with .Source}}  cd {{.}}
{{end}}  export TIPT_CA={{.Root}} TIPT_CONNECT={{.Alice.Addr}}
  echo alice-likes-jam | {{.Tipt}} {{.Alice.Verb}} alice@{{.Alice.Node}}
  {{.Tipt}} send --as alice@{{.Alice.Node}} bob@{{.Bob.Node}} 'Hello, Bob!'

`))

// tiptCommand returns how the person who started this program can start the client: from
// the source as well, in the module's folder, when that is where this one came from.
func tiptCommand() (command, folder string, err error) {
	self, err := os.Executable()
	if err != nil || !strings.Contains(self, "go-build") {
		return "tipt", "", nil
	}
	here, err := os.Getwd()
	if err != nil {
		return "", "", fmt.Errorf("find the source: %w", err)
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return "go run ./cmd/tipt", shellWord(dir), nil
		}
		if dir == filepath.Dir(dir) {
			return "", "", fmt.Errorf("find the source: no go.mod in %s or above", here)
		}
	}
}

// shellWord quotes a path where a shell needs it.
func shellWord(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("/._-+,:@%=", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
