//go:build fault

package fault

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// Other limits than the source's: the same values have other encodings.
func otherLimits() []string {
	return []string{
		"--hash-max-listpack-entries 4", "--hash-max-listpack-value 16", "--set-max-intset-entries 8", "--set-max-listpack-entries 3",
		"--zset-max-listpack-entries 2", "--list-max-listpack-size 3", "--stream-node-max-entries 3", "--rdbcompression no",
	}
}

// A hundred comparisons while everything is being written, fifty of them after the
// cutover: none of them sees a difference.
func TestNoFalseAlarm(t *testing.T) {
	const runs = 100
	backlog := "--repl-backlog-size 256mb"
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{backlog}})
	target := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{Args: append(otherLimits(), backlog)})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 200_000, DBs: []int{0, 3}, Seed: 11}); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, source, target)
	p := newProgram(t, source, target)
	run := p.start("")
	p.ready()
	c := startChurn(t, 20_000, source, target)
	var held, took []time.Duration
	var gone int64
	for i := range runs {
		if i == runs/2 {
			p.must("cutover")
			p.ready()
		}
		r, code := p.verified("default")
		if code != 0 || r.Result != verify.Equal || r.Method != verify.Snapshot || r.Offset == 0 {
			t.Fatalf("comparison %d exits with %d: %+v", i, code, r)
		}
		if r.SourceRead.Keys < 200_000 {
			t.Fatalf("comparison %d saw %d keys", i, r.SourceRead.Keys)
		}
		held, took, gone = append(held, r.Held), append(took, r.Took), gone+r.Settled
	}
	rate := c.stop()
	t.Logf("%d comparisons under %.0f commands/s: feed held %v (median) %v (worst), took %v (median), %d settled, peak RSS %d MB",
		runs, rate, middle(held), slices.Max(held), middle(took), gone, run.peakRSS()>>20)
	if rate < 10_000 {
		t.Errorf("only %.0f commands/s were sent", rate)
	}
	settled(t, l, target, source)
}

func middle(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

// planted is one difference, made at the target behind godwit's back.
type planted struct {
	kind     verify.Kind
	key      string
	setup    [][]any // at the source, before the copy
	commands [][]any // at the target
}

const year2100 = 4102444800000 // in Unix milliseconds

func plantings() []planted {
	big := strings.Repeat("0123456789abcdef", 10<<20/16)
	stream := func(key string) [][]any {
		return [][]any{
			{"XADD", key, "1-1", "f", "v"}, {"XADD", key, "2-1", "f", "v"}, {"XADD", key, "3-1", "f", "v"},
			{"XGROUP", "CREATE", key, "g", "0"}, {"XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", key, ">"},
		}
	}
	ulp := math.Nextafter(0.1, 1)
	return []planted{
		{verify.Missing, "plant:missing", [][]any{{"SET", "plant:missing", "v"}}, [][]any{{"DEL", "plant:missing"}}},
		{verify.Missing, "plant:missing hash", [][]any{{"HSET", "plant:missing hash", "f", "v"}}, [][]any{{"DEL", "plant:missing hash"}}},
		{verify.Extra, "plant:extra", nil, [][]any{{"SET", "plant:extra", "v"}}},
		{verify.Extra, "", nil, [][]any{{"SET", "", ""}}},
		{verify.Type, "plant:type", [][]any{{"SADD", "plant:type", "a"}}, [][]any{{"DEL", "plant:type"}, {"RPUSH", "plant:type", "a"}}},
		{verify.Changed, "plant:big", [][]any{{"SET", "plant:big", big}}, [][]any{{"SETRANGE", "plant:big", 7_654_321, "X"}}},
		{verify.Changed, "plant:longer", [][]any{{"SET", "plant:longer", "v"}}, [][]any{{"APPEND", "plant:longer", "\x00"}}},
		{verify.Changed, "plant:ulp", [][]any{{"ZADD", "plant:ulp", "0.1", "m"}}, [][]any{{"ZADD", "plant:ulp", fmt.Sprintf("%.17g", ulp), "m"}}},
		{verify.Changed, "plant:member", [][]any{{"ZADD", "plant:member", 1, "m", 2, "n"}}, [][]any{{"ZREM", "plant:member", "n"}, {"ZADD", "plant:member", 2, "o"}}},
		{verify.Changed, "plant:list", [][]any{{"RPUSH", "plant:list", "a", "b", "c"}}, [][]any{{"LSET", "plant:list", 0, "b"}, {"LSET", "plant:list", 1, "a"}}},
		{verify.Changed, "plant:set", [][]any{{"SADD", "plant:set", "a", "b"}}, [][]any{{"SREM", "plant:set", "a"}, {"SADD", "plant:set", "c"}}},
		{verify.Changed, "plant:hash", [][]any{{"HSET", "plant:hash", "f", "v", "g", "w"}}, [][]any{{"HSET", "plant:hash", "f", "w", "g", "v"}}},
		{verify.Changed, "plant:hll", [][]any{{"PFADD", "plant:hll", "a"}}, [][]any{{"PFADD", "plant:hll", "b"}}},
		{verify.Changed, "plant:pending", stream("plant:pending"), [][]any{{"XACK", "plant:pending", "g", "1-1"}}},
		{verify.Changed, "plant:claimed", stream("plant:claimed"), [][]any{{"XCLAIM", "plant:claimed", "g", "d", 0, "1-1", "JUSTID"}}},
		{verify.Changed, "plant:group", stream("plant:group"), [][]any{{"XGROUP", "SETID", "plant:group", "g", "1-1"}}},
		{verify.Changed, "plant:entry", stream("plant:entry"), [][]any{{"XDEL", "plant:entry", "3-1"}}},
		{verify.TTL, "plant:ttl", [][]any{{"SET", "plant:ttl", "v", "PXAT", year2100}}, [][]any{{"PEXPIREAT", "plant:ttl", year2100 + 1}}},
		{verify.TTL, "plant:persist", [][]any{{"SET", "plant:persist", "v", "PXAT", year2100}}, [][]any{{"PERSIST", "plant:persist"}}},
		{verify.TTL, "plant:expires", [][]any{{"SET", "plant:expires", "v"}}, [][]any{{"PEXPIREAT", "plant:expires", year2100}}},
		{verify.OtherDB, "plant:db", [][]any{{"SET", "plant:db", "v"}}, [][]any{{"MOVE", "plant:db", 5}}},
	}
}

// Differences of every kind among a million keys, under 20,000 writes a second: each
// is found and named, nothing else is; they are repaired, and the sides are equal.
func TestPlantedDifferencesAreFoundAndRepaired(t *testing.T) {
	backlog := "--repl-backlog-size 256mb"
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{backlog}})
	target := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{Args: append(otherLimits(), backlog)})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 1_000_000, DBs: []int{0, 3}, Seed: 12}); err != nil {
		t.Fatal(err)
	}
	from, to := sandboxtest.Client(t, source), sandboxtest.Client(t, target)
	plants := plantings()
	for _, x := range plants {
		for _, command := range x.setup {
			if _, err := from.Do(t.Context(), command...); err != nil {
				t.Fatal(command, err)
			}
		}
	}
	l := startLoad(t, source, target)
	p := newProgram(t, source, target)
	run := p.start("")
	p.ready()
	c := startChurn(t, 20_000, source, target)
	if r, code := p.verified("default"); code != 0 {
		t.Fatalf("before anything was planted: exit code %d, %+v", code, r)
	}
	if err := to.ConfigSet(t.Context(), "replica-read-only", "no"); err != nil {
		t.Fatal(err)
	}
	for _, x := range plants {
		for _, command := range x.commands {
			if _, err := to.Do(t.Context(), command...); err != nil {
				t.Fatal(command, err)
			}
		}
	}
	if err := to.ConfigSet(t.Context(), "replica-read-only", "yes"); err != nil {
		t.Fatal(err)
	}
	found := func(want map[string]verify.Kind, args ...string) {
		t.Helper()
		r, code := p.verified(append([]string{"default", "--samples", "100"}, args...)...)
		t.Logf("verify %v: exit code %d, %s, %v, %v, %v repaired, %.2f s, held %v, %d settled", args, code, r.Result, r.Method, r.Counts, r.Repaired, r.Took.Seconds(), r.Held, r.Settled)
		wantCode := 4
		if len(want) == 0 {
			wantCode = 0
		}
		if code != wantCode {
			t.Errorf("exit code %d, want %d: %+v", code, wantCode, r)
		}
		got := map[string]verify.Kind{}
		for _, d := range r.Samples {
			got[string(d.Key)] = d.Kind
			if d.Detail == "" {
				t.Errorf("%s %s: no detail", d.Kind, d.Key)
			}
		}
		for key, kind := range want {
			if got[key] != kind {
				t.Errorf("%q: %q, want %q", key, got[key], kind)
			}
		}
		for key, kind := range got {
			if want[key] == "" {
				t.Errorf("%q: %s, though nothing was planted there", key, kind)
			}
		}
	}
	all := map[string]verify.Kind{}
	extra := map[string]verify.Kind{}
	for _, x := range plants {
		all[x.key] = x.kind
		if x.kind == verify.Extra {
			extra[x.key] = x.kind
		}
	}
	found(all)
	repaired, code := p.verified("default", "--repair")
	t.Logf("repaired: exit code %d, %s, %v, %v", code, repaired.Result, repaired.Counts, repaired.Repaired)
	if code != 4 || repaired.Repaired["kept"] < int64(len(extra)) {
		t.Errorf("extra keys were not kept, or it was said that the sides are equal: exit code %d, %+v", code, repaired)
	}
	extra["plant:db"] = verify.Extra // in its own db again, and still in the other
	found(extra)
	if r, code := p.verified("default", "--repair=delete-extra"); code != 0 {
		t.Errorf("exit code %d: %+v", code, r)
	}
	found(nil)
	t.Logf("under %.0f commands/s, peak RSS %d MB", c.stop(), run.peakRSS()>>20)
	if rss := run.peakRSS(); rss > 128<<20+64<<20 { // the spool's memory comes on top
		t.Errorf("godwit took %d MB", rss>>20)
	}
	settled(t, l, source, target)
}

// A run that is to verify before the cutover is not ready until it has.
func TestVerifyBeforeCutover(t *testing.T) {
	source, target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 50_000, Seed: 13}); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, source, target)
	p := newProgram(t, source, target)
	p.start("", "--verify", "before-cutover", "--cutover", "auto")
	s := p.until("switched", func(s migrate.Status) bool { return s.Phase == migrate.Switched })
	if s.Verify.State != migrate.VerifyState(verify.Equal) {
		t.Errorf("switched, with the verification %+v", s.Verify)
	}
	p.ready()
	settled(t, l, target, source)
}
