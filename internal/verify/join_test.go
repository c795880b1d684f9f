package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"godwit/internal/digest"
	"godwit/internal/rdb"
)

func recordOf(o digest.Options, db int, key string, typ string, sum uint64, expireAt int64) *record {
	return &record{hash: o.KeyHash([]byte(key)), key: []byte(key), db: db, expireAt: expireAt, Value: digest.Value{Type: typ, Sum: sum, TTLs: sum % 3}}
}

func TestRecordsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []record
		var b []byte
		for range rapid.IntRange(0, 20).Draw(t, "n") {
			r := record{
				hash: rapid.Uint64().Draw(t, "hash"), key: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "key"),
				db: rapid.IntRange(-1, 1<<31-1).Draw(t, "db"), expireAt: rapid.Int64().Draw(t, "expiry"),
				Value: digest.Value{Type: rapid.SampledFrom([]string{"string", "zset", "ReJSON-RL", "function"}).Draw(t, "type"), Sum: rapid.Uint64().Draw(t, "sum"), TTLs: rapid.Uint64().Draw(t, "ttls")},
			}
			all, b = append(all, r), r.append(b)
		}
		p := partition{buf: b}
		got, err := p.all()
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", all) {
			t.Fatalf("got %+v, want %+v", got, all)
		}
	})
}

// What a join gives is what a comparison of maps gives, however much is on disk.
func TestJoin(t *testing.T) {
	for _, n := range []int{0, 100, 60_000} {
		dir := t.TempDir()
		o := digest.Options{Seed: 1}
		rng := rand.New(rand.NewPCG(3, 4))
		sides := [2]*collector{newCollector(dir, 0), newCollector(dir, 0)}
		contents := [2]map[string]uint64{{}, {}}
		for i := range n {
			for side, c := range sides {
				sum := uint64(i)
				switch rng.IntN(100) {
				case 0:
					continue
				case 1:
					sum++
				}
				for db := range 1 + i%2 {
					name := fmt.Sprintf("%d %s%d", db, strings.Repeat("name ", 30), i)
					contents[side][name] = sum
					if err := c.add(recordOf(o, db, name[2:], "string", sum, rdb.None)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if spilled := sides[0].parts[0].file != nil; spilled != (n > 50_000) {
			t.Errorf("%d keys: spilled %v", n, spilled)
		}
		want, got := make(map[string]int), make(map[string]int)
		for name, sum := range contents[0] {
			if other, ok := contents[1][name]; !ok {
				want["missing"]++
			} else if other != sum {
				want["value"]++
			}
		}
		for name := range contents[1] {
			if _, ok := contents[0][name]; !ok {
				want["extra"]++
			}
		}
		err := join(t.Context(), sides[0], sides[1], func(source, target []record) error {
			for _, d := range (judgement{}).differences(source, target) {
				got[string(d.Kind)]++
			}
			return nil
		})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d keys: got %v, %v, want %v", n, got, err, want)
		}
		for _, c := range sides {
			c.close()
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	}
}

// Whatever there is, a part of it at a time is in memory.
func TestJoinInBoundedMemory(t *testing.T) {
	const n = 400_000
	dir := t.TempDir()
	o := digest.Options{Seed: 1}
	source, target := newCollector(dir, 0), newCollector(dir, 0)
	defer source.close()
	defer target.close()
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	runtime.GC() // what the tests before have left
	before := inUse()
	var peak atomic.Uint64
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				peak.Store(max(peak.Load(), inUse()))
			}
		}
	}()
	for i := range n {
		key := fmt.Sprintf("a name of some length:%d", i)
		if err := source.add(recordOf(o, 0, key, "string", 1, rdb.None)); err != nil {
			t.Fatal(err)
		}
		if err := target.add(recordOf(o, 0, key, "string", 2, rdb.None)); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	began := time.Now()
	err := join(t.Context(), source, target, func(source, target []record) error {
		found += len(judgement{}.differences(source, target))
		return nil
	})
	close(done)
	<-watched
	if err != nil || found != n {
		t.Errorf("%d found, %v", found, err)
	}
	took := max(peak.Load(), before) - before
	t.Logf("%d keys joined in %v, at most %d MiB of heap more than before", n, time.Since(began), took>>20)
	if took > 64<<20 {
		t.Errorf("%d MiB of heap were in use", took>>20)
	}
}

func TestJoinEnds(t *testing.T) {
	o := digest.Options{Seed: 1}
	source, target := newCollector(t.TempDir(), 0), newCollector(t.TempDir(), 0)
	for i := range 100 {
		if err := source.add(recordOf(o, 0, fmt.Sprint(i), "string", 1, rdb.None)); err != nil {
			t.Fatal(err)
		}
	}
	enough := errors.New("enough")
	if err := join(t.Context(), source, target, func([]record, []record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := join(ctx, source, target, func([]record, []record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSpillNeedsADirectory(t *testing.T) {
	c := newCollector(t.TempDir()+"/none", 0)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = c.add(recordOf(digest.Options{}, 0, strings.Repeat("x", 100_000), "string", 1, rdb.None))
	}
	var hinted interface{ HintText() string }
	if !errors.As(err, &hinted) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestDifferencesOfAName(t *testing.T) {
	o := digest.Options{Seed: 1}
	at := func(db int, sum uint64, expireAt int64) record { return *recordOf(o, db, "k", "string", sum, expireAt) }
	other := func(db int) record { return *recordOf(o, db, "k", "list", 1, rdb.None) }
	tests := []struct {
		name           string
		source, target []record
		j              judgement
		want           string
	}{
		{"same", []record{at(0, 1, rdb.None), at(1, 2, 5)}, []record{at(0, 1, rdb.None), at(1, 2, 5)}, judgement{}, ""},
		{"missing", []record{at(0, 1, rdb.None)}, nil, judgement{}, "missing 0"},
		{"extra", nil, []record{at(0, 1, rdb.None)}, judgement{}, "extra 0"},
		{"type", []record{other(0)}, []record{at(0, 1, rdb.None)}, judgement{}, "type 0"},
		{"value and ttl", []record{at(0, 1, rdb.None)}, []record{at(0, 2, 5)}, judgement{}, "value 0"},
		{"ttl", []record{at(0, 1, 4)}, []record{at(0, 1, 5)}, judgement{}, "ttl 0"},
		{"ttl lost", []record{at(0, 1, 4)}, []record{at(0, 1, rdb.None)}, judgement{stretch: 10}, "ttl 0"},
		{"ttl stretched", []record{at(0, 1, 4)}, []record{at(0, 1, 14)}, judgement{stretch: 10}, ""},
		{"ttl stretched too far", []record{at(0, 1, 4)}, []record{at(0, 1, 15)}, judgement{stretch: 10}, "ttl 0"},
		{"ttl stretched at the source", []record{at(0, 1, 14)}, []record{at(0, 1, 4)}, judgement{stretch: 10}, ""},
		{"expired at the source", nil, []record{at(0, 1, 110)}, judgement{stretch: 10, expired: 100}, ""},
		{"extra that expires later", nil, []record{at(0, 1, 111)}, judgement{stretch: 10, expired: 100}, "extra 0"},
		{"another db", []record{at(0, 1, rdb.None)}, []record{at(3, 1, 7)}, judgement{}, "db 0>3"},
		{"another db and value", []record{at(0, 1, rdb.None)}, []record{at(3, 2, rdb.None)}, judgement{}, "missing 0, extra 3"},
		{"two other dbs", []record{at(0, 1, rdb.None), at(1, 1, rdb.None)}, []record{at(3, 1, rdb.None), at(4, 1, rdb.None)}, judgement{}, "db 0>3, db 1>4"},
		{"swapped dbs", []record{at(0, 1, rdb.None), at(1, 2, rdb.None)}, []record{at(0, 2, rdb.None), at(1, 1, rdb.None)}, judgement{}, "value 0, value 1"},
		{"a library is in no db", []record{at(libraries, 1, rdb.None)}, []record{at(0, 1, rdb.None)}, judgement{}, "missing -1, extra 0"},
	}
	for _, tt := range tests {
		var got []string
		for _, d := range tt.j.differences(tt.source, tt.target) {
			text := fmt.Sprintf("%s %d", d.Kind, d.DB)
			if d.DB != d.TargetDB {
				text += fmt.Sprint(">", d.TargetDB)
			}
			if (d.Source == nil) != (d.Kind == Extra) || (d.Target == nil) != (d.Kind == Missing) || string(d.Key) != "k" {
				t.Errorf("%s: %+v", tt.name, d)
			}
			got = append(got, text)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestBuckets(t *testing.T) {
	a, b := newTable(), newTable()
	toA, toB := adder{table: a}, adder{table: b}
	for i, n := range rand.New(rand.NewPCG(1, 2)).Perm(1000) {
		toA.add(bucket(uint64(i)<<50), uint64(i))
		toB.add(bucket(uint64(n)<<50), uint64(n))
	}
	toA.flush()
	toB.flush()
	if set := differing(a, b); set.size() != 0 {
		t.Errorf("%d buckets differ", set.size())
	}
	toA.add(5, 1)
	toB.add(1<<bucketBits-1, 1)
	toA.flush()
	toB.flush()
	set := differing(a, b)
	if set.size() != 2 || !set.has(5) || !set.has(1<<bucketBits-1) || set.has(6) {
		t.Errorf("%d buckets differ", set.size())
	}
	other := new(buckets)
	*other = *set
	if set.addAll(other); set.size() != 2 || set.common(other) != 2 {
		t.Error("a set grows by its own")
	}
	other[0] |= 1
	if n := set.common(other); n != 2 {
		t.Errorf("%d buckets are in both", n)
	}
	if set.addAll(other); set.size() != 3 {
		t.Error("a set does not grow by another")
	}
}
