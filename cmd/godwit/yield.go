package main

import (
	"os"
	"runtime"
)

// yield has the process give way where it shares a machine with the servers:
// it takes no more than half of the processors, unless $GOMAXPROCS says
// otherwise, and never interrupts another process for the sake of its own.
// What that brings to a source under load is measured in docs/benchmarks.md.
func yield() error {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS((runtime.GOMAXPROCS(0) + 1) / 2)
	}
	return scheduleAsBatch()
}
