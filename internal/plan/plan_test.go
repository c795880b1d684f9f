package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/server"
	"godwit/internal/topology"
)

// node is a healthy primary that lets us do everything.
func node(address string, product server.Product, major, minor, rdb int) topology.Node {
	n := topology.Node{
		URL:      "redis://" + address,
		Endpoint: server.Endpoint{Network: "tcp", Address: address},
		RunID:    "run-id-of-" + address,
		Version:  server.Version{Product: product, Major: major, Minor: minor},
		Mode:     topology.Standalone,
		Replication: topology.Replication{
			Role:    topology.Primary,
			Backlog: topology.Backlog{Size: 1 << 20},
		},
		RDBVersion: rdb,
		Memory:     topology.Memory{Used: 100 << 20, System: 16 << 30},
		Settings: topology.Settings{
			"databases": "16", "replica-read-only": "yes", "min-replicas-to-write": "0", "min-replicas-max-lag": "10",
			"repl-timeout": "60", "save": "", "client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
		},
		Permissions: topology.Permissions{},
		Route:       netip.MustParseAddr("10.0.0.9"),
		SeenFrom:    netip.MustParseAddrPort("10.0.0.9:50000"),
	}
	for _, c := range []topology.Command{
		topology.Info, topology.Psync, topology.Replconf, topology.ReplicaOf, topology.Failover,
		topology.ConfigGet, topology.ConfigSet, topology.ClientList, topology.ClientKill, topology.ACLSetUser, topology.Select, topology.Set, topology.Del,
	} {
		n.Permissions[c] = topology.Allowed
	}
	return n
}

func redis60(address string) topology.Node {
	n := node(address, server.Redis, 6, 0, 9)
	n.Permissions[topology.Failover] = topology.Missing
	return n
}
func redis70(address string) topology.Node  { return node(address, server.Redis, 7, 0, 10) }
func redis80(address string) topology.Node  { return node(address, server.Redis, 8, 0, 12) }
func redis86(address string) topology.Node  { return node(address, server.Redis, 8, 6, 13) }
func valkey81(address string) topology.Node { return node(address, server.Valkey, 8, 1, 11) }
func valkey91(address string) topology.Node { return node(address, server.Valkey, 9, 1, 80) }
func redict73(address string) topology.Node { return node(address, server.Redict, 7, 3, 12) }

const (
	from = "10.0.0.1:6379"
	to   = "10.0.0.2:6379"
)

func healthy() (Facts, Wants) {
	source := redis70(from)
	source.DBs = []topology.DB{{Number: 0, Keys: 1_234_567, Expires: 10}}
	return Facts{Source: source, Target: redis70(to)},
		Wants{Name: "orders", MaxPause: time.Second, RollbackWindow: -1, SpoolMemory: 64 << 20, SpoolDisk: 16 << 30}
}

// fromCluster makes the source a cluster of three shards of a version.
func fromCluster(f *Facts, of func(address string) topology.Node) {
	f.Sources, f.SourceCluster = threeShards("10.0.9", of)
	for i := range f.Sources {
		f.Sources[i].DBs = []topology.DB{{Keys: 100_000, Expires: 5}}
	}
	f.Shards = []topology.Node{f.Target}
	f.Source, f.Target = topology.Node{}, topology.Node{}
}

// several makes the source these servers.
func (f *Facts) several(servers ...topology.Node) {
	f.Sources, f.Shards = servers, []topology.Node{f.Target}
	f.Source, f.Target = topology.Node{}, topology.Node{}
}

// clustered makes the target a cluster of three shards of a version.
func clustered(f *Facts, of func(address string) topology.Node) {
	f.Target = topology.Node{}
	f.Shards, f.Cluster = threeShards("10.0.1", of)
}

func threeShards(network string, of func(address string) topology.Node) (shards []topology.Node, c *topology.ClusterMap) {
	var nodes []topology.ClusterNode
	for i, first := range []uint16{0, 5461, 10923} {
		address := fmt.Sprintf("%s.%d:6379", network, i+1)
		n := of(address)
		n.Mode = topology.Cluster
		shards = append(shards, n)
		nodes = append(nodes, topology.ClusterNode{
			ID: address, Address: address, Role: topology.Primary,
			Slots: []topology.SlotRange{{First: first, Last: []uint16{5460, 10922, 16383}[i]}},
		})
	}
	return shards, topology.NewClusterMap(nodes, nil)
}

func codes(findings []Finding) []string {
	var codes []string
	for _, f := range findings {
		codes = append(codes, f.Code)
	}
	return codes
}

func TestHealthyPlan(t *testing.T) {
	p := Make(healthy())
	if p.Refused() || len(p.Warnings) > 0 || len(p.Notes) > 0 {
		t.Errorf("findings where all is well: %+v %+v %+v", p.Blockers, p.Warnings, p.Notes)
	}
	if p.Engine != Relay || p.Method != Failover || !p.WayBack || p.WayBackReason != "until godwit complete" {
		t.Errorf("engine %s, method %s, way back %v: %s", p.Engine, p.Method, p.WayBack, p.WayBackReason)
	}
	if p.Sizes.Keys != 1_234_567 || p.Sizes.Expires != 10 || p.EstimatedSeconds < 6 || p.EstimatedSeconds > 7 {
		t.Errorf("sizes %+v, %f s", p.Sizes, p.EstimatedSeconds)
	}
	var sent []string
	for _, s := range p.Steps {
		sent = append(sent, s.Phase+" "+s.Server+" "+s.Command)
	}
	want := []string{
		"copying godwit (listens)",
		"copying target CONFIG SET masterauth ***",
		"copying target REPLICAOF 10.0.0.9 PORT",
		"copying source PSYNC ? -1",
		"copying target (loads the snapshot)",
		"following source REPLCONF ACK offset",
		"switching source CONFIG SET masterauth ***",
		"switching target INFO replication",
		"switching source FAILOVER TO 10.0.0.9 PORT TIMEOUT 1000",
		"switching target INFO replication",
		"switching source (demotes itself: PSYNC replid offset FAILOVER)",
		"switching target REPLICAOF NO ONE",
		"switching target PSYNC replid offset",
		"switching source CLIENT KILL TYPE normal",
		"switched godwit (godwit rollback)",
		"completed source REPLICAOF 10.0.0.2 6379",
		"completed godwit CONFIG SET masterauth ''",
	}
	if !slices.Equal(sent, want) {
		t.Errorf("steps:\n%s\nwant:\n%s", strings.Join(sent, "\n"), strings.Join(want, "\n"))
	}
}

func TestVerifySteps(t *testing.T) {
	f, w := healthy()
	w.Verify = true
	for _, test := range []struct {
		change func(*Facts, *Wants)
		want   Comparison
		steps  []string
	}{
		{func(*Facts, *Wants) {}, Comparison{Method: "snapshot", BeforeCutover: true},
			[]string{"source REPLCONF ACK offset", "source PSYNC ? -1", "target PSYNC ? -1", "godwit (compares)"}},
		{func(f *Facts, _ *Wants) { f.Target.Settings["repl-diskless-sync-delay"] = "5" }, Comparison{Method: "snapshot", BeforeCutover: true},
			[]string{"source REPLCONF ACK offset", "target CONFIG SET repl-diskless-sync-delay 0", "source PSYNC ? -1", "target PSYNC ? -1", "target CONFIG SET repl-diskless-sync-delay 5", "godwit (compares)"}},
		{deny("target", topology.Psync), Comparison{Method: "scan", Why: "the target: PSYNC is not permitted to user default", BeforeCutover: true},
			[]string{"source REPLCONF ACK offset", "source SCAN, DUMP", "target SCAN, DUMP", "godwit (compares)"}},
		{func(f *Facts, _ *Wants) {
			clustered(f, redis70)
			f.Shards[2].Settings["repl-diskless-sync-delay"] = "5"
		}, Comparison{Method: "snapshot", BeforeCutover: true},
			[]string{"target CONFIG SET notify-keyspace-events", "target EVALSHA", "source REPLCONF ACK offset", "target CONFIG SET repl-diskless-sync-delay 0",
				"source PSYNC ? -1", "target PSYNC ? -1", "target CONFIG SET repl-diskless-sync-delay …", "godwit (compares)"}},
		{func(f *Facts, _ *Wants) { f.Shards[1].Permissions[topology.Psync] = topology.Denied },
			Comparison{Method: "scan", Why: "the shard 10.0.1.2:6379: PSYNC is not permitted to user default", BeforeCutover: true},
			[]string{"target CONFIG SET notify-keyspace-events", "target EVALSHA", "source REPLCONF ACK offset", "source SCAN, DUMP", "target SCAN, DUMP", "godwit (compares)"}},
	} {
		test.change(&f, &w)
		p := Make(f, w)
		var sent []string
		for _, s := range p.Steps {
			if s.Phase == following {
				sent = append(sent, s.Server+" "+s.Command)
			}
		}
		if !slices.Equal(sent, test.steps) || p.Verify != test.want {
			t.Errorf("%+v, steps:\n%s\nwant %+v:\n%s", p.Verify, strings.Join(sent, "\n"), test.want, strings.Join(test.steps, "\n"))
		}
	}
}

func TestFenceSteps(t *testing.T) {
	f, w := healthy()
	f.Source = redis60(from)
	f.Source.Settings["min-replicas-to-write"] = "2"
	f.Source.MasterauthSet = true
	f.Listener = Listener{SourceAddress: "10.9.9.9:7777", TargetAddress: "10.0.0.9:7777"}
	w.NoKill = true
	p := Make(f, w)
	if p.Method != Fence {
		t.Fatalf("method %s", p.Method)
	}
	var sent []string
	for _, s := range p.Steps {
		if s.Phase == switching {
			sent = append(sent, s.Server+" "+s.Command)
		}
	}
	want := []string{
		"target INFO replication",
		"source CONFIG SET min-replicas-to-write 1073741824",
		"target INFO replication",
		"source REPLICAOF 10.9.9.9 7777",
		"target REPLICAOF NO ONE",
		"target PSYNC replid offset",
		"source CONFIG SET min-replicas-to-write 2",
	}
	if !slices.Equal(sent, want) {
		t.Errorf("steps:\n%s\nwant:\n%s", strings.Join(sent, "\n"), strings.Join(want, "\n"))
	}
}

func TestCopyOnlyNeverSwitches(t *testing.T) {
	f, w := healthy()
	w.CopyOnly = true
	p := Make(f, w)
	if p.WayBack || p.Refused() {
		t.Errorf("way back %v, blockers %v", p.WayBack, p.Blockers)
	}
	for _, s := range p.Steps {
		if s.Phase != copying && s.Phase != following {
			t.Errorf("step %+v", s)
		}
	}
}

func TestRefusedError(t *testing.T) {
	f, w := healthy()
	f.Target.DBs = []topology.DB{{Number: 3, Keys: 12_345}}
	f.Target.Settings["replica-read-only"] = "no"
	err := &RefusedError{Plan: Make(f, w)}
	if want := "the plan has 2 blockers: the target holds 12,345 keys in db 3, which the copy would wipe; replica-read-only is no at the target"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error: %s", err)
	}
	if lines := strings.Split(err.HintText(), "\n"); len(lines) != 2 || lines[1] != "redis-cli -h 10.0.0.2 -p 6379 CONFIG SET replica-read-only yes" {
		t.Errorf("hint: %s", err.HintText())
	}
}

func TestPlanHoldsNoPassword(t *testing.T) {
	f, w := healthy()
	for _, n := range []*topology.Node{&f.Source, &f.Target} {
		n.Endpoint.Username, n.Endpoint.Password = "mover", "hush-hush"
		n.Masterauth, n.MasterauthSet = "hush-hush", true
		n.Permissions[topology.ConfigSet] = topology.Denied
	}
	p := Make(f, w)
	var text strings.Builder
	if err := p.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	object, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{text.String(), string(object)} {
		if strings.Contains(printed, "hush") {
			t.Errorf("a password in: %s", printed)
		}
		if !strings.Contains(printed, "--user mover --askpass ACL SETUSER mover '+config|set'") {
			t.Errorf("no hint in: %s", printed)
		}
	}
	if strings.Contains(string(object), "null") {
		t.Errorf("null in %s", object)
	}
}

func TestText(t *testing.T) {
	f, w := healthy()
	f.Target = redis80(to)
	f.Target.Memory.Max = 2 << 30
	var text strings.Builder
	if err := Make(f, w).WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Migration orders\n",
		"  source  redis://10.0.0.1:6379  Redis 7.0.0  primary  1,234,567 keys  100.0 MiB\n",
		"  target  redis://10.0.0.2:6379  Redis 8.0.0  primary  0 keys          100.0 MiB of 2.0 GiB\n",
		"  copy      1,234,567 keys (10 with a TTL) in 1 db; 100.0 MiB of memory; about 6s\n",
		"  way back  yes, until godwit complete, at the latest until a command that has no equal at the source",
		"\nWarnings\n  - the way back has a limit: ",
		"\nSteps\n  copying\n    1  godwit  (listens) ",
		"\nPossible, with 1 warning. Nothing was changed.\n",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %q in:\n%s", line, text.String())
		}
	}
}
