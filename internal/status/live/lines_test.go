package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
)

func TestFollowPrintsStatusAndEvents(t *testing.T) {
	m := newMemory(migrate.Following)
	at := time.Date(2026, 3, 4, 12, 31, 28, 0, time.UTC)
	m.events <- migrate.Event{At: at, Level: "info", Text: "cut over"}
	m.events <- migrate.Event{At: at, Level: "warn", Text: "slow"}
	time.AfterFunc(100*time.Millisecond, func() { close(m.events) })
	var out bytes.Buffer
	if err := Follow(t.Context(), m, Plain{W: &out}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"12:31:28 cut over\n", "12:31:28 warn: slow\n", "12:31:28 following · streaming · 4.5 MB/s · lag 89 B, 2 ms · ready\n"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no line %q in:\n%s", line, &out)
		}
	}
}

func TestFollowEndsWithItsContextAndWithTheProcess(t *testing.T) {
	m := newMemory(migrate.Following)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := Follow(ctx, m, Plain{W: &bytes.Buffer{}}); err != nil {
		t.Errorf("context: %v", err)
	}
	m.err = notRunning{}
	close(m.events)
	if err := Follow(t.Context(), m, Plain{W: &bytes.Buffer{}}); err != nil {
		t.Errorf("process: %v", err)
	}
}

// A pipe whose reader is gone (head, less) ends the printing, not with a leak.
func TestFollowEndsWhenItCannotWrite(t *testing.T) {
	broken := errors.New("broken pipe")
	if err := Follow(t.Context(), newMemory(migrate.Following), Plain{W: failingWriter{broken}}); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestJSONLines(t *testing.T) {
	var out bytes.Buffer
	p := JSON{W: &out}
	if err := errors.Join(p.Event(migrate.Event{Text: "x"}), p.Status(example(migrate.Copying))); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, want := range []string{"event", "status"} {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || got["type"] != want || got[want] == nil {
			t.Errorf("%s: %v", lines[i], err)
		}
	}
}

func TestStatusLine(t *testing.T) {
	for phase, want := range map[migrate.Phase]string{
		migrate.Planned: "planned",
		migrate.Copying: "copying  82% · 246,000 of 300,000 keys · 31 MB · 95k keys/s · 12 MB/s · 600 ms left",
	} {
		if got := StatusLine(example(phase)); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// Before the first byte of a snapshot there is no progress to show, but a reason.
func TestSnapshotAwaited(t *testing.T) {
	s := example(migrate.Copying)
	s.Copy.Bytes, s.Copy.Keys, s.Copy.Fraction = 0, 0, 0
	s.Links = []migrate.LinkStatus{{State: "attaching", Reason: "the source has not answered yet"}}
	if got, want := StatusLine(s), "copying · attaching: the source has not answered yet"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	var out bytes.Buffer
	if err := Report(&out, s); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "copy    attaching: the source has not answered yet\n") || strings.Contains(text, "%") {
		t.Errorf("the report says\n%s", text)
	}
	s.Links[0] = migrate.LinkStatus{State: "copying"}
	if got, want := StatusLine(s), "copying · the source begins its snapshot"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestReport(t *testing.T) {
	for _, phase := range []migrate.Phase{migrate.Copying, migrate.Switched, migrate.Failed} {
		s := example(phase)
		s.Running = phase != migrate.Switched
		var out bytes.Buffer
		if err := errors.Join(Report(&out, s), Steps(&out, s.Cutover.Steps)); err != nil {
			t.Fatal(err)
		}
		golden(t, "report-"+string(phase), out.String())
	}
}
