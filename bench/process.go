package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpu returns the processor time that processes have used.
func cpu(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		// What clock_getcpuclockid(3) makes of a process. /proc/PID/stat counts in steps of 10 ms.
		const ofScheduler = 2
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|ofScheduler), &t); err != nil {
			return 0, fmt.Errorf("read the time of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// ownCPU returns the processor time that this process has used.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read the time of this process: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// resident returns the bytes of memory that processes have.
func resident(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum, nil
}

// collect has the node give back what it does not use, where there is a command that does so.
func (o *Options) collect(ctx context.Context) error {
	if o.Collect == "" {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "sh", "-c", o.Collect).CombinedOutput(); err != nil {
		return fmt.Errorf("have the node collect its garbage: %w\n%s", err, out)
	}
	return nil
}
