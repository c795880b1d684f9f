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

// comparer is what a comparison must know of an engine.
type comparer interface {
	// verifyBetween says what is compared and by what feed, or why nothing can be now;
	// mu is held.
	verifyBetween(v *verifying) error
	// verifyPrepare changes the settings of what is compared, and journals them before.
	verifyPrepare(ctx context.Context, v *verifying) error
	// verifyRestore puts them back.
	verifyRestore(ctx context.Context, v *verifying) error
	// verifyCaughtUp tells whether the target follows and is not far behind; mu is held.
	verifyCaughtUp() bool
	// switching tells whether a switch was begun; mu is held.
	switching() bool
}

// verifying is a comparison under way.
type verifying struct {
	source, target string // addresses: of the primary, and of what follows it
	between        verifySides
	replica        *end // the target where it is a replica; nil where it is not
	options        VerifyOptions
	feeds          []*feed // of each shard of the source
	began          time.Time
	cancel         context.CancelCauseFunc
	done           chan struct{} // closed once nothing of it is left

	// mu of the core guards these.
	over     bool // its result is in the journal
	progress verify.Progress
	stale    string // what has happened that its result does not account for
}

// verifySides are complete once the comparison is prepared.
type verifySides struct{ source, target verify.Side }

// alone is a single server as a side.
func alone(e *end) verify.Side {
	return verify.Side{Name: e.endpoint.String(), Shards: []server.Endpoint{e.endpoint}}
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

// compare compares both sides of a running migration. It ends with ctx, and as soon as
// a switch, a complete or an abort begins: that never waits for it. The report's Result
// is verify.Unknown where it could not tell, and Error says why; an error of compare's
// own says that it did not begin, with a hint.
func (c *core) compare(ctx context.Context, o VerifyOptions, e comparer) (*verify.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := c.awaitResult(ctx); err != nil {
		return nil, err
	}
	v, err := c.enterVerify(o, cancel, e)
	if err != nil {
		return nil, err
	}
	defer c.leaveVerify(v)
	if err := c.prepareVerify(ctx, v, e); err != nil {
		c.putBack(ctx, v, e)
		return nil, err
	}
	c.event(slog.LevelInfo, fmt.Sprintf("comparing %s with %s", v.target, v.source))
	report, err := verify.Run(ctx, c.verifyConfig(v))
	c.endFeeds(ctx, v, errors.New("the comparison is over"))
	c.putBack(ctx, v, e)
	return report, errors.Join(err, c.endVerify(v, report, err))
}

// compares is for verifyPrepare: what is compared, and what feeds the target.
func (c *core) compares(v *verifying, between verifySides, feeds []*feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.between, v.feeds = between, feeds
	if c.verifyBarred > 0 { // it was interrupted before there were any
		for _, f := range feeds {
			f.why = errors.New("the comparison was interrupted")
		}
	}
}

// endFeeds feeds the target for good.
func (c *core) endFeeds(ctx context.Context, v *verifying, why error) {
	c.mu.Lock()
	feeds := v.feeds
	c.mu.Unlock()
	for _, f := range feeds {
		f.end(ctx, why)
	}
}

// underWay is the comparison that has no result yet, nil if there is none. mu
// must be held.
func (c *core) underWay() *verifying {
	if v := c.verifying; v != nil && !v.over {
		return v
	}
	return nil
}

// awaitResult waits until nothing is left of a comparison that has its result: who has
// seen that may compare again.
func (c *core) awaitResult(ctx context.Context) error {
	c.mu.Lock()
	v := c.verifying
	leaving := v != nil && v.over
	c.mu.Unlock()
	if !leaving {
		return nil
	}
	select {
	case <-v.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enterVerify makes it the one that is under way.
func (c *core) enterVerify(o VerifyOptions, cancel context.CancelCauseFunc, e comparer) (*verifying, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r := c.head; {
	case !c.running:
		return nil, hinted("start it with the same `godwit run`, then try again", "migration %s is not running", r.Name)
	case c.verifying != nil:
		return nil, hinted("see it with `godwit status`", "%w", errVerifying)
	case c.verifyBarred > 0 || e.switching():
		return nil, hinted("try again once that is over", "%w", errBusy)
	case r.Phase != Following && r.Phase != Switched && r.Phase != RolledBack:
		return nil, hinted("wait until it follows: see `godwit status`", "nothing to compare in phase %s", r.Phase)
	}
	v := &verifying{
		options: o, began: time.Now(), cancel: cancel, done: make(chan struct{}),
		progress: verify.Progress{Stage: verify.StageConnecting},
	}
	if err := e.verifyBetween(v); err != nil {
		return nil, err
	}
	c.verifying = v
	return v, nil
}

// leaveVerify lets another one in.
func (c *core) leaveVerify(v *verifying) {
	c.mu.Lock()
	c.verifying = nil
	c.mu.Unlock()
	close(v.done)
}

// prepareVerify prepares what is compared. What an interrupted scan has left is gone on
// with unless the target has become another since. It waits for the keeper's look to
// end, which puts back what is left of an earlier comparison.
func (c *core) prepareVerify(ctx context.Context, v *verifying, e comparer) error {
	if err := c.operation.pause(ctx); err != nil {
		return context.Cause(ctx)
	}
	defer c.operation.release()
	if err := e.verifyPrepare(ctx, v); err != nil {
		return err
	}
	c.mu.Lock()
	stale := c.head.Verify.Stale != ""
	c.mu.Unlock()
	if stale {
		if err := c.forgetComparison(); err != nil {
			return err
		}
	}
	return c.change(func(r *header) {
		r.Verify.State, r.Verify.Began, r.Verify.Stale = VerifyRunning, v.began, "" // for a run that finds it killed
	})
}

// forgetComparison deletes the files of the last comparison.
func (c *core) forgetComparison() error {
	if err := os.RemoveAll(VerifyDir(c.cfg.StateDir, c.cfg.Name)); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

func (c *core) verifyConfig(v *verifying) verify.Config {
	o := v.options
	drop := make(map[rdb.Feature]bool, len(c.cfg.Drop))
	for _, f := range c.cfg.Drop {
		drop[f] = true
	}
	var feeds []verify.Feed
	for _, f := range v.feeds {
		feeds = append(feeds, f)
	}
	return verify.Config{
		Source: v.between.source, Target: v.between.target,
		Feeds: feeds, Unlock: func(ctx context.Context) (func(context.Context) error, error) { return c.unlock(ctx, v.feeds) },
		Options: verify.Options{
			Method: o.Method, Sample: o.Sample, Keys: o.Keys, DBs: o.DBs, MaxRate: o.MaxRate, MaxDuration: o.MaxDuration,
			Samples: o.Samples, Repair: o.Repair, DeleteExtra: o.DeleteExtra, Drop: drop, Dir: VerifyDir(c.cfg.StateDir, c.cfg.Name),
		},
		Progress: func(p verify.Progress) { c.verifyProgress(v, p) },
	}
}

func (c *core) verifyProgress(v *verifying, p verify.Progress) {
	c.mu.Lock()
	entered := v.progress.Stage != p.Stage
	v.progress = p
	c.mu.Unlock()
	if entered {
		c.trace("verify-stage-" + p.Stage)
	}
}

// endVerify keeps the result, once no operation is under way any more: nothing is
// journaled while writes are stopped.
func (c *core) endVerify(v *verifying, report *verify.Report, failed error) error {
	if failed != nil {
		report = &verify.Report{Result: verify.Unknown, Error: failed.Error(), Hint: hintOf(failed)}
	}
	c.operation.occupy()
	defer c.operation.release()
	c.mu.Lock()
	s := c.outcome(v, report)
	c.mu.Unlock()
	err := c.change(func(r *header) { r.Verify, v.over = s, true })
	c.event(verdict(s))
	c.trace("verify-ended")
	return err
}

// putBack restores what prepareVerify has changed, once no operation is under way
// any more. What cannot be restored now the keeper tries again.
func (c *core) putBack(ctx context.Context, v *verifying, e comparer) {
	c.operation.occupy()
	defer c.operation.release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
	defer cancel()
	if err := e.verifyRestore(ctx, v); err != nil {
		c.event(slog.LevelWarn, fmt.Sprintf("after a comparison: %v; it is tried again", err))
	}
}

// interruptVerify ends a comparison under way without waiting for it, and lets no
// other one in until resume is called: the target is fed again, and takes no writes
// but those of its stream, when it returns.
func (c *core) interruptVerify(ctx context.Context, by string) (resume func()) {
	c.mu.Lock()
	c.verifyBarred++
	v := c.verifying
	c.mu.Unlock()
	if v != nil {
		why := &InterruptedError{By: by}
		v.cancel(why)
		c.endFeeds(ctx, v, why)
	}
	return func() {
		c.mu.Lock()
		c.verifyBarred--
		c.mu.Unlock()
	}
}

// endVerifying is interruptVerify at the end of a run: it lets none in any more,
// and waits.
func (c *core) endVerifying(ctx context.Context) {
	c.interruptVerify(ctx, "the end of godwit's run")
	c.mu.Lock()
	v := c.verifying
	c.mu.Unlock()
	if v != nil {
		<-v.done
	}
}
