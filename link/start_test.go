package link_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/link"
)

// A refusing Parker cannot park.
type refusing struct{ link.Conn }

func (refusing) Park(func()) bool { return false }
func (refusing) Go(func())        { panic("link: Go on a Parker that cannot park") }

// TestStart: a link that Start runs does what one that Run runs does, and tells its end once.
func TestStart(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*link.Link)
		want error
	}{
		{"dropped", (*link.Link).CloseNow, link.ErrClosed},
		{"closed", func(l *link.Link) { l.Close(tipt.CloseGoingAway, "later") }, &link.CloseError{Local: true, Code: tipt.CloseGoingAway, Reason: "later"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, cb := link.Pipe()
				b := run(t, "b", cb, link.Options{})
				a := link.New(refusing{ca}, link.Options{Handler: echo})
				ended := make(chan error, 2)
				if err := a.Emit(1, nil); err != nil { // before it starts
					t.Fatal(err)
				}
				a.Start(func(err error) { ended <- err })
				if p, err := b.Call(t.Context(), 1, body(5, 20_000)); err != nil || number(p.Body) != 5 {
					t.Errorf("answer %d, %v", number(p.Body), err)
				}
				test.end(a)
				synctest.Wait()
				var closed, want *link.CloseError
				err := <-ended
				switch {
				case errors.As(test.want, &want):
					if !errors.As(err, &closed) || *closed != *want {
						t.Errorf("ended with %v, want %v", err, want)
					}
				case !errors.Is(err, test.want):
					t.Errorf("ended with %v, want %v", err, test.want)
				}
				if len(ended) > 0 {
					t.Error("it ended twice")
				}
			})
		})
	}
}
