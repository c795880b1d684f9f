package apply

import (
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/traffic"
)

func TestToACluster(t *testing.T) {
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 20000, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	e := New(configure(t, source, target))
	run(t, e)
	report, err := traffic.Run(t.Context(), source.Endpoint(), traffic.Options{Seed: 1, Commands: 5000, DBs: []int{0}, Prefix: "t:", Without: []traffic.Feature{traffic.Function}})
	if err != nil {
		t.Fatal(err)
	}
	caughtUp(t, e, source)
	t.Logf("%d keys, traffic %d: %+v", same(t, source, target), len(report.Commands), e.View())
}
