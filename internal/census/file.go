package census

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"godwit/internal/command"
	"godwit/internal/rdb"
)

// EmptyError is of a file in which there is no line of MONITOR.
type EmptyError struct {
	Source string
	First  string // what is wrong with the first line; empty if there is none
}

func (e *EmptyError) Error() string {
	if e.First == "" {
		return e.Source + ": it is empty"
	}
	return e.Source + ": no line is one of MONITOR's output: " + e.First
}

// HintText is how such a file is made.
func (*EmptyError) HintText() string {
	return "redis-cli MONITOR > FILE writes such a file; lines look like 1339518083.107412 [0 127.0.0.1:60866] \"get\" \"key\""
}

// ReadFile reads the output of MONITOR, as redis-cli writes it, of any version. source
// is its name. With a ctx that is done it reports what was read until then. Errors are
// those of r, or an *EmptyError.
func ReadFile(ctx context.Context, r io.Reader, source string) (*Report, error) {
	c := New(Options{Capabilities: command.NewCapabilities(command.Version{}, rdb.Format{}, 0)})
	report := &Report{Source: source}
	var parser Parser
	var last time.Time
	lines := newLineReader(r)
	for n := int64(1); ; n++ {
		if ctx.Err() != nil {
			report.Interrupted = true
			break
		}
		line, cut, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", source, n, err)
		}
		if len(line) == 0 || string(line) == "OK" || string(line) == "+OK" {
			continue // the reply to MONITOR itself
		}
		parsed, err := parser.Parse(line, cut)
		if err != nil {
			report.LeftOut.NotUnderstood++
			if report.FirstBad == "" {
				report.FirstBad = fmt.Sprintf("line %d, %v", n, err)
			}
			continue
		}
		if report.Started.IsZero() {
			report.Started = parsed.Time
		}
		last = parsed.Time
		c.Add(parsed)
	}
	if c.lines == 0 && !report.Interrupted {
		return nil, &EmptyError{Source: source, First: report.FirstBad}
	}
	report.Seconds = max(0, last.Sub(report.Started).Seconds())
	c.report(report, nil)
	return report, nil
}
