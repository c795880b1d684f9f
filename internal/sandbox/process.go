package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// logName is the file in a server's directory that takes its output. The server
// logs to its standard output, so that what it says before it has read its
// settings is there too.
const logName = "server.log"

// process is one run of a server program. A goroutine of its own waits for the
// end and then closes done; it stops when the process does.
type process struct {
	cmd      *exec.Cmd
	logPath  string
	logStart int64 // size of the log when this run began
	done     chan struct{}
}

func startProcess(path, dir string, args []string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the process has its own descriptor
	logStart, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...) //nolint:noctx // it outlives the start; kill ends it
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, logPath: log.Name(), logStart: logStart, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the process at once and returns when it is gone.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing process %d: %w", p.pid(), err)
	}
	<-p.done
	return nil
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%v to process %d: %w", sig, p.pid(), err)
	}
	return nil
}

// logSinceStart is what this run has logged, empty if that cannot be read.
func (p *process) logSinceStart() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil || int64(len(text)) < p.logStart {
		return ""
	}
	return string(text[p.logStart:])
}
