package live

import (
	"fmt"
	"time"

	"charm.land/bubbles/v2/progress"
	"charm.land/lipgloss/v2"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
	"godwit/internal/status/verdict"
)

// copy draws the snapshot: a bar while it goes on, what it took afterwards.
func (s *screen) copy() []string {
	c, over := s.status.Copy, s.status.Phase != migrate.Planned && s.status.Phase != migrate.Copying
	switch {
	case over && c.Fraction >= 1:
		return []string{label("copy") + good("✓ ") + copyText(s.status)}
	case over && c.Fraction == 0: // gone on by a partial resync: there was no copy
		return nil
	}
	bar := progress.New(
		progress.WithWidth(max(10, s.width-labelWidth-2)),
		progress.WithColors(lipgloss.Cyan),
		progress.WithFillCharacters('█', '░'),
	)
	bar.EmptyColor = lipgloss.BrightBlack
	if awaited(s.status) != "" {
		return []string{label("copy") + copyText(s.status)}
	}
	return []string{label("copy") + bar.ViewAs(c.Fraction), label("") + copyText(s.status)}
}

// awaited is why no snapshot comes yet, empty once it does.
func awaited(s migrate.Status) string {
	if s.Phase != migrate.Copying || s.Copy.Bytes > 0 || len(s.Links) == 0 {
		return ""
	}
	switch l := s.Links[0]; {
	case l.Reason != "":
		return l.State + ": " + l.Reason
	case l.State == "copying":
		return "the source begins its snapshot"
	default:
		return l.State
	}
}

// copyText words the progress of the snapshot.
func copyText(s migrate.Status) string {
	if why := awaited(s); why != "" {
		return why
	}
	c := s.Copy
	text := units.Count(c.Keys)
	if c.TotalKeys > 0 && s.Phase == migrate.Copying {
		text += " of " + units.Count(c.TotalKeys)
	}
	text += " keys · " + units.Bytes(c.Bytes)
	if s.Phase == migrate.Copying {
		text += fmt.Sprintf(" · %s keys/s · %s/s", units.Rate(c.KeysPerSecond), units.Bytes(int64(c.BytesPerSecond)))
		if c.ETASeconds >= 0 {
			text += " · " + units.Duration(seconds(c.ETASeconds)) + " left"
		}
	} else if c.Seconds > 0 {
		text += " in " + units.Duration(seconds(c.Seconds))
	}
	if c.FullResyncs > 1 {
		text += fmt.Sprintf(" · full resync %d", c.FullResyncs)
	}
	return text
}

// link draws the replication stream and its lag.
func (s *screen) link(l migrate.LinkStatus) []string {
	state := l.State
	if l.Reason != "" {
		state += ": " + l.Reason
	}
	if l.State == "broken" {
		state = bad(state)
	}
	lag := lagText(l)
	width := max(0, s.width-labelWidth-lipgloss.Width(lag)-3)
	return []string{
		label("link") + fmt.Sprintf("%s · %s/s · offset %s", state, units.Bytes(int64(l.BytesPerSec)), units.Count(l.TargetOffset)),
		label("lag") + spread(accent(s.lag.sparkline(width, lagFloor)), lag, s.width-labelWidth-1),
	}
}

func lagText(l migrate.LinkStatus) string {
	return units.Bytes(l.LagBytes) + ", " + units.Milliseconds(float64(l.LagMS))
}

func (s *screen) spool() []string {
	sp := s.status.Spool
	if sp.MemoryLimit == 0 && sp.DiskLimit == 0 {
		return nil
	}
	text := fmt.Sprintf("%s of %s in memory · %s of %s on disk",
		units.Bytes(sp.MemoryBytes), units.Bytes(sp.MemoryLimit), units.Bytes(sp.DiskBytes), units.Bytes(sp.DiskLimit))
	if sp.Full {
		text += warn(" · full: the source is being slowed down")
	}
	return []string{label("spool") + text}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// droppedText words what --drop has left out of one feature.
func droppedText(d migrate.DroppedStatus) string {
	return fmt.Sprintf("%s: %s left out, %s in the copy and %s in the stream; %s does not have it",
		d.Feature, units.Count(d.Count), units.Count(d.Copy), units.Count(d.Stream), d.Server)
}

// verifyLine is the comparison under way or the last one, empty if there was none.
func verifyLine(s migrate.Status) string {
	text, tone := verdict.Status(s.Verify, s.At)
	switch tone {
	case verdict.Good:
		return good("✓ ") + text
	case verdict.Bad:
		return bad("✗ " + text)
	case verdict.Warn:
		return warn(text)
	case verdict.Soft:
		return dim(text)
	}
	return text
}
