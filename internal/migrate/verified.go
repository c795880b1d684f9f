package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"godwit/internal/verify"
)

const (
	// verifyPause is after how long a comparison that could not tell is tried again
	// where a cutover waits for one.
	verifyPause = 15 * time.Second
	// verifySamples is of how many differences of each kind such a one shows values.
	verifySamples = 10
)

// outcome is what is shown of a comparison from now on. mu must be held.
func (c *core) outcome(v *verifying, r *verify.Report) VerifyStatus {
	s := VerifyStatus{
		State: VerifyState(r.Result), Partial: v.options.partial(), Stale: v.stale,
		ID: r.ID, Method: string(r.Method), Why: r.Why, Source: v.source, Target: v.target,
		Settled: r.Settled, Repaired: maps.Clone(r.Repaired), Differences: make(map[string]int64),
		ReplID: r.ReplID, Offset: r.Offset, HeldMS: milliseconds(r.Held),
		Began: v.began, At: time.Now(), Error: r.Error, Hint: r.Hint,
	}
	for kind, n := range r.Counts {
		s.Differences[string(kind)] = n
		s.Differing += n
	}
	s.Differing -= s.Mended()
	s.count(r.SourceRead, r.TargetRead, s.At)
	switch {
	case s.State == VerifyEqual && !s.Partial:
		s.Verified = s.Stale == ""
	case s.State == VerifyDifferent:
	default: // it says nothing about what was found before
		s.Verified = c.head.Verify.Verified
	}
	return s
}

// Mended is how many of the keys that were found to differ do not any more.
func (s *VerifyStatus) Mended() int64 {
	return s.Repaired[verify.Repaired] + s.Repaired[verify.Deleted] + s.Repaired[verify.Gone]
}

// status is what is shown of a comparison under way. mu must be held.
func (v *verifying) status(now time.Time) VerifyStatus {
	s := VerifyStatus{
		State: VerifyRunning, Partial: v.options.partial(), Stage: v.progress.Stage, Method: string(v.options.Method),
		Source: v.source, Target: v.target, Differing: v.progress.Differences, Began: v.began,
	}
	s.count(v.progress.Source, v.progress.Target, now)
	return s
}

// count sets how much was compared, and how fast.
func (s *VerifyStatus) count(source, target verify.Read, now time.Time) {
	s.SourceKeys, s.SourceBytes, s.TargetKeys, s.TargetBytes = source.Keys, source.Bytes, target.Keys, target.Bytes
	s.Seconds = now.Sub(s.Began).Seconds()
	if s.Seconds > 0 {
		s.KeysPerSecond = float64(min(source.Keys, target.Keys)) / s.Seconds
		s.BytesPerSecond = float64(min(source.Bytes, target.Bytes)) / s.Seconds
	}
}

// verifyStatus is the comparison under way, or the last one. mu must be held.
func (c *core) verifyStatus(now time.Time) VerifyStatus {
	s := c.head.Verify.shown()
	if v := c.underWay(); v != nil {
		verified := s.Verified
		s = v.status(now).shown()
		s.Verified = verified
	}
	s.Required = c.cfg.Verify == VerifyBeforeCutover
	return s
}

// shown is the status with nothing left nil.
func (s VerifyStatus) shown() VerifyStatus {
	if s.State == "" {
		s.State = VerifyNever
	}
	if s.Differences == nil {
		s.Differences = map[string]int64{}
	}
	if s.Repaired == nil {
		s.Repaired = map[string]int64{}
	}
	return s
}

// killed turns a comparison that the journal says is running into one that was.
func (s *VerifyStatus) killed() {
	if s.State == VerifyRunning {
		*s = VerifyStatus{State: VerifyUnknown, Began: s.Began, Verified: s.Verified, Stale: s.Stale, Error: "godwit was killed while it compared", Hint: "verify again"}
	}
}

// verdict is a result in words.
func verdict(s VerifyStatus) (slog.Level, string) {
	what := fmt.Sprintf("%s and %s", s.Source, s.Target)
	switch s.State {
	case VerifyEqual:
		text := fmt.Sprintf("%s are equal: %d keys compared in %.1f s", what, s.SourceKeys, s.Seconds)
		if s.Offset != 0 {
			text += fmt.Sprintf(", at offset %d", s.Offset)
		}
		if s.Partial {
			text += "; some keys were left out of it"
		}
		if n := s.Repaired[verify.Repaired] + s.Repaired[verify.Deleted]; n > 0 {
			text += fmt.Sprintf("; %d were repaired", n)
		}
		return slog.LevelInfo, text
	case VerifyDifferent:
		text := fmt.Sprintf("%s differ: %d of %d keys", what, s.Differing, s.SourceKeys)
		if s.Error != "" {
			text += "; " + s.Error
		}
		return slog.LevelWarn, text
	default:
		return slog.LevelWarn, fmt.Sprintf("whether %s are equal is not known: %s", what, s.Error)
	}
}

// outdated notes what has happened that the last result does not account for.
func (c *core) outdated(by string) {
	c.mu.Lock()
	if c.verifying != nil {
		c.verifying.stale = by
	}
	needless := c.head.Verify.State == "" || c.head.Verify.Stale != ""
	c.mu.Unlock()
	if needless {
		return
	}
	if err := c.change(func(r *header) { r.outdate(by) }); err != nil {
		c.log.Error("the journal could not be written", "error", err)
	}
}

// outdateLocked is outdated for a record that is changed anyhow. mu must be held.
func (c *core) outdateLocked(by string) {
	if c.verifying != nil {
		c.verifying.stale = by
	}
	c.head.outdate(by)
}

// outdate is outdated for a result alone, for a record that is changed anyhow.
func (r *header) outdate(by string) {
	if r.Verify.State != "" && r.Verify.Stale == "" {
		r.Verify.Verified, r.Verify.Stale = false, by
	}
}

// unverified tells why a cutover waits for a comparison, empty if it does not.
// mu must be held.
func (c *core) unverified() string {
	s := c.head.Verify
	if c.cfg.Verify != VerifyBeforeCutover || c.head.Primary != Source || s.Verified {
		return ""
	}
	name := ""
	if c.head.Name != DefaultName {
		name = " " + c.head.Name
	}
	switch v := c.underWay(); {
	case v != nil:
		return fmt.Sprintf("it is being verified (%s)", v.progress.Stage)
	case s.Stale != "":
		return fmt.Sprintf("it is to be verified again: %s since", s.Stale)
	case s.State == VerifyDifferent:
		text := fmt.Sprintf("%d keys differ: see `godwit verify show%s`, repair with `godwit verify%s --repair`", s.Differing, name, name)
		if s.Differences[string(verify.Extra)]+s.Differences[string(verify.OtherDB)] > 0 {
			text += ", and --repair=delete-extra for extra keys"
		}
		if n := s.Differences[string(verify.Twice)]; n > 0 {
			text += fmt.Sprintf("; %d at several servers of the source: delete each at all but the right one first", n)
		}
		return text
	case s.State == VerifyUnknown:
		return fmt.Sprintf("it is to be verified again: it could not be told (%s)", s.Error)
	}
	return "it is to be verified first"
}

// verifyDue tells whether a comparison should begin by itself: there is none that
// holds. One that has found differences stays what it is until somebody has seen to them.
func (c *core) verifyDue(e comparer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.head.Verify
	switch {
	case c.unverified() == "" || c.verifying != nil || c.verifyBarred > 0 || time.Now().Before(c.verifyNext):
		return false
	case c.head.Phase != Following && c.head.Phase != RolledBack:
		return false
	case !e.verifyCaughtUp(): // the primary would fork in vain
		return false
	case s.Stale != "":
		return true
	}
	return s.State != VerifyDifferent
}

// verifyIfDue begins a comparison by itself.
func (c *core) verifyIfDue(ctx context.Context, e comparer) {
	if !c.verifyDue(e) {
		return
	}
	c.mu.Lock()
	wg := c.wg
	c.verifyNext = time.Now().Add(verifyPause) // it may not even begin
	c.mu.Unlock()
	wg.Go(func() {
		report, err := c.compare(ctx, VerifyOptions{Samples: verifySamples}, e)
		if err != nil && ctx.Err() == nil && !errors.Is(err, errBusy) && !errors.Is(err, errVerifying) {
			c.event(slog.LevelWarn, fmt.Sprintf("verification: %v; it is tried again", err))
		}
		next := time.Now()
		if err != nil || report.Result == verify.Unknown {
			next = next.Add(verifyPause)
		}
		c.mu.Lock()
		c.verifyNext = next
		c.mu.Unlock()
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
