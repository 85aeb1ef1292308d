//go:build unix && !linux

package hashing

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// lower gives this process the lowest priority.
func lower() error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, lowest); err != nil {
		return fmt.Errorf("lower the priority: %w", err)
	}
	return nil
}

// conceal keeps what this process holds out of core dumps.
func conceal() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}
