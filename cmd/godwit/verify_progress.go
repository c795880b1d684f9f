package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"godwit/internal/status/verdict"
	"godwit/internal/verify"
)

// Intervals of the lines that say how far a comparison is.
const (
	terminalInterval = 200 * time.Millisecond
	plainInterval    = 10 * time.Second
)

// progressLine shows how far a comparison is, on standard error: on a terminal in
// one line that changes, elsewhere a line every now and then.
type progressLine struct {
	w        io.Writer
	meter    *verdict.Meter
	terminal *os.File // nil where it is none

	mu     sync.Mutex
	latest *verify.Progress

	done    chan struct{}
	stopped chan struct{}
}

// showProgress starts to show what update is told, until stop. Where JSON is wanted
// only a terminal is told.
func showProgress(s streams, asJSON bool, meter *verdict.Meter) *progressLine {
	p := &progressLine{w: s.err, meter: meter, done: make(chan struct{}), stopped: make(chan struct{})}
	interval := plainInterval
	if name, _ := s.env("TERM"); name != "dumb" && isTerminal(s.err) {
		p.terminal, _ = s.err.(*os.File)
		interval = terminalInterval
	}
	if asJSON && p.terminal == nil {
		p.w = io.Discard
	}
	go p.run(interval)
	return p
}

// update is for verify.Config.Progress; it never blocks on the terminal.
func (p *progressLine) update(now verify.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = &now
}

// stop takes the line away.
func (p *progressLine) stop() {
	close(p.done)
	<-p.stopped
}

func (p *progressLine) run(interval time.Duration) {
	defer close(p.stopped)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			if p.terminal != nil {
				_, _ = fmt.Fprint(p.w, "\r"+ansi.EraseLineRight) // what was shown does not matter any more
			}
			return
		case now := <-ticker.C:
			p.show(now)
		}
	}
}

func (p *progressLine) show(now time.Time) {
	p.mu.Lock()
	latest := p.latest
	p.mu.Unlock()
	if latest == nil {
		return
	}
	line := p.meter.Line(*latest, now)
	if p.terminal == nil {
		_, _ = fmt.Fprintln(p.w, now.Format(time.TimeOnly)+" "+line) // a comparison goes on unseen
		return
	}
	width, _, err := term.GetSize(int(p.terminal.Fd())) //nolint:gosec // a descriptor is small
	if err != nil {
		width = 80
	}
	_, _ = fmt.Fprint(p.w, "\r"+ansi.Truncate(line, max(1, width-1), "…")+ansi.EraseLineRight) // as above
}
