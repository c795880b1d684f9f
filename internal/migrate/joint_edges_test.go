package migrate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
)

func (d *deployed) do(s *sandbox.Server, args ...any) any {
	d.t.Helper()
	reply, err := connect(d.t, s).Do(d.t.Context(), args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return reply
}

// refuses tells whether a server refuses the writes of its users.
func refuses(t *testing.T, s *sandbox.Server) bool {
	t.Helper()
	users, err := connect(t, s).Do(t.Context(), "ACL", "LIST")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(fmt.Sprint(users), "-@write")
}

// completed ends the migration, at last with the run.
func (r *running) completed() migrate.EndResult {
	r.t.Helper()
	end, err := r.Complete(r.t.Context(), false)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := <-r.done; err != nil {
		r.t.Fatal(err)
	}
	r.done <- nil
	return end
}

// An old server that is started again refuses writes soon, even if another one is gone.
func TestJointOldSideStartedAgain(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 2), servers(t, "redis-7.0", 1))
	m := start(t, p.config)
	m.ready()
	m.cutover()
	kill(t, p.a.servers[0])
	restart(t, p.a.servers[1])
	eventually(t, "it refuses writes", func() bool { return refuses(t, p.a.servers[1]) })
	end := m.completed()
	t.Logf("%+v", end)
	p.b.clean(false)
}

// Who waits for an element of a list at the side that does not serve gets none of what is
// carried there.
func TestJointBlockedClients(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-7.0", "valkey-8.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newJointPair(t, version, servers(t, version, 2), servers(t, version, 1))
			waiting := make(chan error, 1)
			c := connect(t, p.b.servers[0])
			go func() {
				reply, err := c.Do(t.Context(), "BLPOP", "queue", "0")
				if err == nil {
					err = fmt.Errorf("it got %v", reply)
				}
				waiting <- err
			}()
			eventually(t, "a client waits", func() bool {
				return info(t, connect(t, p.b.servers[0]), "clients")["blocked_clients"] == "1"
			})
			m := start(t, p.config)
			m.ready()
			p.a.do(p.a.servers[0], "RPUSH", "queue", "a", "b")
			time.Sleep(100 * time.Millisecond)
			p.settled(m, p.a)
			if _, err := m.Abort(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-waiting:
				if strings.Contains(err.Error(), "it got") {
					t.Error(err)
				}
			default:
				t.Error("it waits still")
			}
		})
	}
}
