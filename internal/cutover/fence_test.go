package cutover_test

import (
	"strings"
	"testing"

	"godwit/internal/cutover"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// A fenced node refuses writes of everybody but godwit, and is afterwards as it was.
func TestFence(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-8.1", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, version, sandbox.Options{})
			c := sandboxtest.Client(t, s)
			do := func(args ...any) any {
				t.Helper()
				reply, err := c.Do(t.Context(), args...)
				if err != nil {
					t.Fatal(err)
				}
				return reply
			}
			do("ACL", "SETUSER", "app", "on", ">secret", "~app:*", "-@all", "+@read", "+ping", "+set", "+incr", "-getbit")
			do("ACL", "SETUSER", "late", "off")
			if version != "redis-6.0" { // it has no selectors
				do("ACL", "SETUSER", "keys", "on", "nopass", "~a*", "+@write", "(~b* +set)", "(%R~c* +@all)")
			}
			before := do("ACL", "LIST")
			app := s.Endpoint()
			app.Username, app.Password = "app", "secret"
			writer, err := server.Dial(t.Context(), app, "")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = writer.Close() }()
			f := &cutover.ACLFence{Nodes: []*server.Client{c}, User: "godwit:test", Cluster: true}
			if err := f.Prepare(t.Context(), "password"); err != nil {
				t.Fatal(err)
			}
			if _, err := writer.Do(t.Context(), "SET", "app:1", "1"); err != nil {
				t.Fatal(err)
			}
			if err := f.Set(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, client := range []*server.Client{writer, c} {
				if _, err := client.Do(t.Context(), "SET", "app:1", "2"); !server.IsCode(err, "NOPERM") {
					t.Errorf("SET: %v", err)
				}
				if v, err := client.Do(t.Context(), "GET", "app:1"); err != nil || v != "1" {
					t.Errorf("GET: %v, %v", v, err)
				}
			}
			// Slots may be moved by who might before.
			for client, want := range map[*server.Client]string{c: "NOKEY", writer: "NOPERM"} {
				if _, err := client.Do(t.Context(), "MIGRATE", "127.0.0.1", s.Port(), "absent", 0, 100); want == "NOPERM" != server.IsCode(err, "NOPERM") {
					t.Errorf("MIGRATE: %v, want %s", err, want)
				}
				if _, err := client.Do(t.Context(), "RESTORE-ASKING", "absent", 0, "x"); err == nil || want == "NOPERM" != server.IsCode(err, "NOPERM") {
					t.Errorf("RESTORE-ASKING: %v", err)
				}
			}
			if _, err := c.Do(t.Context(), "EVAL", "return redis.call('SET', 'app:1', 'x')", "0"); err == nil || !strings.Contains(err.Error(), "can't run this command") && !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "o permissions") {
				t.Errorf("EVAL: %v", err)
			}
			own := s.Endpoint()
			own.Username, own.Password = "godwit:test", "password"
			godwit, err := server.Dial(t.Context(), own, "")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = godwit.Close() }()
			if _, err := godwit.Do(t.Context(), "SET", "any", "1"); err != nil {
				t.Error(err)
			}
			// A later process has the rules from its journal.
			later := &cutover.ACLFence{Nodes: f.Nodes, User: f.User, Cluster: true, Rules: f.Rules}
			later.Rules["10.0.0.1:6379"] = cutover.NodeRules{Users: []cutover.UserRules{{User: "away"}}}
			if err := later.Prepare(t.Context(), "another"); err != nil {
				t.Fatal(err)
			}
			if len(later.Rules) != 2 {
				t.Errorf("what a node out of reach had is forgotten: %v", later.Rules)
			}
			if err := later.Lift(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := later.Forget(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := writer.Do(t.Context(), "INCR", "app:1"); err != nil {
				t.Error(err)
			}
			after := do("ACL", "LIST")
			if a, b := lines(before), lines(after); a != b {
				t.Errorf("before:\n%s\nafter:\n%s", a, b)
			}
		})
	}
}

func lines(list any) string {
	var b strings.Builder
	for _, line := range list.([]any) {
		b.WriteString(line.(string) + "\n")
	}
	return b.String()
}
