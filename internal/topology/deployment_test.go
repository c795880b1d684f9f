package topology

import (
	"errors"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

func TestResolveCluster(t *testing.T) {
	for _, name := range []string{"redis-7.0", "valkey-9.1"} {
		nodes := sandboxtest.Cluster(t, name, sandbox.ClusterOptions{}).Nodes()
		if _, err := sandboxtest.Client(t, nodes[0]).Do(t.Context(), "SET", "{06S}", "slot 0"); err != nil {
			t.Fatal(err)
		}
		for _, asked := range nodes {
			d, err := Resolve(t.Context(), asked.Endpoint())
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Primaries) != 3 || d.Keys != 1 {
				t.Fatalf("%s: %+v", name, d)
			}
			for slot, want := range map[uint16]int{0: 0, 5461: 0, 5462: 1, 10923: 1, 10924: 2, 16383: 2} {
				if got := d.Primaries[d.Slots(slot)].Address; got != nodes[want].Address() {
					t.Errorf("%s: slot %d is served by %s, want %s", name, slot, got, nodes[want].Address())
				}
			}
		}
	}
}

func TestResolve(t *testing.T) {
	s := sandboxtest.Start(t, "redis-6.0", sandbox.Options{Password: "hidden"})
	if _, err := sandboxtest.Client(t, s).Do(t.Context(), "SET", "a", "1"); err != nil {
		t.Fatal(err)
	}
	d, err := Resolve(t.Context(), s.Endpoint())
	if err != nil || len(d.Primaries) != 1 || d.Primaries[0] != s.Endpoint() || d.Slots != nil || d.Keys != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	lone := sandboxtest.ClusterNode(t, "redis-7.0")
	var unserved *UnservedError
	if _, err := Resolve(t.Context(), lone.Endpoint()); !errors.As(err, &unserved) || CountSlots(unserved.Slots) != 16384 || unserved.HintText() == "" {
		t.Errorf("a cluster without slots: %v", err)
	}
	managed := s.Endpoint()
	managed.Master = "orders"
	var unsupported *UnsupportedError
	if _, err := Resolve(t.Context(), managed); !errors.As(err, &unsupported) || unsupported.HintText() == "" {
		t.Errorf("Sentinel: %v", err)
	}
}
