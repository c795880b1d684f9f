package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// VerifyOptions say what of a running migration is compared, and how. Zero values
// compare everything, by the fastest method that is possible.
type VerifyOptions struct {
	Method      verify.Method `json:"method,omitempty"`
	Sample      float64       `json:"sample,omitempty"` // share of the keys, 0 to 1, chosen by their names; 0 for all
	Keys        string        `json:"keys,omitempty"`   // only keys that match, by Redis' own glob
	DBs         []int         `json:"dbs,omitempty"`    // only these; nil for all
	MaxRate     int64         `json:"max_rate,omitempty"`
	MaxDuration time.Duration `json:"max_duration_ns,omitempty"`
	Samples     int           `json:"samples,omitempty"` // differences of each kind whose values are shown
	Repair      bool          `json:"repair,omitempty"`  // make the replica equal where it differs
	DeleteExtra bool          `json:"delete_extra,omitempty"`
}

// partial tells whether some keys are left out.
func (o VerifyOptions) partial() bool {
	return o.Sample != 0 && o.Sample < 1 || o.Keys != "" || o.DBs != nil
}

// verifying is a comparison under way.
type verifying struct {
	source, target *end // the primary and its replica
	options        VerifyOptions
	feed           *feed
	began          time.Time
	cancel         context.CancelCauseFunc
	done           chan struct{} // closed once nothing of it is left

	// m.mu guards these.
	over     bool // its result is in the journal
	progress verify.Progress
	stale    string // what has happened that its result does not account for
}

// verifyDir is where a comparison's files are, below the migration's own.
const verifyDir = "verify"

// VerifyDir is where the files of a migration's last comparison are: those that
// verify.ReadReport and verify.EachDifference read.
func VerifyDir(stateDir, name string) string { return filepath.Join(stateDir, name, verifyDir) }

// errVerifying says that there is one already.
var errVerifying = errors.New("a verification is under way already")

// InterruptedError ends a comparison when something begins that changes what it compares.
type InterruptedError struct{ By string }

func (e *InterruptedError) Error() string { return e.By + " began" }

// HintText is what the user can do about it.
func (e *InterruptedError) HintText() string { return "verify again once that is over" }

// Verify compares the primary with the replica of a running migration, in its
// present direction: before the cutover the target is compared with the source,
// after it the source with the target. It ends with ctx, and as soon as a switch,
// a complete or an abort begins: that never waits for it. The report's Result is
// verify.Unknown where it could not tell, and Error says why; an error of Verify's
// own says that it did not begin, with a hint.
func (m *Migration) Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v, err := m.enterVerify(o, cancel)
	if err != nil {
		return nil, err
	}
	defer m.leaveVerify(v)
	if err := m.prepareVerify(ctx, v); err != nil {
		m.putBack(ctx, v)
		return nil, err
	}
	m.event(slog.LevelInfo, fmt.Sprintf("comparing %s with %s", v.target.address(), v.source.address()))
	report, err := verify.Run(ctx, m.verifyConfig(v))
	v.feed.end(ctx, errors.New("the comparison is over"))
	m.putBack(ctx, v)
	return report, errors.Join(err, m.endVerify(v, report, err))
}

// underWay is the comparison that has no result yet, nil if there is none. m.mu
// must be held.
func (m *Migration) underWay() *verifying {
	if v := m.verifying; v != nil && !v.over {
		return v
	}
	return nil
}

// enterVerify makes it the one that is under way.
func (m *Migration) enterVerify(o VerifyOptions, cancel context.CancelCauseFunc) (*verifying, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r := &m.rec; {
	case !m.running:
		return nil, hinted("start it with the same `godwit run`, then try again", "migration %s is not running", r.Name)
	case m.verifying != nil:
		return nil, hinted("see it with `godwit status`", "%w", errVerifying)
	case m.verifyBarred > 0 || r.Switch != nil:
		return nil, hinted("try again once that is over", "%w", errBusy)
	case r.Phase != Following && r.Phase != Switched && r.Phase != RolledBack:
		return nil, hinted("wait until it follows: see `godwit status`", "nothing to compare in phase %s", r.Phase)
	case m.link == nil || m.link.link.State() != relay.Streaming:
		return nil, hinted("wait until it is: see `godwit status`", "the link is not streaming")
	}
	source := m.side(m.rec.Primary)
	v := &verifying{
		source: source, target: m.other(source), options: o, began: time.Now(),
		cancel: cancel, done: make(chan struct{}), progress: verify.Progress{Stage: verify.StageConnecting},
	}
	v.feed = &feed{m: m, link: m.link.link, replica: v.target}
	m.verifying = v
	return v, nil
}

// leaveVerify lets another one in.
func (m *Migration) leaveVerify(v *verifying) {
	m.mu.Lock()
	m.verifying = nil
	m.mu.Unlock()
	close(v.done)
}

// prepareVerify has the replica give its snapshot at once when it is asked for one,
// and notes what a repair will change there. What an interrupted scan has left is
// gone on with unless the target has become another since. It waits for the keeper's look to end,
// which puts back what is left of an earlier comparison.
func (m *Migration) prepareVerify(ctx context.Context, v *verifying) error {
	if err := m.operation.pause(ctx); err != nil {
		return context.Cause(ctx)
	}
	defer m.operation.release()
	if err := m.setForVerify(ctx, v.target, disklessSyncDelay, "0"); err != nil {
		return err
	}
	if v.options.Repair {
		value, found, err := v.target.client.ConfigGet(ctx, replicaReadOnly)
		if err == nil && !found {
			err = errors.New("it is not known there")
		}
		if err != nil {
			return hinted("permit CONFIG GET and CONFIG SET to godwit's user there, or verify without --repair",
				"%s takes no writes, and godwit cannot ask for its %s: %w", v.target.address(), replicaReadOnly, err)
		}
		if err := m.save(v.target.side, replicaReadOnly, value); err != nil {
			return err
		}
	}
	m.mu.Lock()
	stale := m.rec.Verify.Stale != ""
	m.mu.Unlock()
	if stale {
		if err := os.RemoveAll(VerifyDir(m.cfg.StateDir, m.cfg.Name)); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	return m.update(func(r *record) {
		r.Verify.State, r.Verify.Began, r.Verify.Stale = VerifyRunning, v.began, "" // for a run that finds it killed
	})
}

// setForVerify changes a setting, noting it first. Where godwit may not, it stays:
// the comparison does without.
func (m *Migration) setForVerify(ctx context.Context, e *end, name, value string) error {
	current, found, err := e.client.ConfigGet(ctx, name)
	var refused *server.Error
	switch {
	case errors.As(err, &refused):
		return nil
	case err != nil:
		return err
	case !found || current == value:
		return nil
	}
	if err := m.save(e.side, name, current); err != nil {
		return err
	}
	m.trace("verify-saved")
	if err := e.client.ConfigSet(ctx, name, value); err != nil && !errors.As(err, &refused) {
		return err
	}
	return nil
}

func (m *Migration) verifyConfig(v *verifying) verify.Config {
	o := v.options
	drop := make(map[rdb.Feature]bool, len(m.cfg.Drop))
	for _, f := range m.cfg.Drop {
		drop[f] = true
	}
	return verify.Config{
		Source: verify.Side{Name: v.source.endpoint.String(), Shards: []server.Endpoint{v.source.endpoint}},
		Target: verify.Side{Name: v.target.endpoint.String(), Shards: []server.Endpoint{v.target.endpoint}},
		Feeds:  []verify.Feed{v.feed}, Unlock: v.feed.Unlock,
		Options: verify.Options{
			Method: o.Method, Sample: o.Sample, Keys: o.Keys, DBs: o.DBs, MaxRate: o.MaxRate, MaxDuration: o.MaxDuration,
			Samples: o.Samples, Repair: o.Repair, DeleteExtra: o.DeleteExtra, Drop: drop, Dir: VerifyDir(m.cfg.StateDir, m.cfg.Name),
		},
		Progress: func(p verify.Progress) { m.verifyProgress(v, p) },
	}
}

func (m *Migration) verifyProgress(v *verifying, p verify.Progress) {
	m.mu.Lock()
	entered := v.progress.Stage != p.Stage
	v.progress = p
	m.mu.Unlock()
	if entered {
		m.trace("verify-stage-" + p.Stage)
	}
}

// endVerify keeps the result, once no operation is under way any more: nothing is
// journaled while writes are stopped.
func (m *Migration) endVerify(v *verifying, report *verify.Report, failed error) error {
	if failed != nil {
		report = &verify.Report{Result: verify.Unknown, Error: failed.Error(), Hint: hintOf(failed)}
	}
	m.operation.occupy()
	defer m.operation.release()
	m.mu.Lock()
	s := m.outcome(v, report)
	m.mu.Unlock()
	err := m.update(func(r *record) { r.Verify, v.over = s, true })
	m.event(verdict(s))
	m.trace("verify-ended")
	return err
}

// putBack restores what prepareVerify has changed, once no operation is under way
// any more. What cannot be restored now the keeper tries again.
func (m *Migration) putBack(ctx context.Context, v *verifying) {
	m.operation.occupy()
	defer m.operation.release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
	defer cancel()
	if err := m.restore(ctx, v.target, verifySettings()...); err != nil {
		m.event(slog.LevelWarn, fmt.Sprintf("%s: %v; it is tried again", v.target.address(), err))
	}
}

// interruptVerify ends a comparison under way without waiting for it, and lets no
// other one in until resume is called: the replica is fed again, and takes no writes
// but those of its stream, when it returns.
func (m *Migration) interruptVerify(ctx context.Context, by string) (resume func()) {
	m.mu.Lock()
	m.verifyBarred++
	v := m.verifying
	m.mu.Unlock()
	if v != nil {
		why := &InterruptedError{By: by}
		v.cancel(why)
		v.feed.end(ctx, why)
	}
	return func() {
		m.mu.Lock()
		m.verifyBarred--
		m.mu.Unlock()
	}
}

// endVerifying is interruptVerify at the end of a run: it lets none in any more,
// and waits.
func (m *Migration) endVerifying(ctx context.Context) {
	m.interruptVerify(ctx, "the end of godwit's run")
	m.mu.Lock()
	v := m.verifying
	m.mu.Unlock()
	if v != nil {
		<-v.done
	}
}

// tendVerify puts back what a comparison has left that was killed, or could not.
func (m *Migration) tendVerify(ctx context.Context, e *end) {
	m.mu.Lock()
	left := m.verifying == nil && m.rec.has(e.side, verifySettings()...)
	m.mu.Unlock()
	if !left {
		return
	}
	var cut error
	if m.saved(e.side, replicaReadOnly) != nil {
		// What it had sent may still be on its way to a server that is to be a primary.
		cut = cutRepair(ctx, e.client)
		m.outdated("a repair was cut off, and " + e.address() + " may have taken writes")
	}
	if err := m.restore(ctx, e, verifySettings()...); err != nil {
		m.log.Debug("settings of a comparison", "server", e.address(), "error", err)
		return
	}
	if cut != nil { // not permitted
		m.event(slog.LevelWarn, fmt.Sprintf("%s: what a repair had sent may still be on its way: %v", e.address(), cut))
	}
}
