//go:build failpoint

package main

import "syscall"

// failpoint kills this process as SIGKILL does when the migration comes to the
// point that $GODWIT_KILL_AT names. Only builds with the tag failpoint can do so.
func failpoint(env func(string) (string, bool)) func(point string) {
	at, found := env("GODWIT_KILL_AT")
	if !found {
		return nil
	}
	return func(point string) {
		if point == at {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL) // what is done when it fails does not matter
			select {}                                           // until the signal arrives
		}
	}
}
