//go:build external

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/internal/tipttest"
	"github.com/tipt/tipt-go/link"
)

// smallDisk puts a daemon's data on a file system of its own, which only its processes see, and
// returns a path to it for the test.
func smallDisk(t *testing.T, d *tipttest.Daemon, megabytes int) (disk string) {
	t.Helper()
	dir := filepath.Join(d.Dir, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var user, enter []string
	if os.Geteuid() != 0 {
		user, enter = []string{"--map-root-user"}, []string{"--user", "--preserve-credentials"}
	}
	// The file system lives as long as this process, which ends with its input.
	script := fmt.Sprintf(`mount -t tmpfs -o mode=700,size=%dm tmpfs "$0" && echo mounted && exec cat`, megabytes)
	holder := exec.Command("unshare", append(user, "--mount", "sh", "-c", script, dir)...)
	holder.Stderr = os.Stderr
	input, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(input.Close(), holder.Wait()); err != nil {
			t.Errorf("hold the small disk: %v", err)
		}
	})
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("mount a small disk: %q, %v", line, err)
	}
	pid := strconv.Itoa(holder.Process.Pid)
	d.Data = filepath.Join(dir, "data")
	d.Wrap = append(append([]string{"nsenter", "--target", pid}, enter...), "--mount", "--")
	return filepath.Join("/proc", pid, "root", dir)
}

// A parcel is a message that helps to fill a disk.
type parcel struct {
	id      tipt.MessageID
	content []byte
	wait    bool

	accepted bool // guarded by filling.mu
}

// A filling is what a sender does to a disk.
type filling struct {
	*user
	to      string
	parcels []*parcel // in the order sent

	mu      sync.Mutex // guards the following field, and those of parcels that say so
	refused int
}

// maxParcels is more than the disk has room for.
const maxParcels = 5000

// fill sends parcels, several at a time, until some have been refused for want of room.
func (f *filling) fill(ctx context.Context) {
	f.t.Helper()
	room := make(chan struct{}, 24) // fewer than make a connection BUSY
	take := func() {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			f.t.Fatal("the node does not answer")
		}
	}
	for enough := false; !enough; {
		n := len(f.parcels)
		if n == maxParcels {
			f.t.Fatalf("%d parcels fit, the disk does not fill", n)
		}
		// Bodies of both kinds: those that the database keeps, and those that are files.
		p := &parcel{id: tipt.NewMessageID(), content: bytes.Repeat([]byte{byte(n)}, 1+n%4*70_000), wait: n%3 == 0}
		f.parcels = append(f.parcels, p)
		body, err := message(f.key, f.node, f.to, p.id, p.content, p.wait)
		if err != nil {
			f.t.Fatal(err)
		}
		take()
		err = f.Go(ctx, uint8(tipt.RequestForward), body, func(answer tipt.Packet, err error) {
			<-room
			err = accepted(answer, err, p.wait)
			f.mu.Lock()
			defer f.mu.Unlock()
			switch {
			case err == nil:
				p.accepted = true
			case errors.Is(err, tipt.ErrInternal):
				f.refused++
			default:
				f.t.Errorf("parcel %d: %v", n, err)
			}
		})
		if err != nil {
			f.t.Fatal(err)
		}
		f.mu.Lock()
		enough = f.refused >= 10 || f.t.Failed()
		f.mu.Unlock()
	}
	for range cap(room) { // until all is answered
		take()
	}
}

// A full disk refuses what is new with INTERNAL, not what is sent again, and loses nothing that was
// accepted, also when the node is killed meanwhile. Those who send nothing notice nothing, and when room is made,
// by taking messages alone, it goes on.
func TestFullDisk(t *testing.T) {
	d := tipttest.NewDaemon(t, tiptd, "--registration", "open")
	disk := smallDisk(t, d, 192) // the store keeps two thirds of it in reserve
	p := d.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	register(t, d, p.Addr, "ada", "bob", "cyd")
	signIn(t, d, p.Addr, "bob", nil).hang() // has a device from now on
	ada := &filling{user: signIn(t, d, p.Addr, "ada", nil), to: "bob"}
	toCyd := make(chan *link.Request, 2) // the same message, on two connections
	cyd := signIn(t, d, p.Addr, "cyd", func(r *link.Request) { toCyd <- r })
	if err := ada.send("cyd", []byte("in time")); err != nil {
		t.Fatal(err)
	}
	// others checks that those who do not send are served.
	others := func(when string) {
		t.Helper()
		for _, code := range []tipt.NodeRequest{tipt.RequestGetInfo, tipt.RequestListDevices} {
			if _, err := cyd.ask(ctx, code, nil); err != nil {
				t.Errorf("%s: %v: %v", when, code, err)
			}
		}
		body, err := message(cyd.key, d.Name, "nobody", tipt.NewMessageID(), []byte("?"), true)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := cyd.ask(ctx, tipt.RequestForward, body)
		if err := accepted(answer, err, true); !errors.Is(err, tipt.ErrNoSuchUser) {
			t.Errorf("%s: a FORWARD that needs no room: %v, want NO_SUCH_USER", when, err)
		}
		wantStatus(t, d, p.Addr, "ok")
	}
	full := func(when string) {
		t.Helper()
		wantCode(t, when+": send a short message", ada.send("bob", []byte("short")), tipt.ErrInternal)
		stored := ada.parcels[0]
		body, err := message(ada.key, d.Name, "bob", stored.id, stored.content, true)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := ada.ask(ctx, tipt.RequestForward, body)
		if err := accepted(answer, err, true); err != nil {
			t.Errorf("%s: send again what is stored: %v", when, err)
		}
	}

	ada.fill(ctx)
	full("at the reserve")
	others("at the reserve")
	signIn(t, d, p.Addr, "cyd", nil).hang() // who may still come in, here in the place of
	cyd.wantClose(t, tipt.CloseReplaced)    // herself
	cyd = signIn(t, d, p.Addr, "cyd", func(r *link.Request) { toCyd <- r })

	neighbour := filepath.Join(disk, "neighbour")
	takeAll(t, neighbour)
	full("at the last byte")
	others("at the last byte")
	for range 2 {
		select {
		case r := <-toCyd:
			r.Reply(nil) // the first one goes nowhere any more
		case <-ctx.Done():
			t.Fatal("what was stored is not delivered from a full disk")
		}
	}
	p.Kill()
	p = d.Start(t)
	ada.user, cyd = nil, nil

	if err := os.Remove(neighbour); err != nil {
		t.Fatal(err)
	}
	ada.user = signIn(t, d, p.Addr, "ada", nil)
	cyd = signIn(t, d, p.Addr, "cyd", func(r *link.Request) { r.Reply(nil) })
	full("at the reserve again")
	others("at the reserve again")
	came := make(chan tipt.DeliverRequest, len(ada.parcels)+1)
	bob := signIn(t, d, p.Addr, "bob", func(r *link.Request) {
		var delivered tipt.DeliverRequest
		if err := delivered.Parse(r.Body, r.Newer); err != nil {
			t.Error(err)
		}
		came <- delivered
		r.Reply(nil)
	})
	kept := ada.check(ctx, came)
	t.Logf("%d messages sent, %d kept", len(ada.parcels), kept)

	// What bob has taken makes room by itself.
	until(t, "there is room", func() bool {
		err := ada.send("bob", []byte("the last word"))
		if err != nil && !errors.Is(err, tipt.ErrInternal) {
			t.Fatal(err)
		}
		return err == nil
	})
	select {
	case delivered := <-came:
		if string(delivered.Message) != "the last word" {
			t.Errorf("delivered %d bytes, want the last word", len(delivered.Message))
		}
	case <-ctx.Done():
		t.Fatal("the last word is not delivered")
	}
	others("in the end")
	bob.hang()
	p.Stop()
}

// takeAll writes a file until the disk has no byte left.
func takeAll(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		_, err := file.Write(block)
		switch {
		case errors.Is(err, syscall.ENOSPC):
			block = block[:len(block)/2]
		case err != nil:
			t.Fatal(err)
		}
	}
}

// check checks that what was accepted comes, whole and once, and what has `wait` false in
// the order sent; and nothing else does.
func (f *filling) check(ctx context.Context, came <-chan tipt.DeliverRequest) (kept int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	missing := make(map[tipt.MessageID]int) // number
	for n, p := range f.parcels {
		if p.accepted {
			missing[p.id] = n
		}
	}
	kept = len(missing)
	last := -1
	for len(missing) > 0 {
		select {
		case delivered := <-came:
			n, accepted := missing[delivered.ID]
			if !accepted {
				f.t.Fatalf("%s is delivered, which was refused or came before", delivered.ID)
			}
			delete(missing, delivered.ID)
			p := f.parcels[n]
			if !bytes.Equal(delivered.Message, p.content) {
				f.t.Errorf("parcel %d is delivered with another content", n)
			}
			if !p.wait && n < last {
				f.t.Errorf("parcel %d is delivered behind parcel %d", n, last)
			}
			if !p.wait {
				last = n
			}
		case <-ctx.Done():
			f.t.Fatalf("%d messages that were answered are lost", len(missing))
		}
	}
	return kept
}
