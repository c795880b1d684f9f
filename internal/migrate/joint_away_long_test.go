//go:build fault

package migrate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
)

// A node of the target that is away when godwit is killed behind the commit, and has rules and
// a user of godwit's still, has neither once the migration has ended; where it comes back only
// after that, the lines that are printed see to it.
func TestJointKilledAndANodeAway(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "back before the end", true: "back after the end"}[late], func(t *testing.T) {
			t.Parallel()
			p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), aCluster(t, "redis-7.0", 3))
			p.load()
			run := startChild(t, p.config, "cutover-committed")
			run.must("ready")
			away := p.b.replica()
			pauseServer(t, away)
			p.b.givesUp(away)
			run.must("ready")
			if a, ok := run.ask("cutover"); ok {
				t.Fatalf("not killed: %+v", a)
			}
			run.killedItself()
			m := start(t, p.config)
			eventually(t, "every other node takes its users' writes", func() bool {
				return !slices.ContainsFunc(p.b.nodes(), func(n *sandbox.Server) bool { return n != away && refuses(t, n) })
			})
			time.Sleep(100 * time.Millisecond) // the writers are at the target
			if !late {
				resumeServer(t, away)
				eventually(t, "the node takes writes of its users", func() bool { return !refuses(t, away) })
			}
			p.settled(nil, p.b)
			end := m.completed()
			if late {
				resumeServer(t, away)
				p.b.typed(away, end.Notes)
				eventually(t, "it has what its primary has", func() bool {
					keys, err := connect(t, away).Do(t.Context(), "KEYS", "godwit:*")
					list, ok := keys.([]any)
					return err == nil && ok && len(list) == 0
				})
			}
			p.a.clean(true)
			p.b.clean(false)
		})
	}
}

// replica is one of its replicas, of another shard than primaryServer.
func (d *deployed) replica() *sandbox.Server {
	d.t.Helper()
	for _, n := range slices.Backward(d.nodes()) {
		if info(d.t, connect(d.t, n), "replication")["role"] == "slave" {
			return n
		}
	}
	d.t.Fatal("there is none")
	return nil
}

// givesUp waits until the cluster takes a node for failed.
func (d *deployed) givesUp(n *sandbox.Server) {
	d.t.Helper()
	eventually(d.t, "the node is given up", func() bool {
		return strings.Contains(lineOf(fmt.Sprint(d.do(d.primaryServer(), "CLUSTER", "NODES")), n.Address()), ",fail ")
	})
}

// typed does what lines for a node say, of those that were printed.
func (d *deployed) typed(n *sandbox.Server, lines []string) {
	d.t.Helper()
	done := 0
	for _, line := range lines {
		words := strings.Fields(strings.ReplaceAll(line, "'", ""))
		if len(words) < 6 || words[0] != "redis-cli" || !strings.Contains(line, fmt.Sprint("-p ", n.Port(), " ")) {
			continue
		}
		var args []any
		for _, word := range words[5:] {
			args = append(args, word)
		}
		d.do(n, args...)
		done++
	}
	if done == 0 {
		d.t.Errorf("there is no line for %s: %q", n.Address(), lines)
	}
}
