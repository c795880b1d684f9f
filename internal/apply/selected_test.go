package apply

import (
	"errors"
	"strings"
	"testing"

	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// quietShard is a shard of the source that is new, with one slot that was moved to it while
// godwit was away. It says nothing by itself.
type quietShard struct {
	source  *sandbox.Cluster
	targets func() []*sandbox.Server
	client  *server.Client // of the shard
	disk    memory
	config  Config
}

func aQuietShard(t *testing.T, version string, args ...string) *quietShard {
	t.Helper()
	ctx := t.Context()
	args = append(args, "--repl-ping-replica-period 3600")
	q := &quietShard{source: sandboxtest.Cluster(t, version, sandbox.ClusterOptions{Shards: 2, Replicas: 1, Args: args}), targets: aTarget(t, version, 2)}
	fill(t, q.source, "fill:", 500)
	q.config = configureCluster(t, q.targets()[0], q.source)
	e, stop := q.run(t)
	caughtUpCluster(t, e, q.source)
	stop()
	to, err := q.source.AddShard(ctx)
	if err != nil {
		t.Fatal(err)
	}
	of := slot.Of([]byte("{quiet}"))
	if err := q.source.Move(ctx, sandbox.SlotRange{First: of, Last: of}, to, sandbox.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	primary, err := q.source.Primary(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	q.client = sandboxtest.Client(t, primary)
	// From here on its stream has no SELECT.
	do(t, q.client, "SET", "{quiet}", "v")
	do(t, q.client, "DEL", "{quiet}")
	return q
}

// run has an engine go on from what the last one has saved.
func (q *quietShard) run(t *testing.T) (e *Engine, stop func()) {
	t.Helper()
	e = New(q.disk.load(t, q.config))
	return e, run(t, e)
}

func (q *quietShard) inDB1(t *testing.T, commands ...[]any) {
	t.Helper()
	commands = append([][]any{{"SELECT", 1}}, append(commands, []any{"SELECT", 0})...)
	if _, err := q.client.Transaction(t.Context(), commands...); err != nil {
		t.Fatal(err)
	}
}

// same sees that the target has what the source has, a write to the shard included.
func (q *quietShard) same(t *testing.T, e *Engine) {
	t.Helper()
	do(t, q.client, "APPEND", "{quiet}", "x")
	caughtUpCluster(t, e, q.source)
	sameServers(t, primaries(t, q.source), q.targets(), nil)
}

// A shard is new and says nothing while godwit joins its stream in the middle and is started
// again: what it is given after that is carried all the same.
func TestQuietShardThatIsNew(t *testing.T) {
	t.Parallel()
	for version, args := range map[string][]string{"redis-7.0": nil, "valkey-9.1": {"--cluster-databases 4"}} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			q := aQuietShard(t, version, args...)
			if args != nil {
				q.inDB1(t, []any{"SET", "{quiet}", "v"}, []any{"DEL", "{quiet}"})
			}
			for i := range 3 {
				e, stop := q.run(t)
				caughtUpCluster(t, e, q.source)
				sameServers(t, primaries(t, q.source), q.targets(), nil)
				if i > 0 {
					q.same(t, e)
				}
				stop()
			}
			if args == nil {
				return
			}
			e := New(q.disk.load(t, q.config))
			ended := make(chan error, 1)
			go func() { ended <- e.Run(t.Context()) }()
			caughtUpCluster(t, e, q.source)
			q.inDB1(t, []any{"SET", "{quiet}", "v"})
			var unmapped *route.UnmappedError
			if err := <-ended; !errors.As(err, &unmapped) || unmapped.DB != 1 || !strings.Contains(unmapped.HintText(), "--db-map 1:drop") {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// A shard with several dbs that is full does not take the key by which it would tell which
// one it has selected. Its slots wait for that, over a restart as well, and the view says why.
func TestQuietShardThatIsFull(t *testing.T) {
	t.Parallel()
	q := aQuietShard(t, "valkey-9.1", "--cluster-databases 4")
	do(t, q.client, "SET", "{quiet}", "v")
	q.inDB1(t, []any{"SET", "{quiet}", "v"}, []any{"DEL", "{quiet}"})
	do(t, q.client, "CONFIG", "SET", "maxmemory", 1)
	waits := func(e *Engine) {
		t.Helper()
		until(t, func() (bool, string) {
			for _, v := range e.View() {
				if v.Unsettled > 0 && strings.Contains(v.Reason, "does not take a key of godwit's") && strings.Contains(v.Reason, "OOM") {
					return true, ""
				}
			}
			return false, "nothing says that the shard is full"
		})
	}
	e, stop := q.run(t)
	waits(e)
	stop()
	e, _ = q.run(t)
	waits(e)
	do(t, q.client, "CONFIG", "SET", "maxmemory", 0)
	caughtUpCluster(t, e, q.source)
	q.same(t, e)
	for _, v := range e.View() {
		if v.Reason != "" {
			t.Errorf("it still says %q", v.Reason)
		}
	}
}
