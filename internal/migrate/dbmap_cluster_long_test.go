//go:build fault

package migrate_test

import (
	"testing"

	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/verify"
)

// What a cluster makes of writes to several dbs while slots move at once, which is not what
// its clients wanted and not what its replicas have, the target has.
func TestDBMapOfAClusterOnTheMove(t *testing.T) {
	t.Parallel()
	from, to := aClusterWithDBs(t, 0, 1, 2), servers(t, "valkey-9.1", 1)
	c := config(t, from.endpoints()[0], to.endpoints()[0])
	var err error
	if c.Route, err = route.Parse([]string{"0:3", "1:1", "2:drop"}); err != nil {
		t.Fatal(err)
	}
	var loads []*load.Load
	for db := range 2 {
		e := from.endpoints()
		for i := range e {
			e[i].DB = db
		}
		loads = append(loads, startLoad(t, load.Config{Writers: 3, Prefix: "load:", Rate: 500, Mix: load.OneSlot, Endpoints: e}))
	}
	m := start(t, c)
	m.ready()
	for _, to := range []int{2, 0, 2} {
		if err := from.cluster.MoveAtomically(t.Context(), sandbox.SlotRange{First: 0, Last: 2000}, to); err != nil {
			t.Fatal(err)
		}
		m.ready()
		m.verified(migrate.VerifyOptions{})
		m.verified(migrate.VerifyOptions{Method: verify.Scan})
	}
	for _, l := range loads {
		l.Stop()
	}
	m.verified(migrate.VerifyOptions{})
	equalThrough(t, c.Route, []*sandbox.Server{from.nodes()[0], to.nodes()[0]}, from.primaries(), to.primaries(), []int{0, 1, 2, 3})
}
