package census

import (
	"context"
	"strconv"
	"strings"

	"godwit/internal/server"
)

// counters are what a server has counted since it was started.
type counters struct {
	runID        string
	processed    int64 // commands
	calls        totals
	incompatible int64 // cluster_incompatible_ops
	counts       bool  // whether it has that
}

// readCounters reads them all at about the same time.
func (w *watcher) readCounters(ctx context.Context) (counters, error) {
	var c counters
	for _, section := range []string{"server", "stats", "commandstats"} {
		text, err := w.text(ctx, "INFO", section)
		if err != nil {
			return c, err
		}
		info := server.ParseInfo(text)
		switch section {
		case "server":
			c.runID = info["run_id"]
		case "stats":
			c.processed = info.Int("total_commands_processed")
			_, c.counts = info["cluster_incompatible_ops"]
			c.incompatible = info.Int("cluster_incompatible_ops")
		default:
			c.calls = commandStats(info)
		}
	}
	return c, nil
}

// commandStats are the calls of each command, in capitals, with those of its
// subcommands (server.c genRedisInfoString: cmdstat_config|get:calls=1,usec=…).
func commandStats(info server.Info) totals {
	all := make(totals)
	for field, value := range info {
		name, ok := strings.CutPrefix(field, "cmdstat_")
		calls, ok2 := strings.CutPrefix(value, "calls=")
		if !ok || !ok2 {
			continue
		}
		calls, _, _ = strings.Cut(calls, ",")
		n, err := strconv.ParseInt(calls, 10, 64)
		if err != nil {
			continue
		}
		name, _, _ = strings.Cut(name, "|")
		all[strings.ToUpper(name)] += n
	}
	return all
}

// since are the calls between two readings, without own and those of replication; nil
// if the server was restarted or its statistics reset in between.
func (c counters) since(before counters, own totals) totals {
	if c.runID != before.runID || c.processed < before.processed {
		return nil
	}
	all := make(totals)
	for name, n := range c.calls {
		n -= before.calls[name]
		if n < 0 {
			return nil
		}
		switch name {
		case "REPLCONF", "PSYNC", "SYNC":
			continue
		}
		if n = n - own[name]; n > 0 {
			all[name] = n
		}
	}
	return all
}

// earlier are the commands that were called before and not since, and that may not
// work on a cluster.
func (c *Census) earlier(before counters, since totals) []Earlier {
	p := reporter{census: c, static: c.static()}
	list := []Earlier{}
	for name, n := range before.calls {
		if since[name] > 0 || n == 0 {
			continue
		}
		if v := p.unseenVerdict(name); v.effect != Works {
			text := v.reason.Text()
			if v.reason == NotSeen {
				text = "it depends on its arguments"
			}
			list = append(list, Earlier{Command: name, Calls: n, Text: text})
		}
	}
	return list
}
