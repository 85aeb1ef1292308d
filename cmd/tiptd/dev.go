package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/store"
)

// devCmd is `tiptd dev`.
type devCmd struct {
	Nodes  int    `default:"1" placeholder:"N" help:"How many nodes: 1, or 2 that forward to each other (${default})."`
	Listen string `default:"127.0.0.1:7443" placeholder:"ADDR" help:"Where to listen (${default}, or another port if that is taken)."`
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
	p, err := newPlayground(ca, c.Data, c.Listen, playNames(c.Nodes))
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w := welcome{Tipt: tiptCommand(), Data: shellWord(c.Data)}
	return p.run(ctx, s, log, nil, func(i int, st store.Store) error {
		n := p.nodes[i]
		if i == 0 {
			// Only now: the folder's lock is held, so no other node uses the file.
			root := filepath.Join(c.Data, "ca.pem")
			if err := os.WriteFile(root, p.ca.CertPEM(), 0o600); err != nil {
				return fmt.Errorf("write the root certificate: %w", err)
			}
			w.Root = shellWord(root)
			w.Bob = newPerson(ctx, st, "bob", n)
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

// welcome is what `tiptd dev` tells.
type welcome struct {
	Tipt, Data, Root string
	Bob, Alice       person
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

  export TIPT_CA={{.Root}} TIPT_CONNECT={{.Bob.Addr}}
  echo bob-likes-tea | {{.Tipt}} {{.Bob.Verb}} bob@{{.Bob.Node}}
  {{.Tipt}} listen --as bob@{{.Bob.Node}}

Paste into a third, to write as alice:

  export TIPT_CA={{.Root}} TIPT_CONNECT={{.Alice.Addr}}
  echo alice-likes-jam | {{.Tipt}} {{.Alice.Verb}} alice@{{.Alice.Node}}
  {{.Tipt}} send --as alice@{{.Alice.Node}} bob@{{.Bob.Node}} 'Hello, Bob!'

`))

// tiptCommand returns how the person who started this program can start the
// client: from the source as well, when that is where this one came from.
func tiptCommand() string {
	self, err := os.Executable()
	if err == nil && strings.Contains(self, "go-build") {
		return "go run ./cmd/tipt"
	}
	return "tipt"
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
