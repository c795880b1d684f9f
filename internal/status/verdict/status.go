package verdict

import (
	"fmt"
	"strings"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
	"godwit/internal/verify"
)

// Tone is how a line wants to be read. Its words are the page's classes.
type Tone string

// The tones.
const (
	Plain Tone = ""
	Soft  Tone = "soft"
	Good  Tone = "good"
	Warn  Tone = "warn"
	Bad   Tone = "bad"
)

// Status is the comparison of a migration in a line, as of a time; empty where there
// is nothing to say.
func Status(v migrate.VerifyStatus, now time.Time) (string, Tone) {
	switch v.State {
	case migrate.VerifyRunning:
		return runningText(v), Plain
	case migrate.VerifyEqual:
		return equalText(v, now)
	case migrate.VerifyDifferent:
		return differentText(v, now), Bad
	case migrate.VerifyUnknown:
		return "could not tell: " + v.Error, Warn
	}
	if v.Required {
		return "not yet: a cutover waits until both sides are found equal", Soft
	}
	return "", Plain
}

func runningText(v migrate.VerifyStatus) string {
	text := fmt.Sprintf("%s · source %s, target %s keys", v.Stage, units.Count(v.SourceKeys), units.Count(v.TargetKeys))
	if v.BytesPerSecond > 0 {
		text += fmt.Sprintf(" · %s/s", units.Bytes(int64(v.BytesPerSecond)))
	}
	if v.Differing > 0 {
		text += " · " + count(v.Differing, "difference", "differences")
	}
	return text
}

func equalText(v migrate.VerifyStatus, now time.Time) (string, Tone) {
	text := "equal"
	if v.Partial {
		text += " in part"
	}
	text += ": " + count(max(v.SourceKeys, v.TargetKeys), "key", "keys")
	if v.ReplID != "" {
		text += " at offset " + units.Count(v.Offset)
	}
	text += ", " + ago(v.At, now)
	switch {
	case v.Required && v.Partial:
		return text + " · a cutover waits for all keys", Warn
	case v.Stale != "":
		return text + " · since then: " + v.Stale + "; compare again", Warn
	}
	return text, Good
}

func differentText(v migrate.VerifyStatus, now time.Time) string {
	var parts []string
	for _, kind := range verify.Kinds() {
		if n := v.Differences[string(kind)]; n > 0 {
			parts = append(parts, units.Count(n)+" "+string(kind))
		}
	}
	text := count(v.Differing, "key differs", "keys differ")
	if n := v.Mended(); n > 0 {
		parts = append(parts, units.Count(n)+" of them repaired")
	}
	if len(parts) > 0 {
		text += " (" + strings.Join(parts, ", ") + ")"
	}
	return text + ", " + ago(v.At, now)
}

// ago is how long a time is past.
func ago(at, now time.Time) string {
	if at.IsZero() {
		return "just now"
	}
	return units.Duration(max(0, now.Sub(at))) + " ago"
}

// ProgressOf is how far the comparison of a migration is.
func ProgressOf(v migrate.VerifyStatus) verify.Progress {
	return verify.Progress{
		Stage:       v.Stage,
		Source:      verify.Read{Keys: v.SourceKeys, Bytes: v.SourceBytes},
		Target:      verify.Read{Keys: v.TargetKeys, Bytes: v.TargetBytes},
		Differences: v.Differing,
	}
}
