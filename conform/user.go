package conform

import (
	"context"
	"fmt"
	"time"
)

// A user is an account that a scenario has made.
type user struct {
	name string // in its mapped form
	pass string
	next string // the password that it may have instead, while SET_PASSWORD is under way
	gone bool   // deleted already

	// leaving: DELETE_ACCOUNT is under way, or was when the run was interrupted.
	leaving bool
}

// name makes a user name that is not taken.
func (t *T) name() string {
	return fmt.Sprintf("%s%s-%d", t.s.UserPrefix, t.s.run, t.s.names.Add(1))
}

// newUser registers an account.
func (t *T) newUser() *user {
	c := t.greeted()
	u := t.registerOn(c)
	c.hang()
	return u
}

// registerOn registers an account on a connection that has greeted.
func (t *T) registerOn(c *conn) *user {
	u := &user{name: t.name(), pass: "correct horse " + t.s.run}
	body := fields{"user", u.name, "pass", u.pass}
	if t.s.registration != 0 {
		body = append(body, "inv", t.invite())
	}
	c.wantOK(c.exchange(reqRegister, body))
	t.users = append(t.users, u)
	return u
}

// invite returns an invitation, from the operator if need be.
func (t *T) invite() string {
	if t.s.registration == 2 {
		t.skip("registration is closed: open it (tiptd serve --registration open), or have it by invitation (invite) and give --admin")
	}
	t.s.mu.Lock()
	if n := len(t.s.invites); n > 0 {
		code := t.s.invites[n-1]
		t.s.invites = t.s.invites[:n-1]
		t.s.mu.Unlock()
		return code
	}
	t.s.mu.Unlock()
	if !t.s.operated() {
		t.skip("needs more invitations: give --invite, or --admin")
	}
	code, err := t.s.operator(t.ctx, "invite", "new")
	if err != nil {
		t.fatal(nil, "an invitation from --admin", err.Error())
	}
	return code
}

// signIn signs a user in on a new connection, by password unless more has `tok`.
func (t *T) signIn(u *user, more ...any) *conn {
	c := t.greeted()
	c.signIn(u, more...)
	return c
}

// signIn signs in on a connection that has greeted.
func (c *conn) signIn(u *user, more ...any) *packet {
	body := fields{"user", u.name}
	if fields(more).get("tok") == nil {
		body = append(body, "pass", u.pass)
	}
	p := c.wantOK(c.exchange(reqSignIn, append(body, more...)))
	c.user = u
	if tok := p.body.get("tok").bytes(); tok != nil {
		c.tok = tok
	}
	return p
}

// again ends a connection of the device default without a word, and signs that device in
// anew once the node has noticed.
func (t *T) again(c *conn) *conn {
	watcher := t.signIn(c.user, "dev", "watcher", "recv", false)
	c.hang()
	watcher.eventually("the device to be listed as not receiving once its connection has ended", func() bool {
		return watcher.listed()["default"].get("on").is(false)
	})
	watcher.hang()
	return t.signIn(c.user)
}

// member makes an account and signs it in on its first connection.
func (t *T) member() *conn {
	c := t.greeted()
	c.signIn(t.registerOn(c))
	return c
}

// leave deletes the scenario's accounts. What fails leaves them, and is counted.
func (t *T) leave() {
	users := t.users
	t.users = nil
	for _, u := range users {
		if !u.gone && !t.s.deleteAccount(u) {
			t.s.left.Add(1)
		}
	}
}

// deleteAccount deletes an account on a connection of its own.
func (s *suite) deleteAccount(u *user) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	t := s.newT(ctx, scenario{name: "clean-up"})
	done := make(chan bool, 1)
	go func() {
		deleted := false
		defer func() { done <- deleted }()
		defer t.close()
		c := t.greeted()
		for _, pass := range []string{u.pass, u.next} {
			switch code := c.exchange(reqSignIn, fields{"user", u.name, "recv", false, "pass", pass}).code; {
			case code == ok:
				deleted = c.exchange(reqDeleteAccount, fields{"pass", pass}).code == ok
				return
			case code == errCredentials && u.next != "":
			default:
				deleted = code == errCredentials && u.leaving
				return
			}
		}
	}()
	return <-done
}
