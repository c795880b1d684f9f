package digest_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// A replica has the digests of its primary, with what it got in its snapshot and
// with what it got as commands, though it encodes at other limits, links a vector
// set's elements by other chances, and its clients have counted its HyperLogLogs.
func TestReplicaIsEqual(t *testing.T) {
	for _, pair := range [][2]string{{"redis-6.0", "redis-6.0"}, {"redis-7.0", "valkey-8.1"}, {"redis-8.0", "redis-8.6"}, {"valkey-9.1", "valkey-9.1"}} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			o := dataset.Options{Keys: 700, Seed: 8, VectorSets: true}
			primary := filled(t, pair[0], o)
			replica := sandboxtest.Start(t, pair[1], sandbox.Options{Args: []string{
				"--hash-max-ziplist-entries 3 --zset-max-ziplist-entries 2 --list-max-ziplist-size 4 --set-max-intset-entries 3 --stream-node-max-entries 7 --hll-sparse-max-bytes 30",
			}})
			p, r := sandboxtest.Client(t, primary), sandboxtest.Client(t, replica)
			do(t, r, "REPLICAOF", "127.0.0.1", primary.Port())
			caughtUp(t, p, r)
			o.Prefix = "later:"
			if err := dataset.Fill(t.Context(), primary.Endpoint(), o); err != nil {
				t.Fatal(err)
			}
			writeOdd(t, p, pair[0])
			caughtUp(t, p, r)
			// Counting caches the count, at a replica too.
			do(t, r, "PFCOUNT", "odd:hll")

			options := digest.Options{Seed: seed, NoEntriesRead: true, NoEmptyConsumers: true, Formats: []rdb.Format{subjects()[pair[0]], subjects()[pair[1]]}}
			want := digested(t, bytes.NewReader(saved(t, primary)), options)
			mustBeEqual(t, digested(t, bytes.NewReader(saved(t, replica)), options), want)
			if len(want) < 2*o.Keys {
				t.Errorf("%d entries", len(want))
			}
			if get := do(t, p, "GET", "odd:hll"); get == do(t, r, "GET", "odd:hll") {
				t.Error("both have the HyperLogLog in the same bytes: nothing is shown")
			}
		})
	}
}

func writeOdd(t *testing.T, c *server.Client, name string) {
	t.Helper()
	for i := range 40 {
		do(t, c, "PFADD", "odd:hll", fmt.Sprint("element ", i))
	}
	do(t, c, "ZADD", "odd:zeros", "-0.0", "a", "0", "b", "-0.0", "a long member that no listpack holds, "+fmt.Sprintf("%0100d", 0))
	do(t, c, "XADD", "odd:stream", "1-1", "a", "b")
	do(t, c, "XADD", "odd:stream", "2-1", "a", "b")
	do(t, c, "XGROUP", "CREATE", "odd:stream", "group", "0")
	do(t, c, "XREADGROUP", "GROUP", "group", "reader", "COUNT", 1, "STREAMS", "odd:stream", ">")
	do(t, c, "XREADGROUP", "GROUP", "group", "idle", "COUNT", 5, "STREAMS", "odd:stream", "0")
	if name != "redis-8.0" {
		return
	}
	for _, quantisation := range []string{"NOQUANT", "Q8", "BIN"} {
		key := "odd:vectors:" + quantisation
		for i := range 60 {
			v := []any{"VADD", key, "VALUES", 4, i * i % 17, 1 + i%5, -i, 0.1 * float64(i), fmt.Sprint("element ", i), quantisation}
			if i%3 == 0 {
				v = append(v, "SETATTR", fmt.Sprintf(`{"n":%d}`, i))
			}
			do(t, c, v...)
		}
		do(t, c, "VREM", key, "element 7")
		do(t, c, "VSETATTR", key, "element 8", `{"other":1}`)
		do(t, c, "VSETATTR", key, "element 9", "")
	}
	for i := range 20 {
		do(t, c, "VADD", "odd:vectors:reduced", "REDUCE", 2, "VALUES", 4, i, 1, 2, 3, fmt.Sprint(i))
	}
}

// caughtUp waits until a replica has all that its primary has sent.
func caughtUp(t *testing.T, primary, replica *server.Client) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		p, err := primary.Info(t.Context(), "replication")
		must(t, err)
		r, err := replica.Info(t.Context(), "replication")
		must(t, err)
		if r["master_link_status"] == "up" && r["master_repl_offset"] == p["master_repl_offset"] {
			return
		}
	}
	t.Fatal("the replica has not caught up")
}

// Vector sets differ where an element, its vector or its attributes do.
func TestVectorSetsDiffer(t *testing.T) {
	c := sandboxtest.Client(t, sandboxtest.Start(t, "redis-8.6", sandbox.Options{}))
	p := digest.NewPayloads(digest.Options{Seed: seed})
	sum := func(key string) digest.Value {
		payload, _ := do(t, c, "DUMP", key).(string)
		v, err := p.Sum([]byte(payload))
		must(t, err)
		if v.Type != "vectorset" {
			t.Errorf("the type is %q", v.Type)
		}
		return v
	}
	add := func(key string, order []int, quantisation string) {
		for _, i := range order {
			do(t, c, "VADD", key, "VALUES", 2, i, 1, fmt.Sprint("element ", i), quantisation)
		}
	}
	for _, quantisation := range []string{"NOQUANT", "Q8", "BIN"} {
		do(t, c, "FLUSHALL")
		add("a", []int{1, 2, 3, 4, 5}, quantisation)
		add("b", []int{5, 3, 1, 2, 4}, quantisation)
		want := sum("a")
		if got := sum("b"); got != want {
			t.Errorf("%s: in another order %+v, want %+v", quantisation, got, want)
		}
		for what, command := range map[string][]any{
			"an element less": {"VREM", "b", "element 2"},
			"an attribute":    {"VSETATTR", "b", "element 2", `{"a":1}`},
			"another vector":  {"VADD", "b", "VALUES", 2, -5, 1, "element 2", quantisation},
		} {
			do(t, c, "DEL", "b")
			add("b", []int{5, 3, 1, 2, 4}, quantisation)
			do(t, c, command...)
			if sum("b") == want {
				t.Errorf("%s: %s makes no difference", quantisation, what)
			}
		}
	}
}
