//go:build !unix

package conform

import "os/exec"

// ownGroup does nothing where there are no process groups.
func ownGroup(*exec.Cmd) {}

// signalGroup ends the command alone.
func signalGroup(cmd *exec.Cmd, _ bool) {
	_ = cmd.Process.Kill() // it may have ended
}
