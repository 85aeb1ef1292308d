package node

import (
	"errors"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/account"
	"github.com/tipt/tipt-go/link"
	"github.com/tipt/tipt-go/seal"
	"github.com/tipt/tipt-go/store"
)

// register serves REGISTER (section 4).
func (s *session) register(r *link.Request) {
	var body tipt.RegisterRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		s.openGate()
		return
	}
	s.node.tasks.Go(func() {
		defer s.openGate()
		s.answer(r, nil, s.node.accounts.Register(s.ctx, body))
	})
}

// signIn serves SIGN_IN (section 4).
func (s *session) signIn(r *link.Request) {
	var body tipt.SignInRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		s.openGate()
		return
	}
	s.node.tasks.Go(func() {
		defer s.openGate()
		s.slowDown()
		response, err := s.enterAs(body)
		var refusal *tipt.Error
		if errors.As(err, &refusal) {
			s.notBefore = time.Now().Add(refusal.Wait)
		}
		if err != nil {
			s.answer(r, nil, err)
			return
		}
		r.Reply(response.Append(nil))
		if s.delivery != nil { // set by this goroutine, static from then on
			s.delivery.begin()
		}
	})
}

// maxSlowDown bounds how long a SIGN_IN that came too early is kept waiting.
const maxSlowDown = time.Second

// slowDown makes who was told to wait, and signs in again before that, wait indeed. To
// refuse is cheap, but not when a few hundred connections ask for it without end.
func (s *session) slowDown() {
	wait := min(time.Until(s.notBefore), maxSlowDown)
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// enterAs checks credentials and makes the connection the user's.
func (s *session) enterAs(body tipt.SignInRequest) (tipt.SignInResponse, error) {
	n := s.node
	var before []*delivery // of the device
	in, err := n.accounts.SignIn(s.ctx, body, s.from, func(in account.SignedIn) ([]string, error) {
		before = n.online.deliveries(in.User, in.Device)
		return s.enterOnline(signedInAs{user: in.User, name: in.Name, address: in.Address, device: in.Device, receives: body.Receive})
	})
	if err != nil {
		n.online.leave(s)
		s.mu.Lock()
		s.account = signedInAs{}
		s.mu.Unlock()
		return tipt.SignInResponse{}, err
	}
	replaced := n.online.replace(s, in.ByPassword)
	place := in.Place
	for _, d := range before { // one that ended meanwhile may have stored its place too late for SIGN_IN
		place = max(place, d.reader.Place())
	}
	s.mu.Lock()
	if body.Receive && !s.closed {
		s.delivery = newDelivery(s, place)
	}
	s.mu.Unlock()
	for _, other := range replaced {
		other.close(tipt.CloseReplaced, "signed in on a newer connection")
	}
	for _, device := range in.Dropped {
		n.signOutDevices(in.User, func(as signedInAs) bool { return as.device == device })
	}

	s.link.SetReadLimit(tipt.MaxPacketSize)
	n.mu.Lock()
	delete(n.unsigned, s)
	n.mu.Unlock()
	s.mu.Lock()
	s.phase = signedIn
	s.mu.Unlock()
	s.log.Debug("signed in", "receives", body.Receive)
	return tipt.SignInResponse{Address: in.Address, Token: in.Token}, nil
}

// enterOnline enters a connection whose credentials are right among those that are
// online: from now on whoever takes their force away finds it there.
func (s *session) enterOnline(as signedInAs) (devices []string, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, beingClosed()
	}
	s.account = as // from here on signOut finds it as well
	s.noted = time.Now()
	s.mu.Unlock()
	devices, err = s.node.online.enter(s, as)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.closed {
		err = beingClosed() // and signOut may have been too early to take it out
	}
	return devices, err
}

// signOut undoes enterAs when the connection has ended.
func (s *session) signOut() {
	s.mu.Lock()
	as, delivery, joined := s.account, s.delivery, s.account.user != 0
	s.closed = true
	s.mu.Unlock()
	if !joined {
		return
	}
	if delivery != nil {
		delivery.close()
	}
	s.node.online.leave(s)
	s.node.forgetKeys(as)
	s.node.seen(as)
}

// forgetKeys drops the session keys that have come from a user who is not connected any more: a client
// takes a new one for each connection (section 5.2).
func (n *Node) forgetKeys(as signedInAs) {
	if len(n.online.devices(as.user)) == 0 {
		n.opener.Load().Forget(as.from(n.config.Name))
	}
}

// seen notes that a device is, or was until now, connected.
func (n *Node) seen(as signedInAs) {
	// Of many connections that end at once none stays until the disk has it.
	failed := func(err error) {
		if err != nil {
			n.log.Error("see a device", "error", err)
		}
	}
	if err := n.accounts.See(n.alive, as.user, as.device, failed); err != nil {
		failed(err)
	}
}

// signOutDevices closes the connections of a user that which chooses, those too
// whose sign-in is not answered yet.
func (n *Node) signOutDevices(user store.UserID, which func(signedInAs) bool) {
	for _, s := range n.online.remove(user, func(s *session) bool { return which(s.account) }) {
		s.close(tipt.CloseSignedOut, "signed out")
	}
}

// setPassword serves SET_PASSWORD (section 4).
func (s *session) setPassword(r *link.Request) {
	var body tipt.SetPasswordRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		return
	}
	s.async(r, func() ([]byte, error) {
		if err := s.node.accounts.SetPassword(s.ctx, s.account.user, s.account.device, body, s.from); err != nil {
			return nil, err
		}
		s.node.signOutDevices(s.account.user, func(as signedInAs) bool {
			return as.device != s.account.device
		})
		return nil, nil
	})
}

// listDevices serves LIST_DEVICES (section 4).
func (s *session) listDevices(r *link.Request) {
	if err := tipt.ParseNil(r.Body); err != nil {
		s.answer(r, nil, err)
		return
	}
	s.async(r, func() ([]byte, error) {
		devices, err := s.node.accounts.Devices(s.ctx, s.account.user)
		if err != nil {
			return nil, err
		}
		var response tipt.ListDevicesResponse
		for _, d := range devices {
			device := tipt.Device{Name: d.Name, Seen: d.Seen, Online: s.node.online.receives(s.account.user, d.Name)}
			if s.node.online.connected(s.account.user, d.Name) {
				device.Seen = time.Now()
			}
			response.Devices = append(response.Devices, device)
		}
		return response.Append(nil), nil
	})
}

// removeDevice serves REMOVE_DEVICE (section 4). A device that removes itself
// gets its answer before its connection closes.
func (s *session) removeDevice(r *link.Request) {
	var body tipt.RemoveDeviceRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		return
	}
	s.node.tasks.Go(func() {
		err := s.node.accounts.RemoveDevice(s.ctx, s.account.user, body.Device)
		s.answer(r, nil, err)
		if err == nil {
			s.node.signOutDevices(s.account.user, func(as signedInAs) bool {
				return as.device == body.Device
			})
		}
	})
}

// deleteAccount serves DELETE_ACCOUNT (section 4).
func (s *session) deleteAccount(r *link.Request) {
	var body tipt.DeleteAccountRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		return
	}
	s.node.tasks.Go(func() {
		err := s.node.accounts.DeleteAccount(s.ctx, s.account.user, body, s.from)
		s.answer(r, nil, err)
		if err == nil {
			s.node.signOutDevices(s.account.user, func(signedInAs) bool { return true })
		}
	})
}

// setKey serves SET_KEY (section 4).
func (s *session) setKey(r *link.Request) {
	var body tipt.SetKeyRequest
	if err := body.Parse(r.Body, r.Newer); err != nil {
		s.answer(r, nil, err)
		return
	}
	s.async(r, func() ([]byte, error) {
		if body.Key != nil {
			if _, err := seal.ParseCertificate(body.Key); err != nil {
				return nil, &tipt.Error{Code: tipt.ErrMalformed, Message: "body.key: " + err.Error()}
			}
		}
		return nil, s.node.accounts.SetKey(s.ctx, s.account.user, body.Key)
	})
}
