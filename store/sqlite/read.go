package sqlite

import (
	"context"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

const userColumns = "id, name, password, key, created, disabled, deleted"

func userOf(v []value) store.User {
	return store.User{
		ID:       store.UserID(integer(v[0])),
		Name:     tipt.UserName(text(v[1])),
		Password: text(v[2]),
		Key:      blob(v[3]),
		Created:  timeOf(v[4]),
		Disabled: integer(v[5]) != 0,
		Deleted:  integer(v[6]) != 0,
	}
}

// User implements [store.Store].
func (s *Store) User(ctx context.Context, name tipt.UserName) (u store.User, err error) {
	err = s.read(ctx, "reading a user", func(c *conn) error {
		v := make([]value, 7)
		found, err := c.one(v, "SELECT "+userColumns+" FROM users WHERE name = ?", string(name))
		u = userOf(v)
		return notFound(found, err)
	})
	return u, err
}

// UserByID implements [store.Store].
func (s *Store) UserByID(ctx context.Context, id store.UserID) (u store.User, err error) {
	err = s.read(ctx, "reading a user", func(c *conn) error {
		v := make([]value, 7)
		found, err := c.one(v, "SELECT "+userColumns+" FROM users WHERE id = ?", int64(id))
		u = userOf(v)
		return notFound(found, err)
	})
	return u, err
}

// Users implements [store.Store].
func (s *Store) Users(ctx context.Context, after tipt.UserName, limit int) (users []store.User, err error) {
	err = s.read(ctx, "listing users", func(c *conn) error {
		return c.query(7, func(v []value) bool {
			users = append(users, userOf(v))
			return true
		}, "SELECT "+userColumns+" FROM users WHERE name > ? ORDER BY name LIMIT 0+?", string(after), int64(limit))
	})
	return users, err
}

const deviceColumns = "name, token, place, created, seen"

func deviceOf(v []value) store.Device {
	return store.Device{
		Name:      text(v[0]),
		TokenHash: blob(v[1]),
		Place:     integer(v[2]),
		HasPlace:  !v[2].null,
		Created:   timeOf(v[3]),
		Seen:      timeOf(v[4]),
	}
}

// Device implements [store.Store].
func (s *Store) Device(ctx context.Context, user store.UserID, name string) (d store.Device, err error) {
	err = s.read(ctx, "reading a device", func(c *conn) error {
		v := make([]value, 5)
		found, err := c.one(v, "SELECT "+deviceColumns+" FROM devices WHERE user = ? AND name = ?", int64(user), name)
		d = deviceOf(v)
		return notFound(found, err)
	})
	return d, err
}

// Devices implements [store.Store].
func (s *Store) Devices(ctx context.Context, user store.UserID) (devices []store.Device, err error) {
	err = s.read(ctx, "listing devices", func(c *conn) error {
		return c.query(5, func(v []value) bool {
			devices = append(devices, deviceOf(v))
			return true
		}, "SELECT "+deviceColumns+" FROM devices WHERE user = ? ORDER BY name", int64(user))
	})
	return devices, err
}

// Invite implements [store.Store].
func (s *Store) Invite(ctx context.Context, hash [32]byte) error {
	return s.read(ctx, "reading an invitation", func(c *conn) error {
		return notFound(c.one(make([]value, 1), "SELECT 1 FROM invites WHERE hash = ?", hash[:]))
	})
}

// Messages implements [store.Store].
func (s *Store) Messages(ctx context.Context, user store.UserID, after int64, limit, maxBytes int) (messages []store.Message, err error) {
	err = s.read(ctx, "reading messages", func(c *conn) error {
		var files []int64 // ids of the messages' files, 0 for none
		var bytes int
		if err := c.query(9, func(v []value) bool {
			if bytes += int(integer(v[5])); bytes > maxBytes && len(messages) > 0 {
				return false
			}
			m := store.Message{
				Seq:  integer(v[0]),
				Kind: store.MessageKind(integer(v[1])),
				From: text(v[2]),
				Time: timeOf(v[4]),
				Body: blob(v[6]),
			}
			copy(m.ID[:], blob(v[3]))
			if !v[7].null {
				m.Body = blob(v[8])
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
func file(large, body value) int64 {
	if !body.null {
		return 0
	}
	return integer(large)
}

// readFiles reads the bodies of items that have files, and takes out those that were deleted meanwhile.
func readFiles[T any](c *conn, dir string, items []T, files []int64, body func(*T) *[]byte) ([]T, error) {
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

func timeOf(v value) time.Time { return time.UnixMilli(integer(v)).UTC() }

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
