package live

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
	"godwit/internal/status/verdict"
)

// Intervals of the lines that are printed when nothing happens.
const (
	copyingInterval = 2 * time.Second
	idleInterval    = 5 * time.Second
)

// Printer writes what happens to a place that is not a terminal.
type Printer interface {
	Event(migrate.Event) error
	Status(migrate.Status) error
}

// Follow prints every event of m, and its status every few seconds, until ctx
// is done or the process that runs m has ended. Events that were emitted
// before ctx was done are still printed. The error is the printer's or m's.
func Follow(ctx context.Context, m Source, p Printer) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	events := make(chan migrate.Event)
	ended := make(chan error, 1)
	source := m.Events(ctx)
	reading.Go(func() { ended <- forward(source, events, stop) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case event := <-events:
			if err := p.Event(event); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-timer.C:
			next, err := printStatus(ctx, m, p)
			if err != nil {
				return err
			}
			timer.Reset(next)
		}
	}
}

// forward sends the events of a source until it ends or stop is closed.
func forward(source func(func(migrate.Event, error) bool), events chan<- migrate.Event, stop <-chan struct{}) error {
	var failed error
	for event, err := range source {
		if err != nil {
			failed = err
			break
		}
		select {
		case events <- event:
		case <-stop:
			return nil
		}
	}
	return failed
}

// printStatus prints one status and says when the next is due.
func printStatus(ctx context.Context, m Source, p Printer) (time.Duration, error) {
	s, err := m.Status(ctx)
	if err != nil {
		if gone(err) || ctx.Err() != nil {
			err = nil // its events end too, and with them the following
		}
		return idleInterval, err
	}
	if s.Phase == migrate.Copying || s.Phase == migrate.Switching {
		return copyingInterval, p.Status(s)
	}
	return idleInterval, p.Status(s)
}

// Plain prints one line for each event and status.
type Plain struct {
	W io.Writer
}

// Event implements Printer.
func (p Plain) Event(e migrate.Event) error {
	level := ""
	if e.Level != "info" && e.Level != "" {
		level = e.Level + ": "
	}
	_, err := fmt.Fprintf(p.W, "%s %s%s\n", e.At.Format(time.TimeOnly), level, e.Text)
	return err
}

// Status implements Printer.
func (p Plain) Status(s migrate.Status) error {
	_, err := fmt.Fprintf(p.W, "%s %s\n", s.At.Format(time.TimeOnly), StatusLine(s))
	return err
}

// StatusLine is the status of a migration in one line.
func StatusLine(s migrate.Status) string {
	line := string(s.Phase)
	switch s.Phase {
	case migrate.Copying:
		if awaited(s) == "" {
			line += fmt.Sprintf(" %3.0f%%", 100*s.Copy.Fraction)
		}
		line += " · " + copyText(s)
	case migrate.Following, migrate.Switching, migrate.Switched, migrate.RolledBack:
		for _, link := range s.Links {
			line += fmt.Sprintf(" · %s · %s/s · lag %s", link.State, units.Bytes(int64(link.BytesPerSec)), lagText(link))
		}
		if used := s.Spool.MemoryBytes + s.Spool.DiskBytes; used > 0 {
			line += " · spool " + units.Bytes(used)
		}
	}
	if s.Verify.State == migrate.VerifyRunning {
		text, _ := verdict.Status(s.Verify, s.At)
		line += " · verify: " + text
	}
	switch {
	case s.Ready:
		line += " · ready"
	case s.NotReady != "" && switchable(s.Phase):
		line += " · not ready: " + s.NotReady
	}
	return line
}

// switchable tells whether a switch is what comes next in a phase, so that it
// matters why one would not succeed.
func switchable(p migrate.Phase) bool {
	return p == migrate.Following || p == migrate.Switched || p == migrate.RolledBack
}

// JSON prints one object a line: {"type":"event","event":{...}},
// {"type":"status","status":{...}} and at last {"type":"result","result":{...}}.
type JSON struct {
	W io.Writer
}

type jsonLine struct {
	Type   string          `json:"type"`
	Event  *migrate.Event  `json:"event,omitempty"`
	Status *migrate.Status `json:"status,omitempty"`
	Result *Result         `json:"result,omitempty"`
}

// Event implements Printer.
func (p JSON) Event(e migrate.Event) error {
	return json.NewEncoder(p.W).Encode(jsonLine{Type: "event", Event: &e})
}

// Status implements Printer.
func (p JSON) Status(s migrate.Status) error {
	return json.NewEncoder(p.W).Encode(jsonLine{Type: "status", Status: &s})
}

// Result is how a run ended, the last line of JSON output.
type Result struct {
	ExitCode int            `json:"exit_code"`
	Error    string         `json:"error,omitempty"`
	Hint     string         `json:"hint,omitempty"`
	Status   migrate.Status `json:"status"`
}

// Result prints {"type":"result","result":{...}}.
func (p JSON) Result(r Result) error {
	return json.NewEncoder(p.W).Encode(jsonLine{Type: "result", Result: &r})
}
