package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/fault"
	"github.com/tipt/tipt-go/peer"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

// AdminSocket is the name, in the data folder, of the Unix socket over which
// an operator's commands reach a running node.
const AdminSocket = "admin.sock"

// maxSocketPath is what fits a Unix socket's address on every system we know.
const maxSocketPath = 103

// ListenAdmin opens the admin socket in dir, for its owner alone. The caller
// holds the data folder's lock, so a socket that is there already is a dead process's.
func ListenAdmin(dir string) (net.Listener, error) {
	path := filepath.Join(dir, AdminSocket)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("open the admin socket: %s is longer than the %d bytes a socket's path may have; choose a shorter data folder", path, maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove an old admin socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the admin socket: %w", err)
	}
	// The folder is 0700, so nobody else came in before this.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect the admin socket: %w", err), listener.Close())
	}
	return listener, nil
}

// AdminUser is a user as the admin socket shows it.
type AdminUser struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Disabled bool      `json:"disabled"`
	Deleted  bool      `json:"deleted"`
}

type (
	// AdminMaintenance is what the admin socket is asked to switch maintenance to.
	AdminMaintenance struct {
		On bool `json:"on"`
	}
	// AdminInvite answers with a new invitation.
	AdminInvite struct {
		Invite string `json:"invite"`
	}
	// AdminKey answers with the node's certificate.
	AdminKey struct {
		Certificate []byte `json:"certificate"`
	}
	// AdminQueue answers a change of the queue of what waits for other nodes.
	AdminQueue struct {
		Messages int `json:"messages"` // given back by drop
	}
	// AdminMemory answers with the memory that the node held, and holds now that it has given
	// back what it could.
	AdminMemory struct {
		Connections int    `json:"connections"`
		Before      Memory `json:"before"`
		After       Memory `json:"after"`
	}
	// AdminError answers what could not be done.
	AdminError struct {
		Error string `json:"error"`
	}
)

// adminPage is how many users one answer lists.
const adminPage = 1000

// admin returns the handler of the admin socket: JSON over HTTP.
func (n *Node) admin() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, serve func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
			answer, err := serve(r)
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(adminStatus(err))
				answer = AdminError{Error: err.Error()}
			}
			if err := json.NewEncoder(w).Encode(answer); err != nil {
				n.log.Debug("answer on the admin socket", "error", err)
			}
		})
	}
	handle("POST /maintenance", func(r *http.Request) (any, error) {
		var body AdminMaintenance
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		n.log.Info("maintenance", "on", body.On)
		return struct{}{}, n.setMaintenance(body.On)
	})
	handle("POST /gc", func(r *http.Request) (any, error) { return n.collect(r.Context()) })
	handle("POST /invites", func(r *http.Request) (any, error) {
		invite, err := n.accounts.NewInvite(r.Context())
		return AdminInvite{Invite: invite}, err
	})
	handle("GET /users", func(r *http.Request) (any, error) {
		users, err := n.accounts.List(r.Context(), tipt.UserName(r.FormValue("after")), adminPage)
		list := make([]AdminUser, 0, len(users))
		for _, u := range users {
			list = append(list, AdminUser{Name: string(u.Name), Created: u.Created, Disabled: u.Disabled, Deleted: u.Deleted})
		}
		return list, err
	})
	handle("POST /users/{name}/disable", func(r *http.Request) (any, error) {
		return struct{}{}, n.setDisabled(r.Context(), r.PathValue("name"), true)
	})
	handle("POST /users/{name}/enable", func(r *http.Request) (any, error) {
		return struct{}{}, n.setDisabled(r.Context(), r.PathValue("name"), false)
	})
	handle("GET /key", func(*http.Request) (any, error) {
		return AdminKey{Certificate: n.key.Load().Certificate()}, nil
	})
	handle("POST /key/{change}", func(r *http.Request) (any, error) {
		key, err := n.changeKey(KeyChange(r.PathValue("change")))
		if err != nil {
			return nil, err
		}
		return AdminKey{Certificate: key.Certificate()}, nil
	})
	handle("GET /queue", func(*http.Request) (any, error) { return n.outbox.List(), nil })
	for verb, act := range map[string]func(context.Context, tipt.NodeName) (int, error){
		"retry": func(ctx context.Context, node tipt.NodeName) (int, error) { return 0, n.outbox.Retry(ctx, node) },
		"hold":  func(ctx context.Context, node tipt.NodeName) (int, error) { return 0, n.outbox.Hold(ctx, node) },
		"drop":  n.outbox.Drop,
	} {
		handle("POST /queue/{node}/"+verb, func(r *http.Request) (any, error) {
			name, err := tipt.MapNodeName(r.PathValue("node"))
			if err != nil {
				return nil, err
			}
			messages, err := act(r.Context(), name)
			return AdminQueue{Messages: messages}, err
		})
	}
	fault.Handle(mux)
	return mux
}

// setDisabled locks a user out and closes its connections, or lets it in again. Raw is the
// name or the address of one of this node's users.
func (n *Node) setDisabled(ctx context.Context, raw string, disabled bool) error {
	if user, at, is := strings.Cut(raw, "@"); is {
		if name, err := tipt.MapNodeName(at); err != nil || name != n.config.Name {
			return &tipt.Error{Code: tipt.ErrNameInvalid, Message: fmt.Sprintf("this is the node %s; give the name alone: %s", n.config.Name, user)}
		}
		raw = user
	}
	user, err := n.accounts.SetDisabled(ctx, raw, disabled)
	if err != nil {
		return err
	}
	if disabled {
		n.signOutDevices(user.ID, func(signedInAs) bool { return true })
	}
	return nil
}

func adminStatus(err error) int {
	switch {
	case errors.Is(err, tipt.ErrNameInvalid), errors.Is(err, tipt.ErrNodeInvalid), errors.Is(err, errNoSuchChange):
		return http.StatusBadRequest
	case errors.Is(err, store.ErrNotFound), errors.Is(err, peer.ErrNothingWaits):
		return http.StatusNotFound
	case errors.Is(err, errStopping), errors.Is(err, seal.ErrHasMLKEM):
		return http.StatusConflict
	default:
		return http.StatusInternalServerError
	}
}
