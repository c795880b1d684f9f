package cutover_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/cutover"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// Slots of a fenced cluster are moved at once, into every shard and after a failover, by
// whomever its nodes connect; its clients do not write, and it is left as it was.
func TestFenceAllowsAtomicMoves(t *testing.T) {
	t.Parallel()
	for _, by := range []struct {
		name   string
		set    []any // by whom the nodes connect
		lines  []string
		shared string // password of the default user
	}{
		{name: "as the default user"},
		{name: "by the default user's password", shared: "secret"},
		{
			name:  "as a user of their own",
			lines: []string{"repl on >replicates ~* &* -@all +@write +select +psync +replconf +ping +cluster|syncslots"},
			set:   []any{"CONFIG", "SET", "masteruser", "repl", "masterauth", "replicates"},
		},
	} {
		t.Run(by.name, func(t *testing.T) {
			t.Parallel()
			cluster := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{Shards: 2, Replicas: 1, Password: by.shared})
			f := &movable{T: t, cluster: cluster}
			for _, n := range cluster.Nodes() {
				c := sandboxtest.Client(t, n)
				f.nodes = append(f.nodes, c)
				for _, line := range by.lines {
					var args []any
					for word := range strings.FieldsSeq("ACL SETUSER " + line) {
						args = append(args, word)
					}
					f.do(c, args...)
				}
				if by.set != nil {
					f.do(c, by.set...)
				}
			}
			before := f.state()
			fence := &cutover.ACLFence{Nodes: f.nodes, User: "godwit:test", Cluster: true}
			if err := fence.Prepare(t.Context(), "password"); err != nil {
				t.Fatal(err)
			}
			raise := func(password string) {
				t.Helper()
				if err := fence.Set(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := fence.AllowMoves(t.Context(), password); err != nil {
					t.Fatal(err)
				}
			}
			f.write("OK")
			raise("password")
			f.write("NOPERM")
			f.move(1)
			if err := fence.EndMoves(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := cluster.MoveAtomically(t.Context(), sandbox.SlotRange{First: 0, Last: 9}, 0); err == nil {
				t.Error("slots were moved after the end of that")
			}
			raise("password") // as the keeper does
			f.move(0)
			// One that was a primary connects as a replica before it is looked at again.
			if _, err := cluster.Failover(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			f.follow()
			raise("password")
			f.move(1)
			// The next process has another password, and the rules from the journal.
			journal, err := json.Marshal(fence.Rules)
			if err != nil || strings.Contains(string(journal), "secret") || strings.Contains(string(journal), "replicates") {
				t.Fatalf("%s: %v", journal, err)
			}
			fence = &cutover.ACLFence{Nodes: f.nodes, User: fence.User, Cluster: true}
			if err := json.Unmarshal(journal, &fence.Rules); err != nil {
				t.Fatal(err)
			}
			if err := fence.Prepare(t.Context(), "another"); err != nil {
				t.Fatal(err)
			}
			raise("another")
			f.move(0)
			f.write("NOPERM")
			f.follow()
			if err := fence.Lift(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.move(1)
			if err := fence.Forget(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.follow()
			f.move(0)
			f.write("OK")
			if after := f.state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// movable is a cluster whose slots are moved.
type movable struct {
	*testing.T

	cluster *sandbox.Cluster
	nodes   []*server.Client
}

func (f *movable) do(c *server.Client, args ...any) any {
	f.Helper()
	reply, err := c.Do(f.Context(), args...)
	if err != nil {
		f.Fatal(err)
	}
	return reply
}

// state is what every node has of users and links.
func (f *movable) state() string {
	f.Helper()
	var b strings.Builder
	for _, c := range f.nodes {
		list := f.do(c, "ACL", "LIST").([]any)
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		fmt.Fprintln(&b, list, f.do(c, "CONFIG", "GET", "masteruser"), f.do(c, "CONFIG", "GET", "masterauth"))
	}
	return b.String()
}

// key is of a slot that is moved.
const key = "{06S}:moves" // slot 0

// write tries to change the key at the shard that has it, as the default user.
func (f *movable) write(want string) {
	f.Helper()
	at, err := f.cluster.Owner(f.Context(), 0)
	if err != nil {
		f.Fatal(err)
	}
	n, err := f.cluster.Primary(f.Context(), at)
	if err != nil {
		f.Fatal(err)
	}
	_, err = sandboxtest.Client(f.T, n).Do(f.Context(), "INCR", key)
	if want == "OK" && err != nil || want != "OK" && !server.IsCode(err, want) {
		f.Errorf("INCR: %v, want %s", err, want)
	}
}

func (f *movable) move(to int) {
	f.Helper()
	if err := f.cluster.MoveAtomically(f.Context(), sandbox.SlotRange{First: 0, Last: 9}, to); err != nil {
		f.Fatal(err)
	}
}

// follow waits until every replica has its primary's data.
func (f *movable) follow() {
	f.Helper()
	for _, c := range f.nodes {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			info, err := c.Info(f.Context(), "replication")
			if err == nil && (info["role"] == "master" || info["master_link_status"] == "up") {
				break
			}
			if time.Now().After(deadline) {
				f.Fatalf("%s: %v, %v", c.Endpoint().Address, info, err)
			}
		}
	}
}

// Where godwit may not ask or change by whom nodes connect, it fences them nevertheless, and
// says so.
func TestFenceWithoutConfig(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "valkey-9.1", sandbox.Options{})
	admin := sandboxtest.Client(t, s)
	for _, denied := range []string{"-config|get", "-config|set"} {
		if _, err := admin.Do(t.Context(), "ACL", "SETUSER", "provider", "reset", "on", ">p", "allkeys", "allchannels", "+@all", denied); err != nil {
			t.Fatal(err)
		}
		e := s.Endpoint()
		e.Username, e.Password = "provider", "p"
		c, err := server.Dial(t.Context(), e, "")
		if err != nil {
			t.Fatal(err)
		}
		fence := &cutover.ACLFence{Nodes: []*server.Client{c}, User: "godwit:test", Cluster: true}
		if err := errors.Join(fence.Prepare(t.Context(), "password"), fence.Set(t.Context())); err != nil {
			t.Fatalf("%s: %v", denied, err)
		}
		if err := fence.AllowMoves(t.Context(), "password"); !server.IsCode(err, "NOPERM") {
			t.Errorf("%s: %v", denied, err)
		}
		if _, err := admin.Do(t.Context(), "SET", "k", "v"); !server.IsCode(err, "NOPERM") {
			t.Errorf("%s: SET: %v", denied, err)
		}
		if err := errors.Join(fence.Lift(t.Context()), fence.Forget(t.Context()), c.Close()); err != nil {
			t.Errorf("%s: %v", denied, err)
		}
	}
}

// What earlier versions noted is read.
func TestRulesOfEarlierVersions(t *testing.T) {
	t.Parallel()
	var n cutover.NodeRules
	err := json.Unmarshal([]byte(`[{"user":"default","commands":["+@all"]}]`), &n)
	if err != nil || len(n.Users) != 1 || n.Users[0].User != "default" || n.Link != nil {
		t.Errorf("%+v, %v", n, err)
	}
	if got := n.Restore(); len(got) != 1 || strings.Join(got[0], " ") != "ACL SETUSER default +@all" {
		t.Errorf("%q", got)
	}
}
