package sandboxtest

import (
	"strconv"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// clusterSize is how many primaries a cluster has, and slots how many hash slots.
const (
	clusterSize = 3
	slots       = 16384
)

// Cluster starts three primaries of 7.0 or later that are one cluster: of the hash
// slots each has a third, in their order.
func Cluster(t testing.TB, name string) []*sandbox.Server {
	t.Helper()
	nodes := make([]*sandbox.Server, clusterSize)
	for i := range nodes {
		nodes[i] = ClusterNode(t, name)
		const third = slots/clusterSize + 1
		client := Client(t, nodes[i])
		for _, args := range [][]any{
			{"CLUSTER", "ADDSLOTSRANGE", i * third, min((i+1)*third, slots) - 1},
			{"CLUSTER", "MEET", "127.0.0.1", nodes[0].Port()},
		} {
			if _, err := client.Do(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, node := range nodes {
		awaitCluster(t, Client(t, node))
	}
	return nodes
}

// ClusterNode starts a server in cluster mode that has no slots and knows no other.
func ClusterNode(t testing.TB, name string) *sandbox.Server {
	t.Helper()
	port := 1 << 16
	for port > 1<<16-1-10000 { // the port of the cluster bus is 10,000 higher
		var err error
		if port, err = sandbox.FreePort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return Start(t, name, sandbox.Options{Port: port, Args: []string{"--cluster-enabled yes"}})
}

// awaitCluster waits until a node knows the others and finds all slots served.
func awaitCluster(t testing.TB, client *server.Client) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for ; ; <-again.C {
		text, err := client.Text(t.Context(), "CLUSTER", "INFO")
		if err != nil {
			t.Fatal(err)
		}
		info := server.ParseInfo(text)
		if info["cluster_state"] == "ok" && info["cluster_known_nodes"] == strconv.Itoa(clusterSize) && info["cluster_slots_ok"] == strconv.Itoa(slots) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster does not come about: %s", text)
		}
	}
}
