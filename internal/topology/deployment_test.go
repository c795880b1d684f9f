package topology_test

import (
	"errors"
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

func TestResolveStandalone(t *testing.T) {
	c := sandboxtest.Client(t, sandboxtest.Start(t, "redis-7.0", sandbox.Options{}))
	do(t, c, "SET", "k", "v")
	d, err := topology.Resolve(t.Context(), c.Endpoint())
	if err != nil || len(d.Primaries) != 1 || d.Primaries[0].Address != c.Endpoint().Address || d.Slots != nil || d.Keys != 1 {
		t.Errorf("%+v, %v", d, err)
	}
}

// Two primaries that take turns at the slots: each key is found at its owner.
func TestResolveCluster(t *testing.T) {
	for _, version := range []string{"redis-6.0", "redis-8.6", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // a cluster takes its time to be one
			nodes := make([]*server.Client, 2)
			for i := range nodes {
				nodes[i] = sandboxtest.Client(t, sandboxtest.Start(t, version, sandbox.Options{Args: []string{"--cluster-enabled yes"}}))
			}
			var unserved *topology.UnservedError
			if _, err := topology.Resolve(t.Context(), nodes[0].Endpoint()); !errors.As(err, &unserved) || unserved.HintText() == "" {
				t.Errorf("a cluster without slots: %v", err)
			}
			for i, c := range nodes {
				slots := []any{"CLUSTER", "ADDSLOTS"}
				for s := range slot.Count {
					if s/1000%2 == i {
						slots = append(slots, s)
					}
				}
				do(t, c, slots...)
			}
			other := nodes[1].Endpoint()
			do(t, nodes[0], "CLUSTER", "MEET", other.Host(), other.Port())
			for _, c := range nodes {
				waitFor(t, "cluster_state:ok", func() bool {
					text, err := c.Text(t.Context(), "CLUSTER", "INFO")
					return err == nil && strings.Contains(text, "cluster_state:ok")
				})
			}
			d, err := topology.Resolve(t.Context(), nodes[0].Endpoint())
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Primaries) != 2 {
				t.Fatalf("%+v", d)
			}
			for _, key := range []string{"a", "b", "foo", "{x}y", "user:7", "hello"} {
				e := d.Primaries[d.Slots(slot.Of([]byte(key)))]
				c, err := server.Dial(t.Context(), e, "")
				if err != nil {
					t.Fatal(err)
				}
				do(t, c, "EXISTS", key) // MOVED, were it elsewhere
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
