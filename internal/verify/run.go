package verify

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/digest"
	"godwit/internal/server"
)

// Run compares two deployments. An error says that it did not begin, or that its
// journal could not be written; whatever else happens is told by the report:
// Unknown, with Error and Hint, where it could not tell. It ends with ctx and with
// Options.MaxDuration; differences that were confirmed by then are in the report.
//
// A scan that did not come to its end goes on where it was if it is run again with
// the same configuration in the same Options.Dir.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r, err := newRun(cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if cfg.Options.MaxDuration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, cfg.Options.MaxDuration, &TooLongError{cfg.Options.MaxDuration})
		defer cancel()
	}
	stop := r.watch(ctx)
	err = r.compare(ctx)
	stop()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r.finish(err)
}

// TooLongError ends a comparison that Options.MaxDuration is not enough for.
type TooLongError struct{ Limit time.Duration }

func (e *TooLongError) Error() string {
	return fmt.Sprintf("not done within %v, the longest it may take", e.Limit)
}

// HintText is what the user can do about it.
func (e *TooLongError) HintText() string {
	return "give it more time (--max-duration), or less to do: --sample, --keys, --db; a limit of its rate (--max-rate) makes it slower"
}

// hintedError is an error with what the user can do about it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

// HintText is what the user can do about it.
func (e *hintedError) HintText() string { return e.hint }

// run is one comparison. Its methods may be called by several goroutines if they
// do not say otherwise.
type run struct {
	cfg            Config
	source, target *side
	// digest says what counts: the same for everything that is compared in this run.
	// look completes it.
	digest digest.Options
	filter filter
	// stretch is by how many milliseconds keys may expire later on one side.
	stretch int64

	stage      atomic.Pointer[string]
	candidates atomic.Int64 // that may still settle

	began  time.Time
	before time.Duration // that it has taken until it was interrupted

	mu      sync.Mutex
	journal *journal
	report  Report
}

// newRun begins anew, or goes on with what an earlier run has left in its directory.
func newRun(cfg Config) (*run, error) {
	r := &run{cfg: cfg, source: newSide(sourceRole, cfg.Source), target: newSide(targetRole, cfg.Target), began: time.Now()}
	r.enter(StageConnecting)
	// No primary tells its replicas of a consumer that has asked and got nothing.
	r.digest = digest.Options{Drop: cfg.Options.Drop, NoEmptyConsumers: true}
	seed := randomSeed()
	r.report = r.blank()
	var err error
	if r.journal, err = openJournal(cfg.Options.Dir, cfg.fingerprint()); err != nil {
		return nil, err
	}
	if left := r.journal.left; left != nil {
		seed, r.report, r.before = left.Seed, left.Report, left.Report.Took
		r.source.keys.Store(r.report.SourceRead.Keys)
		r.source.bytes.Store(r.report.SourceRead.Bytes)
		r.target.keys.Store(r.report.TargetRead.Keys)
		r.target.bytes.Store(r.report.TargetRead.Bytes)
	}
	r.digest.Seed = seed
	r.filter = newFilter(cfg.Options)
	r.filter.target = r.target
	for _, side := range []Side{cfg.Source, cfg.Target} {
		for _, way := range side.Route.Ways() {
			if way.Stays {
				r.filter.left = append(r.filter.left, way.From)
			}
		}
	}
	if err := r.journal.save(&r.report); err != nil {
		r.journal.close()
		return nil, err
	}
	return r, nil
}

// blank is the report of a comparison that has just begun.
func (r *run) blank() Report {
	cfg := r.cfg
	report := Report{
		ID: newID(time.Now()), Result: Unknown, Method: cfg.Options.Method, Source: cfg.Source.Name, Target: cfg.Target.Name, Started: r.began,
		Scope: cfg.Options.scope(),
		Error: "it has not come to its end", Interrupted: true,
	}
	report.clear()
	return report
}

// close ends what newRun and look have opened.
func (r *run) close() {
	r.source.close()
	r.target.close()
	r.journal.close()
}

// compare does everything but to write the report.
func (r *run) compare(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	method, why, err := r.method()
	if err != nil {
		return err
	}
	r.uses(method, why)
	if method == Snapshot {
		err = r.snapshot(ctx)
	}
	var barred *barredError
	if r.cfg.Options.Method == Automatic && errors.As(err, &barred) {
		method = Scan
		r.uses(method, barred.Error())
	}
	if method == Scan {
		err = r.scan(ctx)
	}
	if err != nil {
		return err
	}
	if err := r.explainSamples(ctx); err != nil {
		return err
	}
	if r.cfg.Options.Repair && r.differences() > 0 {
		r.enter(StageRepair)
		if err := r.finalize(); err != nil {
			return err
		}
		return r.repair(ctx)
	}
	return nil
}

// startOver forgets what an earlier scan has left: there are snapshots now.
func (r *run) startOver() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.journal.left == nil {
		return nil
	}
	if err := r.journal.restart(); err != nil {
		return err
	}
	report := r.blank()
	report.Method = r.report.Method
	r.report, r.before = report, 0
	return r.journal.save(&r.report)
}

// finalize ends what can be gone on with: a repair changes what was found.
func (r *run) finalize() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.journal.removeCheckpoint()
}

// uses says by which method both sides are compared, and why not by snapshots.
func (r *run) uses(m Method, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Method, r.report.Why = m, why
}

// maxStretch is the stretch where a server of before 7.0 is one of them, in
// milliseconds: such a primary tells its replicas for how long a key lives, and not
// until when, so that it lives longer there by as much as they lag (EXPIRE, SETEX,
// SET … PX; expire.c). After a switch the one that it lives longer on is the primary.
// What lags more than that is told.
const maxStretch = 5000

// look connects to the servers of both sides and finds out what they are.
func (r *run) look(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.source.look(ctx) })
	group.Go(func() error { return r.target.look(ctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	for _, s := range []*side{r.source, r.target} {
		for _, shard := range s.shards {
			r.digest.Formats = append(r.digest.Formats, shard.node.RDBFormat())
			// 7.0 has the count, but tells its replicas of it only with NOACK.
			v := shard.node.Version
			r.digest.NoEntriesRead = r.digest.NoEntriesRead || v.Product == server.Redis && v.Major == 7 && v.Minor == 0
			if !v.AtLeast(7, 0) {
				r.stretch = maxStretch
			}
		}
	}
	return nil
}

// explainSamples has the values of the samples shown. What cannot be read any more
// does not change the result.
func (r *run) explainSamples(ctx context.Context) error {
	r.mu.Lock()
	samples := r.report.Samples
	r.mu.Unlock()
	e := r.newExplainer()
	defer e.close()
	for i := range samples {
		if err := e.explain(ctx, &samples[i]); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			samples[i].Detail = "its values could not be read: " + err.Error()
		}
	}
	return nil
}

// found takes a difference that is confirmed.
func (r *run) found(d Difference) error {
	r.target.tell(&d)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.journal.append(&d); err != nil {
		return err
	}
	r.report.Counts[d.Kind]++
	db := r.report.ByDB[d.DB]
	if db == nil {
		db = make(DBCounts)
		r.report.ByDB[d.DB] = db
	}
	db[d.Kind]++
	if r.report.Counts[d.Kind] <= int64(r.cfg.Options.Samples) {
		r.report.Samples = append(r.report.Samples, d)
	}
	return nil
}

// settled takes n that seemed to differ and were equal in the end.
func (r *run) settled(n int64) {
	r.mu.Lock()
	r.report.Settled += n
	r.mu.Unlock()
}

// holds says at which place of the source's stream the result holds.
func (r *run) holds(replid string, offset int64) {
	r.mu.Lock()
	r.report.ReplID, r.report.Offset = replid, offset
	r.mu.Unlock()
}

// held takes for how long the target's feed was held once.
func (r *run) held(d time.Duration) {
	r.mu.Lock()
	r.report.Held = max(r.report.Held, d)
	r.mu.Unlock()
}

// differences is how many have been confirmed.
func (r *run) differences() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n int64
	for _, count := range r.report.Counts {
		n += count
	}
	return n
}

// checkpoint makes durable what was found up to now, and with it where a method
// stands: a Run in the same directory goes on from there.
func (r *run) checkpoint(state any) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.snapshotOfReport()
	return r.journal.checkpoint(&checkpoint{Seed: r.digest.Seed, Report: report, State: raw})
}

// resume reads the state that an earlier run has left with its last checkpoint.
// It returns false if there is none.
func (r *run) resume(state any) (bool, error) {
	if r.journal.left == nil {
		return false, nil
	}
	if err := json.Unmarshal(r.journal.left.State, state); err != nil {
		return false, fmt.Errorf("the checkpoint in %s: %w", r.cfg.Options.Dir, err)
	}
	return true, nil
}

// anew forgets what an earlier run has found.
func (r *run) anew() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.source.reset()
	r.target.reset()
	r.report.clear()
	return r.journal.clear()
}

// amend gives the differences found to f, some at a time and in their order, and
// keeps what it has made of them: their Repair. An error of f ends it; what f has
// changed before is kept all the same.
func (r *run) amend(f func([]Difference) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.report.Repaired)
	bySample := make(map[sampleKey]*Difference, len(r.report.Samples))
	for i := range r.report.Samples {
		bySample[sampleOf(&r.report.Samples[i])] = &r.report.Samples[i]
	}
	return r.journal.amend(func(batch []Difference) error {
		// f may look at the report, or find how far things are.
		r.mu.Unlock()
		err := f(batch)
		r.mu.Lock()
		for i := range batch {
			d := &batch[i]
			if d.Repair != "" {
				r.report.Repaired[outcome(d.Repair)]++
			}
			if sample := bySample[sampleOf(d)]; sample != nil {
				sample.Repair = d.Repair
			}
		}
		return err
	})
}

type sampleKey struct {
	db          int
	key, server string
}

func sampleOf(d *Difference) sampleKey { return sampleKey{d.DB, string(d.Key), d.Server} }

// snapshotOfReport is the report as of now. r.mu must be held.
func (r *run) snapshotOfReport() Report {
	report := r.report
	report.Took = r.before + time.Since(r.began)
	report.SourceRead, report.TargetRead = r.source.read(), r.target.read()
	return report
}

// finish writes the report. err is why the comparison did not come to its end.
func (r *run) finish(err error) (*Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.snapshotOfReport()
	report.Error, report.Hint, report.Interrupted = "", "", false
	different := len(report.Counts) > 0 && !mended(report.Counts, report.Repaired)
	switch {
	case different:
		report.Result = Different
	case err == nil:
		report.Result = Equal
	default:
		report.Result = Unknown
	}
	if err != nil {
		report.Error = err.Error()
		var hinted interface{ HintText() string }
		if errors.As(err, &hinted) {
			report.Hint = hinted.HintText()
		}
		report.Interrupted = r.journal.resumable
	}
	if err := r.journal.end(&report); err != nil {
		return nil, err
	}
	return &report, nil
}

// mended tells whether every difference is none any more.
func mended(counts map[Kind]int64, repaired map[string]int64) bool {
	var found int64
	for n := range maps.Values(counts) {
		found += n
	}
	return found == repaired[Repaired]+repaired[Deleted]+repaired[Gone]
}

func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// newID is the time, which people recognize, and enough chance to tell two apart.
func newID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(b[:])
}
