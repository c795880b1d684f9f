package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"godwit/internal/relay"
	"godwit/internal/verify"
)

const (
	// verifyPause is after how long a comparison that could not tell is tried again
	// where a cutover waits for one.
	verifyPause = 15 * time.Second
	// verifySamples is of how many differences of each kind such a one shows values.
	verifySamples = 10
)

// outcome is what is shown of a comparison from now on. m.mu must be held.
func (m *Migration) outcome(v *verifying, r *verify.Report) VerifyStatus {
	s := VerifyStatus{
		State: VerifyState(r.Result), Partial: v.options.partial(), Stale: v.stale,
		ID: r.ID, Method: string(r.Method), Why: r.Why, Source: v.source.address(), Target: v.target.address(),
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
		s.Verified = m.rec.Verify.Verified
	}
	return s
}

// Mended is how many of the keys that were found to differ do not any more.
func (s *VerifyStatus) Mended() int64 {
	return s.Repaired[verify.Repaired] + s.Repaired[verify.Deleted] + s.Repaired[verify.Gone]
}

// status is what is shown of a comparison under way. m.mu must be held.
func (v *verifying) status(now time.Time) VerifyStatus {
	s := VerifyStatus{
		State: VerifyRunning, Partial: v.options.partial(), Stage: v.progress.Stage, Method: string(v.options.Method),
		Source: v.source.address(), Target: v.target.address(), Differing: v.progress.Differences, Began: v.began,
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

// verifyStatus is the comparison under way, or the last one. m.mu must be held.
func (m *Migration) verifyStatus(now time.Time) VerifyStatus {
	s := m.rec.Verify.shown()
	if v := m.underWay(); v != nil {
		verified := s.Verified
		s = v.status(now).shown()
		s.Verified = verified
	}
	s.Required = m.cfg.Verify == VerifyBeforeCutover
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
func (m *Migration) outdated(by string) {
	m.mu.Lock()
	if m.verifying != nil {
		m.verifying.stale = by
	}
	needless := m.rec.Verify.State == "" || m.rec.Verify.Stale != ""
	m.mu.Unlock()
	if needless {
		return
	}
	if err := m.update(func(r *record) { r.outdate(by) }); err != nil {
		m.log.Error("the journal could not be written", "error", err)
	}
}

// outdate is outdated for a record that is changed anyhow.
func (r *record) outdate(by string) {
	if r.Verify.State != "" && r.Verify.Stale == "" {
		r.Verify.Verified, r.Verify.Stale = false, by
	}
}

// unverified tells why a cutover waits for a comparison, empty if it does not.
// m.mu must be held.
func (m *Migration) unverified() string {
	s := m.rec.Verify
	if m.cfg.Verify != VerifyBeforeCutover || m.rec.Primary != Source || s.Verified {
		return ""
	}
	name := ""
	if m.rec.Name != DefaultName {
		name = " " + m.rec.Name
	}
	switch v := m.underWay(); {
	case v != nil:
		return fmt.Sprintf("it is being verified (%s)", v.progress.Stage)
	case s.Stale != "":
		return fmt.Sprintf("it is to be verified again: %s since", s.Stale)
	case s.State == VerifyDifferent:
		text := fmt.Sprintf("%d keys differ: see `godwit verify show%s`, repair with `godwit verify%s --repair`", s.Differing, name, name)
		if s.Differences[string(verify.Extra)]+s.Differences[string(verify.OtherDB)] > 0 {
			text += ", and --repair=delete-extra for extra keys"
		}
		return text
	case s.State == VerifyUnknown:
		return fmt.Sprintf("it is to be verified again: it could not be told (%s)", s.Error)
	}
	return "it is to be verified first"
}

// verifyDue tells whether a comparison should begin by itself: there is none that
// holds. One that has found differences stays what it is until somebody has seen to them.
func (m *Migration) verifyDue() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.rec.Verify
	switch {
	case m.unverified() == "" || m.verifying != nil || m.verifyBarred > 0 || time.Now().Before(m.verifyNext):
		return false
	case m.rec.Phase != Following && m.rec.Phase != RolledBack:
		return false
	case m.link == nil || m.link.link.State() != relay.Streaming:
		return false
	case m.lagging(m.link.link.Snapshot()): // the primary would fork in vain
		return false
	case s.Stale != "":
		return true
	}
	return s.State != VerifyDifferent
}

// verifyIfDue begins a comparison by itself.
func (m *Migration) verifyIfDue(ctx context.Context) {
	if !m.verifyDue() {
		return
	}
	m.mu.Lock()
	wg := m.wg
	m.verifyNext = time.Now().Add(verifyPause) // it may not even begin
	m.mu.Unlock()
	wg.Go(func() {
		report, err := m.Verify(ctx, VerifyOptions{Samples: verifySamples})
		if err != nil && ctx.Err() == nil && !errors.Is(err, errBusy) && !errors.Is(err, errVerifying) {
			m.event(slog.LevelWarn, fmt.Sprintf("verification: %v; it is tried again", err))
		}
		next := time.Now()
		if err != nil || report.Result == verify.Unknown {
			next = next.Add(verifyPause)
		}
		m.mu.Lock()
		m.verifyNext = next
		m.mu.Unlock()
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
