package topology_test

import (
	"maps"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/topology"
)

func TestPermissions(t *testing.T) {
	type permissions = topology.Permissions
	const allowed, denied, unknown = topology.Allowed, topology.Denied, topology.Unknown
	replicaOnly := []any{"+psync", "+replconf", "+ping", "+info"}
	tests := []struct {
		name    string
		servers []string
		rules   []any
		want    permissions
	}{
		{
			name:    "all but a few, with DRYRUN",
			servers: []string{"redis-7.0", "valkey-8.1"},
			rules:   []any{"+@all", "-psync", "-config|set", "-failover", "-client|kill"},
			want: permissions{
				topology.Info: allowed, topology.Psync: denied, topology.Replconf: allowed, topology.ReplicaOf: allowed, topology.Failover: denied,
				topology.ConfigGet: allowed, topology.ConfigSet: denied, topology.ClientKill: denied, topology.ClientList: allowed, topology.ACLSetUser: allowed,
			},
		},
		{
			name:    "no ACL command: MULTI tells, except for PSYNC, which it does not take",
			servers: []string{"redis-7.0", "valkey-8.1"},
			rules:   []any{"+@all", "-acl", "-config", "-replicaof"},
			want: permissions{
				topology.Info: allowed, topology.Psync: unknown, topology.Replconf: allowed, topology.ReplicaOf: denied, topology.Failover: allowed,
				topology.ConfigGet: denied, topology.ConfigSet: denied, topology.ClientKill: allowed, topology.ClientList: allowed, topology.ACLSetUser: denied,
			},
		},
		{
			name:    "MULTI without DISCARD",
			servers: []string{"redis-7.0", "valkey-8.1"},
			rules:   append([]any{"+multi", "+client|kill"}, replicaOnly...),
			want: permissions{
				topology.Info: allowed, topology.Psync: unknown, topology.Replconf: allowed, topology.ReplicaOf: denied, topology.Failover: denied,
				topology.ConfigGet: denied, topology.ConfigSet: denied, topology.ClientKill: allowed, topology.ClientList: denied, topology.ACLSetUser: denied,
			},
		},
		{
			name:    "a replica's user: neither DRYRUN nor MULTI",
			servers: []string{"redis-7.0", "valkey-8.1"},
			rules:   replicaOnly,
			want: permissions{
				topology.Info: allowed, topology.ConfigGet: denied, topology.ClientList: denied,
			},
		},
		{
			name:    "before 7.0, MULTI takes PSYNC too",
			servers: []string{"redis-6.0"},
			rules:   []any{"+@all", "-psync", "-config", "+config|get", "-client", "+client|list", "+client|id", "+client|setname"},
			want: permissions{
				topology.Info: allowed, topology.Psync: denied, topology.Replconf: allowed, topology.ReplicaOf: allowed, topology.Failover: topology.Missing,
				topology.ConfigGet: allowed, topology.ConfigSet: denied, topology.ClientKill: denied, topology.ClientList: allowed, topology.ACLSetUser: allowed,
			},
		},
		{
			name:    "before 7.0, a replica's user",
			servers: []string{"redis-6.0"},
			rules:   append([]any{"+multi"}, replicaOnly...),
			want: permissions{
				topology.Info: allowed, topology.Psync: allowed, topology.Replconf: allowed, topology.ReplicaOf: denied, topology.Failover: topology.Missing,
				topology.ConfigGet: denied, topology.ConfigSet: denied, topology.ClientKill: denied, topology.ClientList: denied, topology.ACLSetUser: denied,
			},
		},
	}
	for _, test := range tests {
		for _, name := range test.servers {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := sandboxtest.Start(t, name, sandbox.Options{})
				do(t, sandboxtest.Client(t, s), append([]any{"ACL", "SETUSER", "mover", "on", ">secret", "~*"}, test.rules...)...)
				got := inspect(t, as(s, "mover", "secret")).Permissions
				delete(got, topology.Restore) // asked for the probes alone
				if !maps.Equal(got, test.want) {
					t.Errorf("found %v\nwant  %v", got, test.want)
				}
				n := inspect(t, s.Endpoint())
				if n.Replication.Role != topology.Primary || n.Replication.Backlog.Active {
					t.Errorf("a command was run, not only asked about: %+v", n.Replication)
				}
			})
		}
	}
}

// A shard with several dbs is asked whether it takes keys of godwit's own.
func TestPermissionsOfAShardWithDBs(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{Shards: 2, Args: []string{"--cluster-databases 4"}})
	const allowed, denied = topology.Allowed, topology.Denied
	for i, tt := range []struct {
		rules []any
		want  topology.Permissions
	}{
		{[]any{"+@all", "~app:*"}, topology.Permissions{topology.Select: allowed, topology.Set: denied, topology.Del: denied}},
		{[]any{"+@all", "-select", "-@write", "+set", "~godwit:*"}, topology.Permissions{topology.Select: denied, topology.Set: allowed, topology.Del: denied}},
		{[]any{"+config|get", "+acl", "+select", "+set", "+del", "~app:*", "~godwit:*"}, topology.Permissions{topology.Select: allowed, topology.Set: allowed, topology.Del: allowed}},
	} {
		for _, s := range cluster.Nodes() {
			do(t, sandboxtest.Client(t, s), append([]any{"ACL", "SETUSER", "mover", "reset", "on", ">secret", "+info", "+command", "+ping"}, tt.rules...)...)
			n := inspect(t, as(s, "mover", "secret"))
			for command, want := range tt.want {
				if got := n.Permissions.Of(command); got != want {
					t.Errorf("%d: %s at %s is %s, not %s", i, command, s.Endpoint().Address, got, want)
				}
			}
			for db, keys := range n.DBs {
				t.Errorf("%d: %s has %v in db %d: it was not only asked", i, s.Endpoint().Address, keys, db)
			}
		}
	}
}

func TestRenamedCommands(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "valkey-8.1"} {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{Args: []string{
				"--rename-command PSYNC hidden-psync", `--rename-command REPLICAOF ""`, "--rename-command CONFIG hidden-config",
			}})
			n := inspect(t, s.Endpoint())
			for _, command := range []topology.Command{topology.Psync, topology.ReplicaOf, topology.ConfigGet, topology.ConfigSet} {
				if got := n.Permissions.Of(command); got != topology.Missing {
					t.Errorf("%s is %s", command, got)
				}
			}
			if n.Settings != nil {
				t.Errorf("settings %v", n.Settings)
			}
			if got := n.Permissions.Of(topology.Replconf); got != topology.Allowed {
				t.Errorf("REPLCONF is %s", got)
			}
		})
	}
}
