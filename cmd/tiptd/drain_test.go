//go:build external

package main_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
)

// slowDisk makes each sync of a process take so many seconds longer, until it is told to stop.
func slowDisk(t *testing.T, p *tipttest.Process, seconds int) (stop func()) {
	t.Helper()
	attach := exec.Command("strace", "-f", "-p", strconv.Itoa(p.PID()), "-o", os.DevNull, "-e", "trace="+syncs,
		"-e", "inject=fsync,fdatasync:delay_enter="+strconv.Itoa(seconds*1_000_000))
	said, err := attach.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = attach.Process.Signal(os.Interrupt) // it ends with the process, too
		_ = attach.Wait()                       // with the status of the signal
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.Contains(line, "attached") {
		t.Fatalf("strace says %q, %v", line, err)
	}
	return stop
}

// While a node that was told to stop finishes what it has begun, it turns new connections away
// in the way that makes them come back.
func TestStopTurnsAway(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	p := d.Start(t)
	register(t, d, p.Addr, "ada", "bob")
	ada := signIn(t, d, p.Addr, "ada", nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	body, err := message(ada.key, d.Name, "bob", tipt.NewMessageID(), []byte("slowly"), true)
	if err != nil {
		t.Fatal(err)
	}

	fast := slowDisk(t, p, 5)
	answered := make(chan error, 1)
	err = ada.Go(ctx, uint8(tipt.RequestForward), body, func(answer tipt.Packet, err error) {
		answered <- accepted(answer, err, true)
	})
	if err != nil {
		t.Fatal(err)
	}
	ada.wantRead(ctx, t)
	p.Terminate()
	select {
	case event := <-ada.events:
		if event.Code != uint8(tipt.EventGoingAway) {
			t.Errorf("event %v, want GOING_AWAY", tipt.ClientEvent(event.Code))
		}
	case <-time.After(patience):
		t.Fatal("no GOING_AWAY")
	}
	wantTurnedAway(t, d, p.Addr)
	wantStatus(t, d, p.Addr, "maintenance")
	_, err = ada.ask(ctx, tipt.RequestListDevices, nil)
	wantCode(t, "a request after GOING_AWAY", err, tipt.ErrBusy)
	if _, err := ada.ask(ctx, tipt.RequestGetInfo, nil); err != nil {
		t.Errorf("GET_INFO after GOING_AWAY: %v", err)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the disk had it: %v", err)
	default:
	}

	fast()
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("the message under way: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the message under way is not answered")
	}
	ada.wantClose(t, tipt.CloseGoingAway)
	if status := p.Wait(); status != 0 {
		t.Errorf("exit status %d after SIGTERM:\n%s", status, p.Log())
	}
}
