package traffic_test

import (
	"crypto/rand"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// A server's own replica is equal to it: what differs after this traffic between
// two servers with godwit between them is not the traffic's fault.
func TestNativeReplicaIsEqual(t *testing.T) {
	for _, name := range sandboxtest.Catalog(t).Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}}
			primary, replica := sandboxtest.Start(t, name, options), sandboxtest.Start(t, name, options)
			from, to := sandboxtest.Client(t, primary), sandboxtest.Client(t, replica)
			if _, err := to.Do(t.Context(), "REPLICAOF", "127.0.0.1", primary.Port()); err != nil {
				t.Fatal(err)
			}
			caughtUp(t, from, to)
			for seed := range uint64(3) {
				o := traffic.Options{Seed: seed, Commands: 5000, DBs: []int{0, 1, 2, 9}, Prefix: "t:"}
				if _, err := traffic.Run(t.Context(), primary.Endpoint(), o); err != nil {
					t.Fatal(err)
				}
				caughtUp(t, from, to)
				look := audit.Options{NoEntriesRead: name == "redis-7.0"}
				if name == "redis-6.0" {
					look.TTLTolerance = 10 * time.Second // relative TTLs begin when they arrive
				}
				report, err := audit.Compare(t.Context(), primary.Endpoint(), replica.Endpoint(), look)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range report.Differences {
					t.Errorf("seed %d: %v", seed, d)
				}
			}
		})
	}
}

// caughtUp waits until a replica has what its primary has been sent so far.
func caughtUp(t *testing.T, primary, replica *server.Client) {
	t.Helper()
	last := rand.Text()
	if _, err := primary.Do(t.Context(), "SET", "last", last); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got, err := replica.Do(t.Context(), "GET", "last"); err == nil && got == last {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the replica does not follow")
		}
	}
}
