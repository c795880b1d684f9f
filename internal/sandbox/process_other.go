//go:build !linux

package sandbox

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (p *process) cpu() (time.Duration, error) {
	return 0, fmt.Errorf("CPU time of process %d: %w", p.pid(), errors.ErrUnsupported)
}

func (p *process) rss() (int64, error) {
	return 0, fmt.Errorf("memory of process %d: %w", p.pid(), errors.ErrUnsupported)
}
