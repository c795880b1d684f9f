package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// childAttributes put the server into a process group of its own, so that a
// Ctrl-C at the terminal reaches only us, and let it die with us. Strictly, with
// the thread that starts it (prctl(2)): Go ends a thread before the process only
// when a goroutine ends that has locked it, so do not start a server from one.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// clockTick is the unit of times in /proc: USER_HZ is 100 on every
// architecture that Debian and Go both run on.
const clockTick = 10 * time.Millisecond

// cpu reads utime and stime, fields 14 and 15 of /proc/PID/stat (proc(5)).
func (p *process) cpu() (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", p.pid())
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// Field 2, the name in parentheses, may hold spaces: count from its end.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("%s: %d fields after the name", path, len(fields))
	}
	var ticks int64
	for _, field := range fields[utime : stime+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// rss reads the second field of /proc/PID/statm, in pages (proc(5)).
func (p *process) rss() (int64, error) {
	path := fmt.Sprintf("/proc/%d/statm", p.pid())
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return resident * int64(os.Getpagesize()), nil
}
