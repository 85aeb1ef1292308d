package client

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

var bob = tipt.Address{User: "bob", Node: nodeName}

func TestSend(t *testing.T) {
	for _, queue := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			c := signedIn(t, n, nil)
			defer c.Close()
			id := tipt.NewMessageID()
			send := begin(t, func() error {
				return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", ID: id, Queue: queue})
			})
			if req := n.giveKey(); req.New {
				t.Error("the first GET_NODE_KEY goes past the node's cache")
			}
			r, req, sealed := n.wantForward()
			if req.Node != string(nodeName) || req.Wait == queue || req.Ref == nil || *req.Ref != id {
				t.Errorf("FORWARD %q wait %v ref %v, want %q, %v, %v", req.Node, req.Wait, req.Ref, nodeName, !queue, id)
			}
			text := tipt.Content{Type: tipt.ContentText, Text: &tipt.Text{Text: "hello", Time: time.Now()}}
			want := tipt.SealedRequest{
				Type:    tipt.ForwardMessage,
				Message: &tipt.MessageForward{To: "bob", ID: id, Message: text.Append(nil)},
			}
			if diff := cmp.Diff(want, sealed); diff != "" {
				t.Errorf("sealed request (-want +got):\n%s", diff)
			}
			send.wantRunning()
			if queue {
				r.Reply(nil)
			} else {
				r.Reply(answered(nil))
			}
			send.want(nil)
		})
	}
}

func TestSendFails(t *testing.T) {
	tests := []struct {
		name   string
		answer func(r *link.Request)
		want   error
	}{
		{"no such user", func(r *link.Request) { r.Reply(answered(&tipt.ForwardError{Code: tipt.ErrNoSuchUser})) }, tipt.ErrNoSuchUser},
		{"mailbox full", func(r *link.Request) { r.Reply(answered(&tipt.ForwardError{Code: tipt.ErrMailboxFull})) }, tipt.ErrMailboxFull},
		{"unreachable", func(r *link.Request) { r.Fail(&tipt.Error{Code: tipt.ErrNodeUnreachable}) }, tipt.ErrNodeUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				defer c.Close()
				send := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello"}) })
				n.giveKey()
				tt.answer(n.want(tipt.RequestForward))
				send.want(tt.want)
			})
		})
	}
	t.Run("too large", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			c := signedIn(t, n, nil)
			defer c.Close()
			err := c.Send(t.Context(), Outgoing{To: bob, Body: make([]byte, tipt.MaxMessageSize+1)})
			if !errors.Is(err, tipt.ErrTooLarge) {
				t.Errorf("Send: %v, want %v", err, tipt.ErrTooLarge)
			}
			n.wantNothing()
		})
	})
}

func TestSendRefusesWhatIsNoText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		if err := c.Send(t.Context(), Outgoing{To: bob, Text: "caf\xe9"}); err == nil {
			t.Error("a text that is not UTF-8 is sent")
		}
		n.wantNothing()
	})
}

func TestRequestThatFitsNoPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		forward := begin(t, func() error {
			_, err := c.Forward(t.Context(), nodeName, make([]byte, tipt.MaxPacketSize+1))
			return err
		})
		n.wantNothing()
		if err := <-forward.done; err == nil {
			t.Error("Forward succeeded")
		}
	})
}

func TestResendsWhatGotNoResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		send := begin(t, func() error { return c.Send(t.Context(), Outgoing{To: bob, Text: "hello", Queue: true}) })
		n.giveKey()
		_, first, sealed := n.wantForward()
		for range 5 {
			n.now().CloseNow()
			time.Sleep(time.Hour)
			_, again, sealedAgain := n.wantForward()
			if *again.Ref != *first.Ref || sealedAgain.Message.ID != sealed.Message.ID {
				t.Errorf("sent again with ref %v and mid %v, want %v twice", again.Ref, sealedAgain.Message.ID, first.Ref)
			}
			if bytes.Equal(sessionKeyOf(t, again.Sealed), sessionKeyOf(t, first.Sealed)) {
				t.Error("sent again with the session key of the connection before")
			}
			first = again
		}
		n.now().Close(tipt.CloseMaintenance, "")
		time.Sleep(time.Hour)
		r, _, _ := n.wantForward()
		r.Reply(nil)
		send.want(nil)
	})
}

func TestGivesUpAtSecondSuspiciousClose(t *testing.T) {
	for _, code := range []int{tipt.CloseProtocol, tipt.CloseTooLarge} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode(t)
			c := signedIn(t, n, nil)
			defer c.Close()
			info := func() error { _, err := c.Info(t.Context()); return err }
			poison := begin(t, info)
			n.want(tipt.RequestGetInfo)
			n.now().Close(code, "")
			time.Sleep(time.Minute)
			n.want(tipt.RequestGetInfo)
			poison.wantRunning()
			innocent := begin(t, info)
			n.want(tipt.RequestGetInfo)
			n.now().CloseNow() // says nothing against what is under way
			time.Sleep(time.Minute)
			n.want(tipt.RequestGetInfo)
			n.want(tipt.RequestGetInfo)
			n.now().Close(code, "")
			time.Sleep(time.Minute)
			var closed *link.CloseError
			if err := <-poison.done; !errors.As(err, &closed) || closed.Code != code {
				t.Errorf("after a second close with %d: %v", code, err)
			}
			innocent.wantRunning()
			n.want(tipt.RequestGetInfo).Reply(tipt.GetInfoResponse{Node: string(nodeName)}.Append(nil))
			innocent.want(nil)
		})
	}
}

func TestWaitsOutBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		devices := begin(t, func() error { _, err := c.Devices(t.Context()); return err })
		n.want(tipt.RequestListDevices).Fail(&tipt.Error{Code: tipt.ErrBusy, Wait: 10 * time.Second})
		time.Sleep(10*time.Second - time.Millisecond)
		n.wantNothing()
		time.Sleep(time.Second + time.Millisecond)
		n.want(tipt.RequestListDevices).Reply(tipt.ListDevicesResponse{}.Append(nil))
		devices.want(nil)
		if len(n.dialed()) != 1 {
			t.Errorf("%d connections, want 1", len(n.dialed()))
		}
	})
}

func TestAsksOnceWhatMustNotBeRepeated(t *testing.T) {
	tests := []struct {
		name string
		code tipt.NodeRequest
		call func(ctx context.Context, c *Client) error
	}{
		{"Register", tipt.RequestRegister, func(ctx context.Context, c *Client) error {
			return c.Register(ctx, "alice", "correct horse", "")
		}},
		{"SetPassword", tipt.RequestSetPassword, func(ctx context.Context, c *Client) error {
			return c.SetPassword(ctx, "correct horse", "battery staple")
		}},
		{"DeleteAccount", tipt.RequestDeleteAccount, func(ctx context.Context, c *Client) error {
			return c.DeleteAccount(ctx, "correct horse")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				defer c.Close()
				busy := begin(t, func() error { return tt.call(t.Context(), c) })
				n.want(tt.code).Fail(&tipt.Error{Code: tipt.ErrBusy, Wait: time.Second})
				busy.want(tipt.ErrBusy)
				lost := begin(t, func() error { return tt.call(t.Context(), c) })
				n.want(tt.code)
				n.now().CloseNow()
				lost.want(ErrUnknownOutcome)
				time.Sleep(time.Minute)
				n.wantNothing()
			})
		})
	}
}

func TestContextEndsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		c := signedIn(t, n, nil)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		asked := begin(t, func() error { _, err := c.Info(ctx); return err })
		n.want(tipt.RequestGetInfo)
		cancel()
		asked.want(context.Canceled)

		n.change(func() { n.refuse = func() error { return errors.New("down") } })
		n.now().CloseNow()
		time.Sleep(time.Minute)
		ctx, cancel = context.WithCancel(t.Context())
		waiting := begin(t, func() error { _, err := c.Info(ctx); return err })
		waiting.wantRunning()
		cancel()
		waiting.want(context.Canceled)
	})
}

func TestCloseEndsCalls(t *testing.T) {
	for _, state := range []string{"connected", "disconnected", "busy"} {
		t.Run(state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode(t)
				c := signedIn(t, n, nil)
				info := begin(t, func() error { _, err := c.Info(t.Context()); return err })
				r := n.want(tipt.RequestGetInfo)
				receive := begin(t, func() error { return c.Receive(t.Context(), nil) })
				switch state {
				case "disconnected":
					n.change(func() { n.refuse = func() error { return errors.New("down") } })
					n.now().CloseNow()
					time.Sleep(time.Hour)
				case "busy":
					r.Fail(&tipt.Error{Code: tipt.ErrBusy, Wait: time.Hour})
				}
				info.wantRunning()
				receive.wantRunning()
				c.Close()
				info.want(ErrClosed)
				receive.want(ErrClosed)
				c.Close() // does no harm
				if state == "connected" {
					var closed *link.CloseError
					if err := <-n.now().ended; !errors.As(err, &closed) || closed.Code != tipt.CloseNormal {
						t.Errorf("the node sees %v, want a close with 1000", err)
					}
				}
			})
		})
	}
}

func TestSignInGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.hold = true
		c := newTestClient(t, n, nil)
		if err := c.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		credentials := Credentials{User: "alice", Password: "correct horse"}
		first := begin(t, func() error { _, err := c.SignIn(ctx, credentials); return err })
		n.want(tipt.RequestSignIn)
		cancel()
		first.want(context.Canceled)
		// The connection may be signed in or not; the next one is certainly not.
		time.Sleep(time.Second)
		if len(n.dialed()) != 2 {
			t.Fatalf("%d connections, want a second one", len(n.dialed()))
		}
		second := begin(t, func() error { _, err := c.SignIn(t.Context(), credentials); return err })
		n.want(tipt.RequestSignIn).Reply(tipt.SignInResponse{Address: alice.String(), Token: token}.Append(nil))
		second.want(nil)
	})
}

func TestSignInOverLostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.hold = true
		c := newTestClient(t, n, nil)
		if err := c.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		signIn := begin(t, func() error {
			_, err := c.SignIn(t.Context(), Credentials{User: "alice", Token: token, SendOnly: true})
			return err
		})
		n.want(tipt.RequestSignIn)
		n.change(func() { n.hold = false })
		n.now().CloseNow()
		time.Sleep(time.Second)
		signIn.want(nil)
		want := []tipt.SignInRequest{{User: "alice", Device: "default", Token: token, HasToken: true}}
		if diff := cmp.Diff(want, n.signedIn()); diff != "" {
			t.Errorf("sign-ins (-want +got):\n%s", diff)
		}
	})
}

func TestResumesByPasswordWithoutToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode(t)
		n.hold = true
		c := newTestClient(t, n, nil)
		if err := c.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		signIn := begin(t, func() error {
			_, err := c.SignIn(t.Context(), Credentials{User: "alice", Password: "correct horse", SendOnly: true})
			return err
		})
		n.want(tipt.RequestSignIn).Reply(tipt.SignInResponse{Address: alice.String()}.Append(nil))
		signIn.want(nil)
		n.change(func() { n.hold = false })
		n.now().CloseNow()
		time.Sleep(time.Second)
		synctest.Wait()
		want := []tipt.SignInRequest{{User: "alice", Device: "default", Password: "correct horse"}}
		if diff := cmp.Diff(want, n.signedIn()); diff != "" {
			t.Errorf("sign-ins (-want +got):\n%s", diff)
		}
	})
}
