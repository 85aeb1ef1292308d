package hashing

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// name is what the system calls this process, which it would call after the path it was started by.
const name = "tiptd-hash"

// lower gives this process the lowest priority. On Linux each thread has one of its own, which
// those that it starts inherit: when none was found that is new, all have it.
func lower() error {
	done := make(map[int]bool)
	for {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list the threads: %w", err)
		}
		before := len(done)
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return fmt.Errorf("list the threads: %w", err)
			}
			if done[id] {
				continue
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, id, lowest); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("lower the priority: %w", err)
			}
			done[id] = true
		}
		if len(done) == before {
			return nil
		}
	}
}

// conceal gives this process its name and keeps what it holds from debuggers and out of core dumps.
func conceal() error {
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return fmt.Errorf("take a name: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}
