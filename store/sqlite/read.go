package sqlite

import (
	"context"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/sqlite3"
	"github.com/tipt/tipt-go/store"
)

const userColumns = "id, name, password, key, created, disabled, deleted"

func userOf(v []sqlite3.Value) store.User {
	return store.User{
		ID:       store.UserID(v[0].Integer),
		Name:     tipt.UserName(v[1].Text),
		Password: v[2].Text,
		Key:      v[3].Blob,
		Created:  timeOf(v[4]),
		Disabled: v[5].Integer != 0,
		Deleted:  v[6].Integer != 0,
	}
}

// User implements [store.Store].
func (s *Store) User(ctx context.Context, name tipt.UserName) (u store.User, err error) {
	err = s.read(ctx, "reading a user", func(c *sqlite3.Conn) error {
		v := make([]sqlite3.Value, 7)
		found, err := c.One(v, "SELECT "+userColumns+" FROM users WHERE name = ?", string(name))
		u = userOf(v)
		return notFound(found, err)
	})
	return u, err
}

// UserByID implements [store.Store].
func (s *Store) UserByID(ctx context.Context, id store.UserID) (u store.User, err error) {
	err = s.read(ctx, "reading a user", func(c *sqlite3.Conn) error {
		v := make([]sqlite3.Value, 7)
		found, err := c.One(v, "SELECT "+userColumns+" FROM users WHERE id = ?", int64(id))
		u = userOf(v)
		return notFound(found, err)
	})
	return u, err
}

// Users implements [store.Store].
func (s *Store) Users(ctx context.Context, after tipt.UserName, limit int) (users []store.User, err error) {
	err = s.read(ctx, "listing users", func(c *sqlite3.Conn) error {
		return c.Query(7, func(v []sqlite3.Value) bool {
			users = append(users, userOf(v))
			return true
		}, "SELECT "+userColumns+" FROM users WHERE name > ? ORDER BY name LIMIT 0+?", string(after), int64(limit))
	})
	return users, err
}

const deviceColumns = "name, token, place, created, seen"

func deviceOf(v []sqlite3.Value) store.Device {
	return store.Device{
		Name:      v[0].Text,
		TokenHash: v[1].Blob,
		Place:     v[2].Integer,
		HasPlace:  !v[2].Null,
		Created:   timeOf(v[3]),
		Seen:      timeOf(v[4]),
	}
}

// Device implements [store.Store].
func (s *Store) Device(ctx context.Context, user store.UserID, name string) (d store.Device, err error) {
	err = s.read(ctx, "reading a device", func(c *sqlite3.Conn) error {
		v := make([]sqlite3.Value, 5)
		found, err := c.One(v, "SELECT "+deviceColumns+" FROM devices WHERE user = ? AND name = ?", int64(user), name)
		d = deviceOf(v)
		return notFound(found, err)
	})
	return d, err
}

// Devices implements [store.Store].
func (s *Store) Devices(ctx context.Context, user store.UserID) (devices []store.Device, err error) {
	err = s.read(ctx, "listing devices", func(c *sqlite3.Conn) error {
		return c.Query(5, func(v []sqlite3.Value) bool {
			devices = append(devices, deviceOf(v))
			return true
		}, "SELECT "+deviceColumns+" FROM devices WHERE user = ? ORDER BY name", int64(user))
	})
	return devices, err
}

// Invite implements [store.Store].
func (s *Store) Invite(ctx context.Context, hash [32]byte) error {
	return s.read(ctx, "reading an invitation", func(c *sqlite3.Conn) error {
		return notFound(c.One(make([]sqlite3.Value, 1), "SELECT 1 FROM invites WHERE hash = ?", hash[:]))
	})
}

// Messages implements [store.Store].
func (s *Store) Messages(ctx context.Context, user store.UserID, after int64, limit, maxBytes int) (messages []store.Message, err error) {
	err = s.read(ctx, "reading messages", func(c *sqlite3.Conn) error {
		var files []int64 // ids of the messages' files, 0 for none
		var bytes int
		if err := c.Query(9, func(v []sqlite3.Value) bool {
			if bytes += int(v[5].Integer); bytes > maxBytes && len(messages) > 0 {
				return false
			}
			m := store.Message{
				Seq:  v[0].Integer,
				Kind: store.MessageKind(v[1].Integer),
				From: v[2].Text,
				Time: timeOf(v[4]),
				Body: v[6].Blob,
			}
			copy(m.ID[:], v[3].Blob)
			if !v[7].Null {
				m.Body = v[8].Blob
			}
			messages = append(messages, m)
			files = append(files, file(v[7], v[8]))
			return true
		}, `SELECT m.seq, m.kind, m.sender, m.mid, m.time, m.size, m.body, m.large, b.body
			FROM messages m LEFT JOIN bodies b ON b.id = m.large
			WHERE m.user = ? AND m.seq > ? AND EXISTS (SELECT 1 FROM mailboxes WHERE user = ?1)
			ORDER BY m.seq LIMIT 0+?`, int64(user), after, int64(limit)); err != nil {
			return err
		}
		var err error
		messages, err = readFiles(c, s.dir, messages, files, func(m *store.Message) *[]byte { return &m.Body })
		return err
	})
	return messages, err
}

// file is the id of a row's file, 0 where it has none: of a large body that is not in bodies.
func file(large, body sqlite3.Value) int64 {
	if !body.Null {
		return 0
	}
	return large.Integer
}

// readFiles reads the bodies of items that have files, and takes out those that were deleted meanwhile.
func readFiles[T any](c *sqlite3.Conn, dir string, items []T, files []int64, body func(*T) *[]byte) ([]T, error) {
	kept := items[:0]
	for i := range items {
		if files[i] != 0 {
			b, gone, err := readBlob(c, dir, files[i])
			if err != nil {
				return nil, err
			}
			if gone {
				continue
			}
			*body(&items[i]) = b
		}
		kept = append(kept, items[i])
	}
	return kept, nil
}

func notFound(found bool, err error) error {
	if err == nil && !found {
		return store.ErrNotFound
	}
	return err
}

func timeOf(v sqlite3.Value) time.Time { return time.UnixMilli(v.Integer).UTC() }

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
