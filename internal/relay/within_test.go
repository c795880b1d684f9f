package relay_test

import (
	"strings"
	"sync"
	"testing"

	"godwit/internal/faultproxy"
	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/resp"
)

// shortener leaves SET … of a key its first byte alone, with no-ops in front for
// what is missing.
type shortener struct{}

func (shortener) Edit(dst []byte, args [][]byte, _ int) ([]byte, relay.Verdict, error) {
	if string(args[0]) == "SET" && strings.HasPrefix(string(args[1]), "short:") {
		return resp.AppendCommand(dst, "SET", string(args[1]), string(args[2][:1])), relay.Replace, nil
	}
	return dst, relay.Keep, nil
}

func (shortener) Reset(int) {}

func (shortener) LeftOut() []rdb.LeftOut { return nil }

func (shortener) DB() int { return 0 }

// A target that has the no-ops in front of what replaced a command, and nothing
// of that yet, stands within a command of the source: no link can begin there.
func TestCheckpointWhileTheTargetStandsWithinACommand(t *testing.T) {
	t.Parallel()
	type checkpoint struct{ source, target relay.Position }
	var mu sync.Mutex
	var noted []checkpoint
	noting := func(c *relay.Config) {
		c.Editor, c.OwnReplID = shortener{}, true
		c.Checkpoint = func(s, t relay.Position, _ rdb.Dropped) {
			mu.Lock()
			noted = append(noted, checkpoint{s, t})
			mu.Unlock()
		}
	}
	checkpoints := func() []checkpoint {
		mu.Lock()
		defer mu.Unlock()
		return noted
	}
	r := newRig(t, options{proxies: true, config: noting})
	r.do(r.from, "CONFIG", "SET", "repl-ping-replica-period", "3600")
	r.follow()
	r.do(r.from, "SET", "a", "1")
	r.caughtUp()
	r.acked()
	const noops = 500
	stands := r.info(r.to, "replication").Int("slave_repl_offset") + noops
	r.targetProxy.CutAfter(faultproxy.ToClient, noops)
	r.do(r.from, "SET", "short:1", strings.Repeat("v", noops-1)) // 499 to 1, and two digits of its length
	r.until("cut within the command", func() bool {
		return r.info(r.to, "replication").Int("slave_repl_offset") == stands && r.targetProxy.Accepted() > 1
	})
	// It may ask for the rest, but not get it.
	const answers = len("+PONG\r\n+OK\r\n+OK\r\n+CONTINUE \r\n") + 40
	r.targetProxy.CutAfter(faultproxy.ToClient, int64(answers+10))
	lost := "the connection of " + r.target.Address()
	r.until("asked for the rest", func() bool { return strings.Count(r.told(), lost) > 1 })
	before := len(checkpoints())
	r.until("noted", func() bool { return len(checkpoints()) > before+1 })
	r.targetProxy.Heal()
	last := checkpoints()[len(checkpoints())-1]
	r.caughtUp()
	r.restart(func(c *relay.Config) { noting(c); c.From, c.Knows = last.source, last.target })
	r.attach()
	r.do(r.from, "SET", "b", "1")
	r.caughtUp()
	if got := r.do(r.to, "MGET", "short:1", "a", "b"); got.([]any)[0] != "v" || got.([]any)[2] != "1" {
		t.Errorf("it has %v", got)
	}
	if n := r.link.Snapshot().FullResyncs; n != 0 {
		t.Errorf("%d full resyncs\n%s", n, r.told())
	}
}
