package main

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestEveryThreadIsBatch has threads come and go while the policy is set.
func TestEveryThreadIsBatch(t *testing.T) {
	var busy sync.WaitGroup
	release := make(chan struct{})
	for range 8 {
		busy.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			<-release
		})
	}
	require.NoError(t, scheduleAsBatch())
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	require.NotEmpty(t, tasks)
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		require.NoError(t, err)
		attr, err := unix.SchedGetAttr(id, 0)
		if err == nil {
			require.EqualValues(t, unix.SCHED_BATCH, attr.Policy, "thread %d", id)
		} else {
			require.ErrorIs(t, err, unix.ESRCH)
		}
	}
	close(release)
	busy.Wait()
}
