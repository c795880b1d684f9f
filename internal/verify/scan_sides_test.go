package verify_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// clusterOf starts a cluster, each shard of which serves as many slots, and returns
// it with what finds the one that serves a slot.
func clusterOf(t *testing.T, name string, shards int) (verify.Side, []*server.Client) {
	t.Helper()
	const slots = 16384
	side := verify.Side{Slots: func(slot uint16) int { return int(slot) * shards / slots }}
	var clients []*server.Client
	var first *sandbox.Server
	for i := range shards {
		s := sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--cluster-enabled yes"}})
		c := sandboxtest.Client(t, s)
		do(t, c, "CLUSTER", "ADDSLOTSRANGE", (i*slots+shards-1)/shards, ((i+1)*slots+shards-1)/shards-1)
		do(t, c, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if first == nil {
			first = s
		} else {
			do(t, c, "CLUSTER", "MEET", "127.0.0.1", first.Port())
		}
		side.Name += s.Address() + " "
		side.Shards = append(side.Shards, s.Endpoint())
		clients = append(clients, c)
	}
	for _, c := range clients {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			info, ok := do(t, c, "CLUSTER", "INFO").(string)
			if ok && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", shards)) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the cluster does not come about: %s", info)
			}
		}
	}
	return side, clients
}

// sendEach sends a command about a key to the shard that takes it.
func sendEach(t *testing.T, clients []*server.Client, args ...any) {
	t.Helper()
	for _, c := range clients {
		if _, err := c.Do(t.Context(), args...); err == nil {
			return
		} else if !server.IsCode(err, "MOVED") {
			t.Fatal(err)
		}
	}
	t.Fatalf("no shard takes %v", args)
}

// Sides of several shards, each with other slots.
func TestScanOfClusters(t *testing.T) {
	t.Parallel()
	single := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	one := []*server.Client{sandboxtest.Client(t, single)}
	two, twoClients := clusterOf(t, "redis-7.0", 2)
	three, threeClients := clusterOf(t, "valkey-8.1", 3)
	for _, clients := range [][]*server.Client{one, twoClients, threeClients} {
		for i := range 2000 {
			sendEach(t, clients, "SET", fmt.Sprint("string:", i), i)
		}
		for i := range 200 {
			sendEach(t, clients, "ZADD", fmt.Sprintf("zset:{%d}", i%20), i, fmt.Sprint("member ", i))
		}
	}
	var want []string
	plant := func(kind verify.Kind, key string, clients [][]*server.Client, args ...any) {
		for _, c := range clients {
			sendEach(t, c, args...)
		}
		want = append(want, fmt.Sprintf("%s 0 %s", kind, key))
	}
	targets := [][]*server.Client{twoClients, threeClients}
	for i := range 20 {
		missing, changed, extra := fmt.Sprint("string:", i), fmt.Sprint("string:", 1000+i), fmt.Sprint("extra:", i)
		plant(verify.Missing, missing, targets, "DEL", missing)
		plant(verify.Changed, changed, targets, "APPEND", changed, "x")
		plant(verify.Extra, extra, targets, "SET", extra, i)
	}
	for _, tt := range []struct {
		name           string
		source, target verify.Side
		want           []string
	}{
		{"standalone to two", sideOf(single), two, want},
		{"standalone to three", sideOf(single), three, want},
		{"two to three", two, three, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := verify.Config{Source: tt.source, Target: tt.target, Options: verify.Options{Method: verify.Scan, Dir: t.TempDir()}}
			mustFind(t, compare(t, cfg), cfg.Options.Dir, tt.want...)
		})
	}
}

// Values that are read in pieces: equal ones, one element that differs in each
// type, and no DUMP of any.
func TestScanOfLargeValues(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	const elements = 10_000
	const grow = `
		for i = ARGV[1], ARGV[1] + 999 do
			local e = 'element ' .. i .. string.rep('.', 900)
			redis.call('RPUSH', KEYS[1] .. 'list', e)
			redis.call('SADD', KEYS[1] .. 'set', e)
			redis.call('HSET', KEYS[1] .. 'hash', e, i)
			redis.call('ZADD', KEYS[1] .. 'zset', i / 7, e)
			redis.call('XADD', KEYS[1] .. 'stream', i .. '-1', 'field', e)
		end
		redis.call('SET', KEYS[1] .. 'string', string.rep('0123456789', 1000000))`
	for _, c := range []*server.Client{from, to} {
		for _, name := range []string{"same:", "other:"} {
			for first := 1; first < elements; first += 1000 {
				do(t, c, "EVAL", grow, 1, name, first)
			}
		}
	}
	do(t, to, "LSET", "other:list", 6_000, "another")
	do(t, to, "SADD", "other:set", "one more")
	do(t, to, "HSET", "other:hash", "element 7"+strings.Repeat(".", 900), 8)
	do(t, to, "ZINCRBY", "other:zset", 1e-9, "element 7"+strings.Repeat(".", 900))
	do(t, to, "XDEL", "other:stream", "9999-1")
	do(t, to, "SETRANGE", "other:string", 9_999_999, "x")
	var want []string
	for _, typ := range []string{"list", "set", "hash", "zset", "stream", "string"} {
		want = append(want, "value 0 other:"+typ)
	}
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Method: verify.Scan, Dir: t.TempDir()}}
	mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
	for _, c := range []*server.Client{from, to} {
		if n := calls(t, c, "dump"); n != 0 {
			t.Errorf("%d large values were dumped", n)
		}
	}
}
