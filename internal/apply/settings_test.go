package apply

import (
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// setting is notify-keyspace-events of a node.
func setting(t *testing.T, c *server.Client) string {
	t.Helper()
	reply, err := c.Do(t.Context(), "CONFIG", "GET", notifySetting)
	if err != nil {
		t.Fatal(err)
	}
	switch r := reply.(type) {
	case []any:
		return r[1].(string)
	case map[any]any:
		return r[notifySetting].(string)
	}
	t.Fatalf("%T", reply)
	return ""
}

// At the end every node has its setting again, whichever role it has had, and nothing of
// godwit's is left.
func TestEnd(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Replicas: 1, AOF: true})
	var clients []*server.Client
	var was []string
	for i, n := range target.Nodes() {
		c := sandboxtest.Client(t, n)
		if _, err := c.Do(t.Context(), "CONFIG", "SET", notifySetting, []string{"", "KEA", "Klg", "KEx"}[i%4]); err != nil {
			t.Fatal(err)
		}
		clients, was = append(clients, c), append(was, setting(t, c))
	}
	var m memory
	c := configure(t, source, target)
	e := New(m.load(t, c))
	stop := run(t, e)
	write := func(seed uint64) {
		t.Helper()
		if _, err := traffic.Run(t.Context(), source.Endpoint(), traffic.Options{Seed: seed, Commands: 1000, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: []traffic.Feature{traffic.Function}}); err != nil {
			t.Fatal(err)
		}
		caughtUp(t, e, source)
	}
	write(1)
	if _, err := target.Failover(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	write(2)
	stop()
	e = New(m.load(t, c))
	stop = run(t, e)
	write(3)
	stop()
	e = New(m.load(t, c))
	same(t, source, target, nil)
	changed := 0
	for i, c := range clients {
		if setting(t, c) != was[i] {
			changed++
		}
	}
	if changed < 3 {
		t.Errorf("%d settings were changed", changed)
	}
	for range 2 { // the second one has nothing to do
		if err := e.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range clients {
		if now := setting(t, c); now != was[i] {
			t.Errorf("%s has %q, not %q", target.Nodes()[i].Address(), now, was[i])
		}
		keys, err := c.Do(t.Context(), "KEYS", "godwit:*")
		if list, _ := keys.([]any); err != nil || len(list) > 0 {
			t.Errorf("%v %v are left", err, list)
		}
	}
	if left := m.load(t, c).Progress.Settings; len(left) > 0 {
		t.Errorf("%v", left)
	}
}

// Where CONFIG is forbidden it is enough that the setting has what it takes, and said
// what to do where it has not.
func TestForbiddenConfig(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, version, sandbox.Options{})
			target := sandboxtest.Cluster(t, version, sandbox.ClusterOptions{})
			for _, n := range target.Nodes() {
				if _, err := sandboxtest.Client(t, n).Do(t.Context(), "ACL", "SETUSER", "mover", "on", ">secret", "~*", "&*", "+@all", "-config"); err != nil {
					t.Fatal(err)
				}
			}
			c := configure(t, source, target)
			c.Target.Username, c.Target.Password = "mover", "secret"
			e := New(c)
			run(t, e)
			until(t, func() (bool, string) {
				v := e.View()[0]
				return v.State == Broken && strings.Contains(v.Reason, notifySetting) && strings.Contains(v.Hint, notifyFlags), v.Reason + v.Hint
			})
			for _, n := range target.Nodes() {
				if _, err := sandboxtest.Client(t, n).Do(t.Context(), "CONFIG", "SET", notifySetting, notifyFlags); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := traffic.Run(t.Context(), source.Endpoint(), traffic.Options{Commands: 2000, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: []traffic.Feature{traffic.Function}}); err != nil {
				t.Fatal(err)
			}
			caughtUp(t, e, source)
			t.Log(same(t, source, target, nil), "keys")
		})
	}
}
