package apply

import (
	"errors"
	"strings"
	"testing"

	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
)

// A shard is new and says nothing while godwit joins its stream in the middle and is started
// again: what it is given after that is carried all the same.
func TestQuietShardThatIsNew(t *testing.T) {
	t.Parallel()
	for version, args := range map[string][]string{"redis-7.0": nil, "valkey-9.1": {"--cluster-databases 4"}} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			source := sandboxtest.Cluster(t, version, sandbox.ClusterOptions{Shards: 2, Replicas: 1, Args: append(args, "--repl-ping-replica-period 3600")})
			targets := aTarget(t, version, 2)
			fill(t, source, "fill:", 500)
			var disk memory
			c := configureCluster(t, targets()[0], source)
			e := New(disk.load(t, c))
			stop := run(t, e)
			caughtUpCluster(t, e, source)
			stop()
			to, err := source.AddShard(ctx)
			if err != nil {
				t.Fatal(err)
			}
			of := slot.Of([]byte("{quiet}"))
			if err := source.Move(ctx, sandbox.SlotRange{First: of, Last: of}, to, sandbox.MoveOptions{}); err != nil {
				t.Fatal(err)
			}
			primary, err := source.Primary(ctx, to)
			if err != nil {
				t.Fatal(err)
			}
			quiet := sandboxtest.Client(t, primary)
			inDB1 := func(commands ...[]any) {
				t.Helper()
				commands = append([][]any{{"SELECT", 1}}, append(commands, []any{"SELECT", 0})...)
				if _, err := quiet.Transaction(ctx, commands...); err != nil {
					t.Fatal(err)
				}
			}
			// From here on its stream has no SELECT.
			do(t, quiet, "SET", "{quiet}", "v")
			do(t, quiet, "DEL", "{quiet}")
			if args != nil {
				inDB1([]any{"SET", "{quiet}", "v"}, []any{"DEL", "{quiet}"})
			}
			for i := range 3 {
				e = New(disk.load(t, c))
				stop = run(t, e)
				caughtUpCluster(t, e, source)
				if i > 0 {
					do(t, quiet, "APPEND", "{quiet}", "x")
				}
				caughtUpCluster(t, e, source)
				sameServers(t, primaries(t, source), targets(), nil)
				stop()
			}
			if args == nil {
				return
			}
			e = New(disk.load(t, c))
			ended := make(chan error, 1)
			go func() { ended <- e.Run(ctx) }()
			caughtUpCluster(t, e, source)
			inDB1([]any{"SET", "{quiet}", "v"})
			var unmapped *route.UnmappedError
			if err := <-ended; !errors.As(err, &unmapped) || unmapped.DB != 1 || !strings.Contains(unmapped.HintText(), "--db-map 1:drop") {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}
