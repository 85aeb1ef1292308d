// Package process measures processes of this machine: their time and their memory.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the processor time that processes have used, and those that they have started.
func CPU(pids []int) (time.Duration, error) {
	n, err := total(pids, cpuOf)
	return time.Duration(n), err
}

func cpuOf(pid int) (nanoseconds int64, err error) {
	// What clock_getcpuclockid(3) makes of a process. /proc/PID/stat counts in steps of 10 ms.
	const ofScheduler = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|ofScheduler), &t); err != nil {
		return 0, fmt.Errorf("read the time of process %d: %w", pid, err)
	}
	return t.Nano(), nil
}

// Monotonic reads CLOCK_MONOTONIC, in nanoseconds. All processes have the same.
func Monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // no Linux is without it
	}
	return t.Nano()
}

// OwnCPU returns the processor time that this process has used.
func OwnCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read the time of this process: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// Resident returns the bytes of memory that processes have, and those that they have started. What
// they share, such as the program itself, counts for each.
func Resident(pids []int) (int64, error) {
	return total(pids, residentOf)
}

func residentOf(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// total adds up a figure of processes and of those that they have started: a node hashes passwords
// in another one.
func total(pids []int, figure func(pid int) (int64, error)) (sum int64, err error) {
	for _, pid := range pids {
		n, err := figure(pid)
		if err != nil {
			return 0, err
		}
		sum += n
		started, err := Children(pid)
		if err != nil {
			return 0, err
		}
		for _, child := range started {
			n, err := figure(child)
			if err != nil && syscall.Kill(child, 0) == nil { // else it has ended
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

// Children returns the processes that one has started and that have not ended.
func Children(pid int) (pids []int, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // of each thread
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended, and others have its children
		}
		if err != nil {
			return nil, fmt.Errorf("list what process %d has started: %w", pid, err)
		}
		for _, field := range strings.Fields(string(b)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("list what process %d has started: %w", pid, err)
			}
			pids = append(pids, child)
		}
	}
	return pids, nil
}

// Collect runs a shell command by which processes give back what they do not use. Where there is none, "", it does nothing.
func Collect(ctx context.Context, command string) error {
	if command == "" {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput(); err != nil {
		return fmt.Errorf("have the garbage collected: %w\n%s", err, out)
	}
	return nil
}
