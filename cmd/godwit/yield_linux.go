package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// scheduleAsBatch gives every thread the policy SCHED_BATCH (sched(7)): one that
// wakes up waits for its turn instead of preempting what runs. A new thread
// inherits the policy of the one that made it, so a pass that finds nothing to
// change is the last.
func scheduleAsBatch() error {
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("listing the threads of this process: %w", err)
		}
		changed := false
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil {
				return fmt.Errorf("listing the threads of this process: %w", err)
			}
			attr, err := unix.SchedGetAttr(id, 0)
			if err == nil && attr.Policy == unix.SCHED_NORMAL {
				attr.Policy, changed = unix.SCHED_BATCH, true
				err = unix.SchedSetAttr(id, attr, 0)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended meanwhile
				return fmt.Errorf("scheduling thread %d as batch: %w", id, err)
			}
		}
		if !changed {
			return nil
		}
	}
}
