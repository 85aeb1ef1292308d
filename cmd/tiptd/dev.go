package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/devca"
	"github.com/tipt/tipt-go/store"
)

// devName is the name of a node that runs for play or for show. Names under
// localhost belong to nobody.
const devName tipt.NodeName = "tipt.localhost"

// devCmd is `tiptd dev`.
type devCmd struct {
	Listen string `default:"127.0.0.1:7443" placeholder:"ADDR" help:"Where to listen (${default}, or another port if that is taken)."`
	Data   string `placeholder:"DIR" type:"path" help:"Folder of its data; by default one in your cache folder."`
}

func (c *devCmd) Run(ctx context.Context, s streams) error {
	if c.Data == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find your cache folder: %w; name a folder with --data", err)
		}
		c.Data = filepath.Join(cache, "tipt", "dev")
	}
	ca, err := devca.New()
	if err != nil {
		return err
	}
	config, err := devTLS(ca)
	if err != nil {
		return err
	}
	listen := c.Listen
	if taken(listen) {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			return fmt.Errorf("--listen: %w; write HOST:PORT", err)
		}
		listen = net.JoinHostPort(host, "0")
	}
	return serve(ctx, s, service{
		name:         devName,
		listen:       listen,
		data:         c.Data,
		tls:          config,
		registration: tipt.RegistrationOpen,
		log:          slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		ready: func(addr net.Addr, st store.Store) error {
			// Only now: the folder's lock is held, so no other node uses the file.
			root := filepath.Join(c.Data, "ca.pem")
			if err := os.WriteFile(root, ca.CertPEM(), 0o600); err != nil {
				return fmt.Errorf("write the root certificate: %w", err)
			}
			return c.welcome(ctx, s, addr, root, st)
		},
	})
}

// devTLS returns the TLS configuration of a node called devName.
func devTLS(ca *devca.CA) (*tls.Config, error) {
	cert, key, err := ca.Issue(string(devName))
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("use the node's certificate: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// taken reports whether somebody listens on the address.
func taken(address string) bool {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	return listener.Close() != nil
}

var welcome = template.Must(template.New("welcome").Parse(`
A node to play with runs as {{.Node}} on {{.Addr}}. Ctrl-C ends it.
Its data is in {{.Data}}; delete that folder to begin anew.

Paste into a second terminal, to receive as bob:

  export TIPT_CA={{.Root}} TIPT_CONNECT={{.Addr}}
  echo bob-likes-tea | {{.Tipt}} {{.Bob}} bob@{{.Node}}
  {{.Tipt}} listen --as bob@{{.Node}}

Paste into a third, to write as alice:

  export TIPT_CA={{.Root}} TIPT_CONNECT={{.Addr}}
  echo alice-likes-jam | {{.Tipt}} {{.Alice}} alice@{{.Node}}
  {{.Tipt}} send --as alice@{{.Node}} bob@{{.Node}} 'Hello, Bob!'

`))

// welcome prints what to do next.
func (c *devCmd) welcome(ctx context.Context, s streams, addr net.Addr, root string, st store.Store) error {
	verb := func(user tipt.UserName) string {
		if _, err := st.User(ctx, user); err == nil {
			return "sign-in" // from an earlier run
		}
		return "register"
	}
	if err := welcome.Execute(s.out, map[string]string{
		"Node":  string(devName),
		"Addr":  addr.String(),
		"Data":  shellWord(c.Data),
		"Root":  shellWord(root),
		"Tipt":  tiptCommand(),
		"Bob":   verb("bob"),
		"Alice": verb("alice"),
	}); err != nil {
		return fmt.Errorf("print what to do next: %w", err)
	}
	return nil
}

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
