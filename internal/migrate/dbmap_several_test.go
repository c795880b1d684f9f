package migrate_test

import (
	"fmt"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// The dbs of several servers go to a cluster, or to one server, by a mapping, too: compared
// through it under load, and every write found by its name there.
func TestDBMapOfSeveralServers(t *testing.T) {
	t.Parallel()
	for _, tt := range some(1, []struct {
		name  string
		to    func(t *testing.T) *deployed
		flags []string
	}{
		{"to a cluster", func(t *testing.T) *deployed { return aCluster(t, "valkey-8.1", 3) }, []string{"1:prefix=db1:", "2:drop"}},
		{"to one server", func(t *testing.T) *deployed { return servers(t, "valkey-8.1", 1) }, []string{"0:prefix=zero:", "1:5", "2:drop"}},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := route.Parse(tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			from, to := servers(t, "redis-7.0", 2), tt.to(t)
			for i, s := range from.servers {
				err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{
					Keys: 2000, DBs: []int{0, 1, 2}, Seed: uint64(i), Prefix: fmt.Sprint("d", i, ":"), NoFieldTTLs: true, NoFunctions: true,
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			c := config(t, from.endpoints()[0], to.endpoints()[0])
			c.Others, c.Route = from.endpoints()[1:], r
			var loads []mappedLoad
			for i, s := range from.servers {
				for db := range 2 {
					way, err := r.Of(db)
					if err != nil {
						t.Fatal(err)
					}
					e := s.Endpoint()
					e.DB = db
					c := load.Config{Endpoints: []server.Endpoint{e}, Writers: 2, Rate: 300, Mix: load.OneSlot, Prefix: fmt.Sprint("load", i, ":")}
					loads = append(loads, mappedLoad{Load: startLoad(t, c), to: way.To, prefix: string(way.Prefix)})
				}
			}
			m := start(t, c)
			m.ready()
			for range verifyRuns() {
				m.verified(migrate.VerifyOptions{})
			}
			m.verified(migrate.VerifyOptions{Method: verify.Scan})
			for _, l := range loads {
				l.Stop()
			}
			report := m.verified(migrate.VerifyOptions{})
			if report.SourceRead.Keys != report.TargetRead.Keys || report.Settled != 0 {
				t.Errorf("%+v", report)
			}
			m.cutover()
			for _, l := range loads {
				at := to.primaries()
				for i := range at {
					at[i].DB = l.to
				}
				l.found(t, l.prefix, at...)
			}
			if _, err := m.Complete(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := <-m.done; err != nil {
				t.Fatal(err)
			}
			m.done <- nil
		})
	}
}
