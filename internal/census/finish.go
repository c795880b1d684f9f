package census

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"godwit/internal/command"
)

// finish reads what the server has counted meanwhile, and reports.
func (w *watcher) finish(ctx context.Context, before counters) (*Report, error) {
	r := w.report
	w.stop()
	own := w.own
	w.own = make(totals) // what is asked from here on is not in what it says
	after, err := w.readCounters(ctx)
	if err != nil {
		return nil, err
	}
	since := after.since(before, own)
	if since == nil {
		w.note("the server was restarted, or its statistics reset: calls are those that MONITOR showed")
	}
	r.Monitor.Fall = median(w.falls)
	r.Earlier = w.census.earlier(before, since)
	slices.SortFunc(r.Earlier, func(a, b Earlier) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Command, b.Command))
	})
	if after.counts {
		text, _, err := w.control.ConfigGet(ctx, "cluster-compatibility-sample-ratio")
		if err != nil && !isReply(err) {
			return nil, err
		}
		ratio, _ := strconv.ParseInt(text, 10, 64) // 0 if it is not told
		r.ServerCount = &ServerCount{Counted: max(0, after.incompatible-before.incompatible), Ratio: ratio}
	}
	w.census.report(r, since)
	return r, nil
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// static is what all versions have, for what no server is asked about.
func (c *Census) static() command.Capabilities {
	return command.NewCapabilities(command.Version{}, c.options.Capabilities.Format, 0)
}
