package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tipt/tipt-go"
	"github.com/tipt/tipt-go/store"
)

// The child's environment.
const (
	crashDir  = "TIPT_STORETEST_CRASH_DIR"  // the store to work on
	crashSeed = "TIPT_STORETEST_CRASH_SEED" // of its messages
)

const (
	crashUsers   = 16
	crashKills   = 3
	crashDevices = 2
)

// testCrash starts a child that commits under load and tells what was acknowledged,
// kills it (-9) at a random moment, and looks at what it left, several times
// over on one store. A kill does not show a missing fsync.
func testCrash(f *fixture) {
	if dir := os.Getenv(crashDir); dir != "" {
		f.dir = dir
		crashChild(f)
		return
	}
	rnd := rand.New(rand.NewPCG(f.seed(), 0))
	var log crashLog
	for i := range crashUsers {
		user := f.user(crashUser(i))
		log.users = append(log.users, user)
		for j := range crashDevices {
			f.signIn(user, crashDevice(j))
		}
	}
	log.sent = make([]int, crashUsers)
	log.taken = make([][crashDevices]int64, crashUsers)
	for range crashKills {
		f.close()
		if acks := killChild(f, &log, rnd); acks == 0 {
			f.Error("the child was killed before anything was acknowledged")
		}
		log.check(f)
	}
}

func crashUser(i int) string   { return fmt.Sprintf("user%d", i) }
func crashDevice(j int) string { return fmt.Sprintf("device%d", j) }

// crashMessage is the n-th message to user i, counted from 1.
func crashMessage(user store.UserID, i, n int) *store.Append {
	size := 50 + n*37%900
	if n%20 == 0 {
		size = 200_000
	}
	return &store.Append{User: user, From: "bob@example.org", ID: id(i<<32 | n), Time: time.UnixMilli(int64(n)).UTC(), Body: body(n, size)}
}

// A crashLog is what children have acknowledged.
type crashLog struct {
	users []store.UserID
	sent  []int                 // messages to each user
	taken [][crashDevices]int64 // places of each user's devices
}

// killChild runs a child, notes in log what it acknowledges, and kills it.
func killChild(f *fixture, log *crashLog, rnd *rand.Rand) (acks int) {
	r, w, err := os.Pipe()
	if err != nil {
		f.Fatal(err)
	}
	defer r.Close()
	var pattern []string
	for _, name := range strings.Split(f.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(name)+"$")
	}
	cmd := exec.Command(os.Args[0], "-test.run="+strings.Join(pattern, "/"), "-test.count=1", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), crashDir+"="+f.dir, crashSeed+"="+strconv.FormatUint(rnd.Uint64(), 10))
	cmd.ExtraFiles = []*os.File{w}
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	killAt := 1 + rnd.IntN(3000)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line cut off by the kill was acknowledged to nobody
		}
		if err != nil {
			f.Fatal(err)
		}
		log.note(f, line)
		if acks++; acks == killAt {
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Microsecond) // somewhere within a batch
			if err := cmd.Process.Kill(); err != nil {
				f.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 {
		f.Fatalf("the child ended by itself after %d acknowledgements: %v\n%s", acks, err, output.String())
	}
	return acks
}

// note notes a line that a child wrote: "sent USER N" or "taken USER DEVICE SEQ".
func (l *crashLog) note(f *fixture, line string) {
	var i, j, n int
	if _, err := fmt.Sscanf(line, "sent %d %d\n", &i, &n); err == nil {
		if n != l.sent[i]+1 && n != l.sent[i] {
			f.Fatalf("message %d to user %d was acknowledged after message %d", n, i, l.sent[i])
		}
		l.sent[i] = n
		return
	}
	if _, err := fmt.Sscanf(line, "taken %d %d %d\n", &i, &j, &n); err != nil {
		f.Fatalf("the child wrote %q", line)
	}
	l.taken[i][j] = int64(n)
}

// check looks for everything that was acknowledged.
func (l *crashLog) check(f *fixture) {
	for i, user := range l.users {
		low := int64(1 << 62)
		for j := range crashDevices {
			d := f.device(user, crashDevice(j))
			if d.Place < l.taken[i][j] {
				f.Errorf("user %d: device %d has place %d, %d was acknowledged", i, j, d.Place, l.taken[i][j])
			}
			l.taken[i][j] = d.Place // it may have come further
			low = min(low, d.Place)
		}
		messages := f.messages(user, 0)
		last := low
		for _, m := range messages {
			if last++; m.Seq != last {
				f.Fatalf("user %d: seq %d where %d was due", i, m.Seq, last)
			}
			want := crashMessage(user, i, int(m.Seq))
			f.want("message", m, store.Message{Seq: last, From: want.From, ID: want.ID, Time: want.Time, Body: want.Body})
		}
		if int(last) < l.sent[i] {
			f.Errorf("user %d: message %d is the last one, %d was acknowledged", i, last, l.sent[i])
		}
		l.sent[i] = int(last)
		var again []store.Op
		for n := range l.sent[i] {
			again = append(again, crashMessage(user, i, n+1))
		}
		f.commit(again...)
		for n, op := range again {
			if o := op.(*store.Append); o.Outcome != store.Duplicate {
				f.Errorf("user %d: message %d sent again has outcome %d", i, n+1, o.Outcome)
			}
		}
	}
}

// crashChild commits until it is killed. For each user one goroutine sends
// messages, one after the other, and others take them.
func crashChild(f *fixture) {
	acks := os.NewFile(3, "acknowledgements")
	seed, err := strconv.ParseUint(os.Getenv(crashSeed), 10, 64)
	if err != nil {
		f.Fatal(err)
	}
	s := f.store()
	c := store.NewCommitter(s, store.CommitterOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			f.Error(err)
		}
	})
	for i := range crashUsers {
		u, err := s.User(ctx, tipt.UserName(crashUser(i)))
		if err != nil {
			f.Fatal(err)
		}
		wg.Go(func() { crashSend(f, c, u.ID, i, acks) })
		for j := range crashDevices {
			rnd := rand.New(rand.NewPCG(seed, uint64(i<<8|j)))
			wg.Go(func() { crashTake(f, c, u.ID, i, j, rnd, acks) })
		}
	}
	wg.Wait()
}

func crashSend(f *fixture, c *store.Committer, user store.UserID, i int, acks *os.File) {
	for n := 1; ; n++ {
		o := crashMessage(user, i, n)
		if err := c.Do(context.Background(), o); err != nil {
			f.Error(err)
			return
		}
		if o.Outcome == store.Duplicate {
			continue // sent by a child before
		}
		if o.Seq != int64(n) {
			f.Errorf("user %d: message %d got outcome %d, seq %d", i, n, o.Outcome, o.Seq)
			return
		}
		fmt.Fprintf(acks, "sent %d %d\n", i, n)
	}
}

func crashTake(f *fixture, c *store.Committer, user store.UserID, i, j int, rnd *rand.Rand, acks *os.File) {
	ctx := context.Background()
	d, err := f.s.Device(ctx, user, crashDevice(j))
	if err != nil {
		f.Error(err)
		return
	}
	for place := d.Place; ; {
		messages, err := f.s.Messages(ctx, user, place, 1+rnd.IntN(10), 1<<20)
		if err != nil {
			f.Error(err)
			return
		}
		if len(messages) == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		place = messages[len(messages)-1].Seq
		if err := c.Do(ctx, &store.Take{User: user, Device: crashDevice(j), Seq: place}); err != nil {
			f.Error(err)
			return
		}
		fmt.Fprintf(acks, "taken %d %d %d\n", i, j, place)
	}
}
