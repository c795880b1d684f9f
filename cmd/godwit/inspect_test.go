package main

import (
	"encoding/json"
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

func TestInspectCluster(t *testing.T) {
	cluster := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{Replicas: 1, Password: "hush-hush"})
	nodes := cluster.Nodes()
	env := []string{"GODWIT_PASSWORD=hush-hush"}
	send(t, nodes[0], "SET {48063}a 1") // slot 100
	got := godwit(t, env, "inspect", nodes[3].Address())
	if got.code != 0 {
		t.Fatal(got.err)
	}
	mustContain(t, "inspect", got.out,
		"cluster  redis://"+nodes[3].Address()+" · state ok",
		"3 shards · 6 nodes · 1 keys",
		"A      "+nodes[0].Address()+"  Valkey 9.1", "  0-546",
		"       replica "+nodes[1].Address()+", ", " behind\n",
		"\n    0  AAAA", "\n 6144  BBBB", "CCCC\n")
	for line := range strings.Lines(got.out) {
		if len([]rune(line)) > 81 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
	got = godwit(t, env, "inspect", nodes[3].Address(), "--node")
	mustContain(t, "inspect --node", got.out, "redis://"+nodes[3].Address(), "role", "replica of "+nodes[2].Address())
}

// The JSON has the fields that docs/inspect.md names.
func TestInspectClusterJSON(t *testing.T) {
	cluster := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Replicas: 1, Password: "hush-hush"})
	nodes := cluster.Nodes()
	if err := nodes[5].Kill(); err != nil {
		t.Fatal(err)
	}
	got := godwit(t, []string{"GODWIT_PASSWORD=hush-hush"}, "inspect", nodes[0].Address(), "--json")
	if strings.Contains(got.out, "hush-hush") {
		t.Error("the password is in it")
	}
	var view struct {
		Mode   string
		Shards []struct {
			Letter, ID string
			Slots      int
			Primary    struct{ URL string }
			Replicas   []struct {
				Address, State, Error string
				Lag                   *int64 `json:"lag_bytes"`
				Node                  *struct{ URL string }
			}
		}
		Cluster struct {
			OK    bool
			Nodes []struct {
				ID, Address, Role, Primary, Health string
				Slots                              []struct{ First, Last int }
			}
			Moves []any
		}
	}
	if err := json.Unmarshal([]byte(got.out), &view); err != nil || got.code != 0 {
		t.Fatalf("%v, %s", err, got.err)
	}
	if view.Mode != "cluster" || !view.Cluster.OK || len(view.Shards) != 3 || len(view.Cluster.Nodes) != 6 || view.Cluster.Moves == nil {
		t.Fatalf("%+v", view)
	}
	slots := 0
	for i, s := range view.Shards {
		slots += s.Slots
		r := s.Replicas[0]
		if s.Letter != []string{"A", "B", "C"}[i] || s.Primary.URL != "redis://"+nodes[2*i].Address() || r.Address != nodes[2*i+1].Address() {
			t.Errorf("%+v", s)
		}
		if dead := i == 2; dead != (r.Error != "") || dead != (r.Node == nil) || !dead && (r.State != "online" || r.Lag == nil) {
			t.Errorf("shard %d: %+v", i, r)
		}
	}
	if first := view.Cluster.Nodes[0]; slots != 16384 || first.Role != "primary" || first.Slots[0].First != 0 || view.Cluster.Nodes[1].Primary != first.ID {
		t.Errorf("%d slots, %+v", slots, view.Cluster.Nodes)
	}
}
