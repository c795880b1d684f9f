package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// What a shard refuses for a while is waited out, during the copy and after it, and is
// said with what to do; nothing is lost by it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	set := func(args ...any) func(*testing.T, *server.Client) {
		return func(t *testing.T, c *server.Client) {
			t.Helper()
			if _, err := c.Do(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	type row struct {
		name   string
		target string
		reason string // in what is said
		hint   string
		begin  func(*testing.T, *server.Client) // has a primary refuse
		mend   func(*testing.T, *server.Client)
	}
	for _, tt := range some(2, []row{
		{"OOM", "redis-7.0", "OOM", "maxmemory", set("CONFIG", "SET", "maxmemory", "1mb"), set("CONFIG", "SET", "maxmemory", "0")},
		{"OOM", "redis-6.0", "OOM", "maxmemory", set("CONFIG", "SET", "maxmemory", "1mb"), set("CONFIG", "SET", "maxmemory", "0")},
		{"OOM", "valkey-9.1", "OOM", "maxmemory", set("CONFIG", "SET", "maxmemory", "1mb"), set("CONFIG", "SET", "maxmemory", "0")},
		{"NOREPLICAS", "redis-7.0", "NOREPLICAS", "replicas", set("CONFIG", "SET", "min-replicas-to-write", "1"), set("CONFIG", "SET", "min-replicas-to-write", "0")},
		{"NOREPLICAS", "valkey-8.1", "NOREPLICAS", "replicas", set("CONFIG", "SET", "min-replicas-to-write", "1"), set("CONFIG", "SET", "min-replicas-to-write", "0")},
		{"MISCONF", "redis-8.6", "MISCONF", "cannot save", unsaved, set("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")},
		{"BUSY", "valkey-8.1", "BUSY", "SCRIPT KILL", busy, set("SCRIPT", "KILL")},
		{"CLUSTERDOWN", "redis-7.0", "slots: 77", "", set("CLUSTER", "DELSLOTS", 77), set("CLUSTER", "ADDSLOTS", 77)},
	}) {
		t.Run(tt.name+" "+tt.target, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, tt.target, sandbox.Options{})
			target := sandboxtest.Cluster(t, tt.target, sandbox.ClusterOptions{Args: []string{"--dbfilename " + taken}})
			client := sandboxtest.Client(t, target.Nodes()[0])
			if err := os.Mkdir(filepath.Join(target.Nodes()[0].Dir(), taken), 0o700); err != nil {
				t.Fatal(err)
			}
			var known func(string, value, value) bool
			if tt.target == "redis-6.0" {
				known = begunOnArrival
			}
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 3000, NoFunctions: true}); err != nil {
				t.Fatal(err)
			}
			e := New(configure(t, source, target))
			says := func() {
				t.Helper()
				until(t, func() (bool, string) {
					v := e.View()[0]
					return strings.Contains(v.Reason, tt.reason) && strings.Contains(v.Reason, target.Nodes()[0].Address()) && strings.Contains(v.Hint, tt.hint), v.Reason + ": " + v.Hint
				})
			}
			tt.begin(t, client)
			run(t, e)
			says()
			tt.mend(t, client)
			caughtUp(t, e, source)
			same(t, source, target, known)
			sent := background(t, func(ctx context.Context, seed uint64) error {
				_, err := traffic.Run(ctx, source.Endpoint(), traffic.Options{Seed: seed, Commands: 1000, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: []traffic.Feature{traffic.Function}})
				return err
			})
			tt.begin(t, client)
			says()
			tt.mend(t, client)
			runs := sent()
			caughtUp(t, e, source)
			t.Logf("%d keys, %d runs of traffic", same(t, source, target, known), runs)
		})
	}
}

// taken is a snapshot's name that a directory has, so that it cannot be saved.
const taken = "taken.rdb"

// unsaved has a server fail to save, and refuse writes after that.
func unsaved(t *testing.T, c *server.Client) {
	t.Helper()
	for _, args := range [][]any{{"CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"}, {"CONFIG", "SET", "save", "1000 1000"}, {"BGSAVE"}} {
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() (bool, string) {
		info, err := c.Info(t.Context(), "persistence")
		if err != nil {
			t.Fatal(err)
		}
		return info["rdb_last_bgsave_status"] == "err", info["rdb_last_bgsave_status"]
	})
}

// busy has a server run a script without end.
func busy(t *testing.T, c *server.Client) {
	t.Helper()
	if _, err := c.Do(t.Context(), "CONFIG", "SET", "lua-time-limit", "20"); err != nil {
		t.Fatal(err)
	}
	other, err := server.Dial(t.Context(), c.Endpoint(), "")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = other.Do(t.Context(), "EVAL", "while true do end", "0") // killed by SCRIPT KILL
	}()
	t.Cleanup(func() {
		_ = other.Close()
		<-ended
	})
}

// What waiting would not mend ends the engine, by name.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, tt := range some(2, []struct{ version, rules, want string }{
		{"redis-7.0", "-restore", "RESTORE"}, {"valkey-9.1", "-lpush", ""}, {"redis-7.0", "resetkeys ~godwit:* ~key:*", "list:"},
		{"redis-6.0", "-lpush", ""}, {"redis-8.6", "-evalsha", "EVALSHA"}, {"redis-7.0", ">other <secret", "WRONGPASS"},
	}) {
		t.Run(tt.version+" "+tt.rules, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, tt.version, sandbox.Options{})
			target := sandboxtest.Cluster(t, tt.version, sandbox.ClusterOptions{})
			rules := []any{"ACL", "SETUSER", "mover", "on", ">secret", "~*", "+@all"}
			if tt.version != "redis-6.0" {
				rules = append(rules, "&*")
			}
			for word := range strings.FieldsSeq(tt.rules) {
				rules = append(rules, word)
			}
			for _, n := range target.Nodes() {
				if _, err := sandboxtest.Client(t, n).Do(t.Context(), rules...); err != nil {
					t.Fatal(err)
				}
			}
			client := sandboxtest.Client(t, source)
			for i := range 100 {
				if _, err := client.Do(t.Context(), "SET", fmt.Sprint("key:", i), i); err != nil {
					t.Fatal(err)
				}
			}
			c := configure(t, source, target)
			c.Target.Username, c.Target.Password = "mover", "secret"
			e := New(c)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- e.Run(ctx) }()
			pushing := background(t, func(ctx context.Context, n uint64) error {
				_, err := client.Do(ctx, "LPUSH", fmt.Sprint("list:", n%1000), n)
				return err
			})
			defer pushing()
			err := <-done
			var hinted interface{ HintText() string }
			if err == nil || !errors.As(err, &hinted) || hinted.HintText() == "" {
				t.Fatalf("%v has no hint", err)
			}
			t.Logf("%v\n%s", err, hinted.HintText())
			var refused *CommandError
			switch {
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("%v does not name %s", err, tt.want)
			case tt.want == "" && (!errors.As(err, &refused) || !strings.EqualFold(refused.Command, "lpush") || !strings.HasPrefix(string(refused.Key), "list:")):
				t.Errorf("%v does not name LPUSH and the key", err)
			}
		})
	}
}
