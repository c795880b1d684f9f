package shards_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/shards"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, endpoints ...server.Endpoint) *shards.Session {
	t.Helper()
	d, err := shards.Open(t.Context(), endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	s, err := d.Session(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func ask(t *testing.T, s *shards.Session, commands ...shards.Command) []any {
	t.Helper()
	replies, err := s.Ask(t.Context(), commands)
	if err != nil {
		t.Fatal(err)
	}
	return replies
}

// Each command finds its key's shard, and the replies come in the commands' order.
func TestAskACluster(t *testing.T) {
	c := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Replicas: 1})
	nobody := server.Endpoint{Network: "tcp", Address: "127.0.0.1:1"}
	s := open(t, nobody, c.Endpoints()[3]) // one that is gone, and a replica
	var sets, gets, adds, infos []shards.Command
	var want []any
	for i := range 100 {
		key, stream := fmt.Sprint("key", i), fmt.Sprint("stream", i)
		sets = append(sets, shards.Command{"SET", key, i})
		gets = append(gets, shards.Command{"GET", key})
		adds = append(adds, shards.Command{"XADD", stream, "1-1", "f", i})
		infos = append(infos, shards.Command{"XINFO", "STREAM", stream}, shards.Command{"MEMORY", "USAGE", key}, shards.Command{"OBJECT", "ENCODING", key})
		want = append(want, fmt.Sprint(i))
	}
	ask(t, s, sets...)
	ask(t, s, adds...)
	ask(t, s, infos...)
	if got := ask(t, s, gets...); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	var keys []string
	for shard := range 3 {
		err := s.Scan(t.Context(), shard, 10, func(batch []string) error {
			for _, key := range batch {
				if s.Owner(key) != shard {
					t.Errorf("%s is in shard %d, its owner is %d", key, shard, s.Owner(key))
				}
			}
			keys = append(keys, batch...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(keys) != 200 {
		t.Errorf("%d keys", len(keys))
	}
	if _, err := s.Ask(t.Context(), []shards.Command{{"GET", "stream0"}}); err == nil || !strings.Contains(err.Error(), "GET: WRONGTYPE") {
		t.Errorf("got %v", err)
	}
	if _, err := s.AskShard(t.Context(), (s.Owner("key0")+1)%3, []shards.Command{{"GET", "key0"}}); err == nil || !strings.Contains(err.Error(), "MOVED") {
		t.Errorf("got %v", err)
	}
}

func TestLocate(t *testing.T) {
	one, two := sandboxtest.Start(t, "redis-6.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-9.1", sandbox.Options{})
	s := open(t, one.Endpoint(), two.Endpoint())
	for shard, keys := range [][]string{{"a", "both"}, {"b", "both"}} {
		for _, key := range keys {
			if _, err := s.AskShard(t.Context(), shard, []shards.Command{{"SET", key, shard}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	twice, err := s.Locate(t.Context(), []string{"a", "b", "both", "none"})
	if err != nil || !slices.Equal(twice, []string{"both"}) {
		t.Errorf("twice: %v, %v", twice, err)
	}
	if got := ask(t, s, shards.Command{"GET", "b"}, shards.Command{"GET", "none"}, shards.Command{"GET", "a"}, shards.Command{"GET", "both"}); fmt.Sprint(got) != "[1 <nil> 0 0]" {
		t.Errorf("got %v", got)
	}
}

func TestRanges(t *testing.T) {
	asked := server.Endpoint{Network: "tcp", Address: "10.0.0.1:7000", Password: "hidden"}
	node := func(host any, port int64) []any { return []any{host, port, "id"} }
	ranges, err := shards.Ranges([]any{
		[]any{int64(0), int64(99), node("10.0.0.2", 7001), node("10.0.0.9", 7009)},
		[]any{int64(100), int64(16383), node("", 7002)},
		[]any{int64(5), int64(5), node(nil, 7003)},
	}, asked)
	want := "[{0 99 redis://10.0.0.2:7001} {100 16383 redis://10.0.0.1:7002} {5 5 redis://10.0.0.1:7003}]"
	var got []string
	for _, r := range ranges {
		got = append(got, fmt.Sprintf("{%d %d redis://%s}", r.First, r.Last, r.Primary.Address))
		if r.Primary.Password != "hidden" || r.Primary.Network != "tcp" {
			t.Errorf("%+v", r)
		}
	}
	if fmt.Sprint(got) != want || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	for name, bad := range map[string]any{
		"no list":      "OK",
		"no range":     []any{"x"},
		"too short":    []any{[]any{int64(0), int64(1)}},
		"no numbers":   []any{[]any{"0", "1", node("h", 1)}},
		"beyond":       []any{[]any{int64(0), int64(16384), node("h", 1)}},
		"below":        []any{[]any{int64(-1), int64(5), node("h", 1)}},
		"upside down":  []any{[]any{int64(6), int64(5), node("h", 1)}},
		"no node":      []any{[]any{int64(0), int64(5), "h"}},
		"port no port": []any{[]any{int64(0), int64(5), []any{"h", "1", "id"}}},
	} {
		if ranges, err := shards.Ranges(bad, asked); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, %v", name, ranges, err)
		}
	}
}
