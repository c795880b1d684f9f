package migrate_test

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/slot"
)

// shardByWord has this test's program be a rule, for so many servers.
const shardByWord = "shard-by"

// beRule answers each key by the number of its server, unless there is a file that the last
// argument names.
func beRule() {
	n, _ := strconv.Atoi(os.Args[2])
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if _, err := os.Stat(os.Args[len(os.Args)-1]); len(os.Args) > 3 && err == nil {
			fmt.Fprintln(os.Stderr, "it is broken")
			os.Exit(1)
		}
		question, encoded, _ := strings.Cut(in.Text(), " ")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			fmt.Println("no base64:", in.Text())
			continue
		}
		fmt.Println(question, byFNV(n)(string(key))+1)
	}
}

func byFNV(n int) func(string) int {
	return func(key string) int {
		h := fnv.New32a()
		_, _ = h.Write([]byte(key))
		return int(h.Sum32() % uint32(n))
	}
}

func byCRC32(n int) func(string) int {
	return func(key string) int { return int(crc32.ChecksumIEEE([]byte(key)) % uint32(n)) }
}

func byCRC16(n int) func(string) int {
	return func(key string) int { return int(slot.Checksum([]byte(key))) % n }
}

// divided are servers among which clients divide their keys by a rule.
type divided struct {
	*jointPair
	rule string
	of   func(key string) int
}

// divide is a migration from n servers.
func divide(t *testing.T, version string, rule string, n int, to *deployed) *divided {
	t.Helper()
	d := &divided{rule: rule}
	switch rule {
	case "crc32":
		d.of = byCRC32(n)
	case "crc16":
		d.of = byCRC16(n)
	default:
		d.of, d.rule = byFNV(n), fmt.Sprint(os.Args[0], " ", shardByWord, " ", n)
	}
	from := servers(t, version, n)
	d.jointPair = &jointPair{t: t, a: from, b: to, config: config(t, from.endpoints()[0], to.endpoints()[0])}
	d.config.Others, d.config.ShardBy, d.config.MaxPause = from.endpoints()[1:], d.rule, 10*time.Second
	d.fill(3000)
	return d
}

// fill gives each server keys of its own, of several types, some with a TTL, and one whose
// name is of bytes that are no text.
func (d *divided) fill(keys int) {
	d.t.Helper()
	commands := make([][][]any, len(d.a.servers))
	for i := range keys {
		key := fmt.Sprint("filled:", i)
		if i%10 == 9 {
			key = fmt.Sprint("{filled", i%7, "}\xff\n:", i)
		}
		var write []any
		switch i % 5 {
		case 0:
			write = []any{"SET", key, i}
		case 1:
			write = []any{"RPUSH", key, i, "b", "c"}
		case 2:
			write = []any{"HSET", key, "f", i, "g", 2}
		case 3:
			write = []any{"ZADD", key, i, "m", 2, "n"}
		case 4:
			write = []any{"SET", key, i, "EX", 10000}
		}
		of := d.of(key)
		commands[of] = append(commands[of], write)
	}
	for i, s := range d.a.servers {
		for _, write := range commands[i] {
			d.a.do(s, write...)
		}
	}
}

// load writes to the servers, each key to its own, and to the target once they refuse.
func (d *divided) load() {
	d.t.Helper()
	mix := load.Counters
	if d.rule == "crc16" { // keys that belong together are of one server
		mix = load.OneSlot
	}
	d.loads = append(d.loads, startLoad(d.t, load.Config{
		Writers: 8, Prefix: "load:", Rate: loadRate * 3 / 4, Mix: mix, Divide: d.of, Servers: len(d.a.servers),
		Endpoints: append(d.a.endpoints(), d.b.endpoints()...),
	}))
}

// wide writes to the target what no client of the servers could: commands on keys of several
// of them.
func (d *divided) wide(length time.Duration) {
	d.t.Helper()
	l := startLoad(d.t, load.Config{Writers: 4, Prefix: "wide:", Rate: 2000, Mix: load.OneSlot, Divide: d.of, Endpoints: d.b.endpoints()})
	time.Sleep(length)
	l.Stop()
	d.loads = append(d.loads, l)
}

// placed sees that each server has only keys of its own.
func (d *divided) placed() {
	d.t.Helper()
	for i, s := range d.a.servers {
		keys, err := connect(d.t, s).Do(d.t.Context(), "KEYS", "*")
		list, _ := keys.([]any)
		if err != nil || len(list) == 0 {
			d.t.Fatalf("%s: %v, %v", s.Address(), keys, err)
		}
		for _, key := range list {
			if of := d.of(key.(string)); of != i && !strings.HasPrefix(key.(string), "godwit:") {
				d.t.Fatalf("%s, server %d, has %q, which is of server %d", s.Address(), i, key, of)
			}
		}
	}
}

// There, back, and there and back again: each server gets what was written to the cluster
// meanwhile on its keys, and nothing on others.
func TestBackToSeveralServers(t *testing.T) {
	t.Parallel()
	for _, tt := range some(1, []struct {
		rule     string
		from, to string
		servers  int
		shards   int // 0 for a standalone server
	}{{"crc32", "redis-7.0", "redis-7.0", 2, 3}, {"crc16", "valkey-8.1", "valkey-8.1", 3, 3}, {"a program", "redis-7.0", "redis-7.0", 2, 2}, {"crc32", "redis-7.0", "valkey-8.1", 3, 0}}) {
		t.Run(fmt.Sprintf("%d of %s to %s, %d, by %s", tt.servers, tt.from, tt.to, tt.shards, tt.rule), func(t *testing.T) {
			t.Parallel()
			target := servers(t, tt.to, 1)
			if tt.shards > 0 {
				target = aCluster(t, tt.to, tt.shards)
			}
			d := divide(t, tt.from, tt.rule, tt.servers, target)
			d.load()
			m := start(t, d.config)
			m.ready()
			for i := range 2 {
				d.loads[0].ResetStall()
				r := m.cutover()
				time.Sleep(300 * time.Millisecond)
				t.Logf("cutover %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, d.loads[0].Stall())
				d.wide(500 * time.Millisecond)
				m.ready()
				d.loads[0].ResetStall()
				r = m.rollback()
				time.Sleep(300 * time.Millisecond)
				t.Logf("rollback %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, d.loads[0].Stall())
				m.ready()
			}
			d.settled(m, d.a)
			d.placed()
			if _, err := m.Abort(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := <-m.done; err != nil {
				t.Fatal(err)
			}
			m.done <- nil
			d.a.clean(false)
			d.b.clean(false)
		})
	}
}

// A key that is not where the rule says is named, whether it was copied or written later, and
// there is no cutover with a way back.
func TestShardByRefuted(t *testing.T) {
	t.Parallel()
	d := divide(t, "redis-7.0", "crc32", 2, servers(t, "redis-7.0", 1))
	wrong := func(i int) string {
		for n := 0; ; n++ {
			if key := fmt.Sprint("wrong:", n); d.of(key) != i {
				return key
			}
		}
	}
	refuted := func(key string, i int) {
		t.Helper()
		m := start(t, d.config)
		s := m.until("refuted", func(s migrate.Status) bool { return strings.Contains(s.NotReady, "is not how clients") })
		for _, part := range []string{strconv.Quote(key), d.a.servers[i].Address() + ", and would be at " + d.a.servers[1-i].Address()} {
			if !strings.Contains(s.NotReady, part) {
				t.Errorf("%q does not say %s", s.NotReady, part)
			}
		}
		var hinted interface{ HintText() string }
		if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); !errors.As(err, &hinted) || !strings.Contains(hinted.HintText(), "--rollback-window 0") {
			t.Errorf("cutover: %v", err)
		}
		m.interrupted()
	}
	// What the copy meets is remembered by the next run.
	d.a.do(d.a.servers[0], "SET", wrong(0), 1)
	refuted(wrong(0), 0)
	refuted(wrong(0), 0)
	without := d.config
	without.ShardBy = ""
	var refused *migrate.ShardByError
	if _, err := migrate.Begin(t.Context(), without, nil); !errors.As(err, &refused) {
		t.Errorf("begun without the rule: %v", err)
	}
	m := start(t, d.config)
	m.until("following", func(s migrate.Status) bool { return streamingLinks(s) && !s.Ready })
	if _, err := m.Abort(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	// A new migration begins anew, and meets one that is written later.
	d.a.do(d.a.servers[0], "DEL", wrong(0))
	d.config.Replace = true
	m = start(t, d.config)
	m.ready()
	d.a.do(d.a.servers[1], "DEL", wrong(1), "filled:0", "filled:1") // as one who asks all servers
	d.a.do(d.a.servers[1], "SET", wrong(1), 1)
	m.until("refuted", func(s migrate.Status) bool { return !s.Ready && strings.Contains(s.NotReady, "is not how clients") })
	m.interrupted()
	refuted(wrong(1), 1)
	// Without a way back it goes on as ever.
	d.config.RollbackWindow = 0
	m = start(t, d.config)
	m.ready()
	m.cutover()
	if _, err := m.Rollback(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "no way back") {
		t.Errorf("rollback: %v", err)
	}
	if _, err := m.Complete(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	d.equal()
}
