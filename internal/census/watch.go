package census

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/server"
)

// Name is what CLIENT LIST shows of the connections of Watch.
const Name = "godwit-audit"

// WatchOptions say how a server is watched.
type WatchOptions struct {
	For time.Duration

	// Share is for how much of the time, from 0 to 1, MONITOR runs on a server that
	// is busy. 0 is not at all: then only what the server counts is told.
	Share float64

	// Progress, if not nil, is told now and then for how long has been watched and how
	// many lines were seen.
	Progress func(watched time.Duration, lines int64)
}

// How MONITOR is used. It costs a server about 1 µs for each command that it runs.
const (
	quietRate   = 5000                   // commands a second below which it runs all the time
	quietSlice  = time.Second            // after which is looked whether they still are
	windowSize  = 200 * time.Millisecond // for which it runs on a busy server
	probeTime   = 300 * time.Millisecond // in which is measured how busy it is
	smallest    = 0.01                   // share below which it is given up
	listEvery   = time.Second            // how often CLIENT LIST is asked at most
	longList    = 10_000                 // connections from which on that is ten times less often
	maxBehind   = 16 << 20               // bytes that the server may have for us
	maxFall     = 0.8                    // of the commands a second, while it runs
	hurtsBefore = 3                      // windows in a row before the share is made smaller
)

// Monitoring is how a server was watched by MONITOR.
type Monitoring struct {
	Share   float64 `json:"share"`   // of the time, at most
	Seconds float64 `json:"seconds"` // for which it ran
	Windows int     `json:"windows"`
	Lines   int64   `json:"lines"`
	// Fall is by how much fewer commands a second the server ran while MONITOR ran
	// than between, as a share; 0 where it ran all the time.
	Fall    float64 `json:"fall"`
	Behind  int64   `json:"behind"`            // the most bytes that the server had for us to read
	Stopped string  `json:"stopped,omitempty"` // why it was given up
}

// RefusedError is of a server that has no traffic that could be told of.
type RefusedError struct {
	Server, What, Hint string
}

func (e *RefusedError) Error() string { return e.Server + ": " + e.What }

// HintText is what the user can do about it.
func (e *RefusedError) HintText() string { return e.Hint }

// watcher watches one server.
type watcher struct {
	WatchOptions
	endpoint server.Endpoint
	control  *server.Client
	census   *Census
	report   *Report
	own      totals // what it sent itself
	listed   time.Time
	between  time.Duration // of CLIENT LISTs

	monitor  *monitor
	share    float64
	hurts    int // windows in a row that hurt the server
	failures int // to open MONITOR, in a row
	falls    []float64
}

// Watch watches a server's traffic. With a ctx that is done it reports what was seen
// until then; the report then says that it was interrupted. Errors are those of
// server.Client, or a *RefusedError.
func Watch(ctx context.Context, e server.Endpoint, o WatchOptions) (r *Report, err error) {
	control, err := server.Dial(ctx, e, Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, control.Close()) }()
	w := &watcher{WatchOptions: o, endpoint: e, control: control, own: make(totals), share: o.Share, between: listEvery}
	w.report = &Report{Source: e.String(), Monitor: &Monitoring{Share: o.Share}}
	if err := w.introduce(ctx); err != nil {
		return nil, err
	}
	defer w.stop()
	w.own = make(totals)
	before, err := w.readCounters(ctx)
	if err != nil {
		return nil, err
	}
	w.report.Started = time.Now()
	if err := w.run(ctx, w.report.Started.Add(o.For)); err != nil && ctx.Err() == nil {
		return nil, err
	}
	w.report.Interrupted = ctx.Err() != nil
	w.report.Seconds = time.Since(w.report.Started).Seconds()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), server.DialTimeout)
	defer cancel()
	return w.finish(within, before)
}

func (w *watcher) text(ctx context.Context, args ...any) (string, error) {
	name, _ := args[0].(string)
	w.own[name]++
	return w.control.Text(ctx, args...)
}

// introduce asks what the server is and which commands and functions it has.
func (w *watcher) introduce(ctx context.Context) error {
	info, err := w.control.Info(ctx, "server", "cluster")
	if err != nil {
		return err
	}
	v := info.Version()
	w.report.Server = v.String()
	switch {
	case info["redis_mode"] == "sentinel":
		return &RefusedError{w.endpoint.Address, "is a Sentinel: no data goes through it", "name the primary that it watches"}
	case info["cluster_enabled"] == "1":
		return &RefusedError{w.endpoint.Address, "is a node of a cluster: what does not work on one has been refused there already", "INFO errorstats of each node counts CROSSSLOT and the like"}
	}
	o := Options{Capabilities: command.NewCapabilities(command.Version{Product: family(v.Product), Major: v.Major, Minor: v.Minor}, rdb.Format{}, 0)}
	reply, err := w.control.Do(ctx, "COMMAND")
	switch {
	case isReply(err):
		w.note("COMMAND is not permitted: where commands have their keys is taken from godwit's own tables")
	case err != nil:
		return err
	default:
		if err := o.Capabilities.Learnt.Commands(reply); err != nil {
			w.note(err.Error())
		}
	}
	reply, err = w.control.Do(ctx, "FUNCTION", "LIST")
	if err != nil && !isReply(err) {
		return err
	}
	o.Functions = functions(reply)
	w.census = New(o)
	return nil
}

func family(p server.Product) rdb.Family {
	switch p {
	case server.Valkey:
		return rdb.Valkey
	case server.Redict:
		return rdb.Redict
	}
	return rdb.Redis
}

func isReply(err error) bool {
	var reply *server.Error
	return errors.As(err, &reply)
}

func (w *watcher) note(text string) { w.report.Notes = append(w.report.Notes, text) }

// run watches until end.
func (w *watcher) run(ctx context.Context, end time.Time) error {
	if w.share <= 0 {
		w.report.Monitor.Stopped = "a share of 0 was asked for"
	}
	last, err := w.mark(ctx)
	if err != nil {
		return err
	}
	outside, err := w.pause(ctx, min(probeTime, time.Until(end)), &last)
	for err == nil && time.Until(end) > 0 {
		if w.report.Monitor.Stopped != "" {
			_, err = w.pause(ctx, min(quietSlice, time.Until(end)), &last)
			continue
		}
		var inside float64
		all := w.share >= 1 || outside < quietRate
		length := windowSize
		if all {
			length = quietSlice
		}
		if inside, err = w.window(ctx, min(length, time.Until(end)), &last); err != nil {
			break
		}
		if all {
			outside = inside
			if w.share < 1 && outside >= quietRate {
				w.stop()
			}
			continue
		}
		w.stop()
		rest := time.Duration(float64(windowSize) * (1/w.share - 1) * (0.75 + rand.Float64()/2)) //nolint:gosec // so as not to beat with what is periodic
		if outside, err = w.pause(ctx, min(rest, time.Until(end)), &last); err == nil {
			w.weigh(inside, outside)
		}
	}
	return err
}

// marked is how many commands were processed at a time.
type marked struct {
	at        time.Time
	processed int64
}

func (w *watcher) mark(ctx context.Context) (marked, error) {
	text, err := w.text(ctx, "INFO", "stats")
	return marked{time.Now(), server.ParseInfo(text).Int("total_commands_processed")}, err
}

// since sets last to now and tells how many commands a second there were in between.
func (w *watcher) since(ctx context.Context, last *marked) (float64, error) {
	now, err := w.mark(ctx)
	if err != nil {
		return 0, err
	}
	rate := float64(now.processed-last.processed) / now.at.Sub(last.at).Seconds()
	*last = now
	return rate, nil
}

// pause waits, and tells how many commands a second there were meanwhile.
func (w *watcher) pause(ctx context.Context, d time.Duration, last *marked) (float64, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-timer.C:
	}
	w.tell()
	return w.since(ctx, last)
}

func (w *watcher) tell() {
	if w.Progress != nil {
		w.Progress(time.Since(w.report.Started), w.census.lines)
	}
}

// window lets MONITOR run, and tells how many commands a second there were meanwhile.
func (w *watcher) window(ctx context.Context, d time.Duration, last *marked) (float64, error) {
	m := w.report.Monitor
	if w.monitor == nil {
		opened, err := w.openMonitor(ctx)
		if err != nil {
			return 0, w.failed(ctx, err)
		}
		w.monitor, w.failures = opened, 0
		w.census.Ignore(opened.address)
		m.Windows++
	}
	if w.listed.IsZero() { // our own connections are to be known before
		if err := w.listClients(ctx); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	err := w.monitor.listen(ctx, d, w.census, w.bad)
	m.Seconds += time.Since(begin).Seconds()
	m.Lines = w.census.lines
	if err != nil && ctx.Err() == nil {
		err = w.failed(ctx, err)
	}
	if err != nil {
		return 0, err
	}
	rate, err := w.since(ctx, last)
	if err == nil && time.Since(w.listed) > w.between {
		err = w.listClients(ctx)
	}
	w.tell()
	return rate, err
}

// bad counts a line that was not understood, and keeps where the first one was wrong.
func (w *watcher) bad(_ []byte, err error) {
	r := w.report
	r.LeftOut.NotUnderstood++
	if r.FirstBad == "" {
		r.FirstBad = fmt.Sprintf("a line of MONITOR: %v", err)
	}
}

// stop ends MONITOR.
func (w *watcher) stop() {
	if w.monitor != nil {
		w.monitor.close()
		w.monitor = nil
		w.census.Gap()
	}
}

// failed is for a MONITOR that could not be opened, or was closed: it is given up if
// it is not permitted, or for the third time in a row.
func (w *watcher) failed(ctx context.Context, err error) error {
	w.stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if w.failures++; w.failures >= hurtsBefore || isReply(err) {
		w.report.Monitor.Stopped = err.Error()
	}
	return nil
}

// listClients asks who is connected, and for what the server holds back for us.
func (w *watcher) listClients(ctx context.Context) error {
	text, err := w.text(ctx, "CLIENT", "LIST")
	w.listed = time.Now()
	if isReply(err) {
		if w.between < time.Hour {
			w.note("CLIENT LIST is not permitted: names and libraries of clients are not known")
			w.between = time.Hour
		}
		return nil
	}
	if err != nil {
		return err
	}
	list := clientList(text)
	if len(list) > longList {
		w.between = 10 * listEvery
	}
	w.census.clients(list, Name)
	for _, l := range list {
		if l.client.Name == Name && l.buffer > w.report.Monitor.Behind {
			w.report.Monitor.Behind = l.buffer
		}
		if l.client.Name == Name && l.buffer > maxBehind {
			w.stop()
			w.lessen(fmt.Sprintf("the server had %d MB of MONITOR's output waiting for godwit", l.buffer>>20))
		}
	}
	return nil
}

// weigh compares the commands a second with MONITOR with those without.
func (w *watcher) weigh(inside, outside float64) {
	if outside < quietRate {
		w.hurts = 0
		return
	}
	fall := max(0, 1-inside/outside)
	w.falls = append(w.falls, fall)
	if fall <= maxFall {
		w.hurts = 0
		return
	}
	if w.hurts++; w.hurts >= hurtsBefore {
		w.hurts = 0
		w.lessen(fmt.Sprintf("the server ran %.0f %% fewer commands while MONITOR ran", 100*fall))
	}
}

// lessen makes MONITOR run for less of the time, and gives it up if that is too little.
func (w *watcher) lessen(why string) {
	w.share /= 4
	if w.share < smallest {
		w.report.Monitor.Stopped = why
		return
	}
	w.note(fmt.Sprintf("%s: from then on it ran for %.1f %% of the time", why, 100*w.share))
}
