package migrate_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// withModule are a server's settings with a module in it: RediSearch, which has
// types of its own (trietype0, ft_index0, ft_invidx, numericdx, ft_tagidx) and
// commands that write them and ordinary keys at once. Its threads and its garbage
// collector are off, so that only commands change what it holds.
func withModule(t *testing.T) []string {
	t.Helper()
	return []string{"--loadmodule", sandboxtest.Module(t, "redisearch-1.2"), "SAFEMODE", "NOGC"}
}

func words(line string) []any {
	var args []any
	for word := range strings.FieldsSeq(line) {
		args = append(args, word)
	}
	return args
}

// do sends commands, each a line of words.
func do(t *testing.T, c *server.Client, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if _, err := c.Do(t.Context(), words(line)...); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// index makes an index; suggest adds to a trie, and document to the index, a hash of
// its own and a sorted set of places.
const index = "FT.CREATE idx SCHEMA title TEXT price NUMERIC tags TAG place GEO"

func suggest(n int) string { return fmt.Sprintf("FT.SUGADD suggestions term%d %d", n, n+1) }

func document(n int) string {
	return fmt.Sprintf("FT.ADD idx doc%d 1.0 FIELDS title term%d price %d tags a,tag%d place %d,10", n, n, n, n%3, n)
}

// search asks what the module's values are for.
func search(ctx context.Context, c *server.Client) (map[string]any, error) {
	replies := make(map[string]any)
	for _, line := range []string{
		"FT.SUGGET suggestions term", "FT.SUGGET suggestions term3", "FT.SUGGET suggestions term9", "FT.SUGLEN suggestions", "FT.SEARCH idx * NOCONTENT LIMIT 0 1",
		"FT.SEARCH idx term5", "FT.SEARCH idx @price:[3,12] SORTBY price NOCONTENT",
		"FT.SEARCH idx @tags:{tag1} NOCONTENT LIMIT 0 100", "FT.SEARCH idx @place:[5,10,200,km] NOCONTENT",
	} {
		reply, err := c.Do(ctx, words(line)...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		replies[line] = reply
	}
	return replies, nil
}

// found waits until both sides answer searches alike: a replica indexes documents
// in threads of its own.
func (p *pair) found(primary *sandbox.Server, suggestions, documents int64) {
	p.t.Helper()
	from, to := connect(p.t, primary), connect(p.t, p.applied(primary))
	var want, got map[string]any
	eventually(p.t, "both find the same", func() bool {
		var errFrom, errTo error // a switch ends connections
		want, errFrom = search(p.t.Context(), from)
		got, errTo = search(p.t.Context(), to)
		return errFrom == nil && errTo == nil && reflect.DeepEqual(want, got)
	})
	if n := want["FT.SUGLEN suggestions"]; n != suggestions {
		p.t.Errorf("%v suggestions, want %d", n, suggestions)
	}
	if all, ok := want["FT.SEARCH idx * NOCONTENT LIMIT 0 1"].([]any); !ok || all[0] != documents {
		p.t.Errorf("documents %v, want %d", all, documents)
	}
}

// unindex deletes what the module holds, documents too.
func unindex(t *testing.T, s *sandbox.Server) { do(t, connect(t, s), "FT.DROP idx", "DEL suggestions") }

// Values of a module pass between servers that have it, in the copy and in the
// stream, there and back, whether snapshots are rewritten on the way or not.
func TestModule(t *testing.T) {
	t.Parallel()
	for _, versions := range some(1, [][2]string{{"redis-7.0", "redis-8.0"}, {"redis-8.0", "redis-7.0"}, {"redis-7.0", "redis-6.0"}}) {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			t.Parallel()
			p := newPair(t, versions[0], versions[1], withModule(t)...)
			source, target := connect(t, p.source), connect(t, p.target)
			do(t, source, index)
			for n := range 50 {
				do(t, source, suggest(n), document(n))
			}
			m := start(t, p.config())
			m.ready()
			p.found(p.source, 50, 50)
			for n := range 50 {
				do(t, source, suggest(50+n), document(50+n))
			}
			do(t, source, "FT.SUGDEL suggestions term7", "FT.DEL idx doc7", "FT.ADD idx doc8 1.0 REPLACE PARTIAL FIELDS price 4")
			p.found(p.source, 99, 99)
			m.cutover()
			m.ready()
			do(t, target, suggest(100), document(100), "FT.DEL idx doc9")
			p.found(p.target, 100, 99)
			m.rollback()
			m.ready()
			p.found(p.source, 100, 99)
			unindex(t, p.source)
			p.equal(p.source)
			if len(m.Status().Dropped) > 0 {
				t.Errorf("dropped %+v", m.Status().Dropped)
			}
		})
	}
}

// leavesOut has the plan refuse a target by a finding that names the module; what
// modules hold and do is left out then, and counted, and all else arrives.
func leavesOut(t *testing.T, p *pair, config migrate.Config, blocker, name string) {
	t.Helper()
	source := connect(t, p.source)
	do(t, source, index)
	for n := range 10 {
		do(t, source, suggest(n), document(n))
	}
	made, err := migrate.MakePlan(t.Context(), config)
	if err != nil || !slices.Equal(codes(made.Blockers), []string{blocker}) || !strings.Contains(made.Blockers[0].Text, name) {
		t.Fatalf("blockers %+v, %v", made.Blockers, err)
	}
	config.Drop = []rdb.Feature{rdb.FeatureModule}
	made, err = migrate.MakePlan(t.Context(), config)
	if err != nil || made.Refused() || !slices.Contains(codes(made.Warnings), "modules-dropped") {
		t.Fatalf("blockers %+v, warnings %v, %v", made.Blockers, made.Warnings, err)
	}
	m := start(t, config)
	m.ready()
	// Ten words, ten of the index' other keys at most: what it makes of them is its own.
	first := m.until("counted", func(s migrate.Status) bool { return len(s.Dropped) == 1 }).Dropped[0]
	if first.Feature != string(rdb.FeatureModule) || first.Copy < 13 || first.Stream != 0 {
		t.Errorf("left out %+v", first)
	}
	do(t, source, suggest(10), document(10), "SET plain value", "FT.SUGDEL suggestions term1")
	// Each FT.SUGADD is replicated twice by the module itself.
	m.until("counted in the stream", func(s migrate.Status) bool { return s.Dropped[0].Stream == 4 && s.Dropped[0].Copy == first.Copy })
	p.applied(p.source)
	target := connect(t, p.target)
	for key, want := range map[string]int64{"suggestions": 0, "idx:idx": 0, "doc1": 1, "doc10": 0, "plain": 1} {
		if n, err := target.Do(t.Context(), "EXISTS", key); err != nil || n != want {
			t.Errorf("%s: %v at the target, want %d: %v", key, n, want, err)
		}
	}
	for n := range 11 { // by a command of the server: FT.DROP is left out
		do(t, source, fmt.Sprintf("DEL doc%d", n))
	}
	do(t, source, "DEL geo:idx/place")
	unindex(t, p.source)
	p.equal(p.source)
	m.cutover()
	m.ready()
	do(t, target, "SET plain other")
	m.rollback()
	m.ready()
	p.equal(p.source)
}

func TestModuleTheTargetLacks(t *testing.T) {
	t.Parallel()
	for _, versions := range [][2]string{{"redis-7.0", "redis-7.0"}, {"redis-7.0", "redis-8.0"}, {"redis-7.0", "redis-6.0"}} {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			t.Parallel()
			p := newUnequalPair(t, versions[0], withModule(t), versions[1], nil)
			leavesOut(t, p, p.config(), "modules", "lacks: ft")
		})
	}
}

// posingModule makes the target say that its module is of another version.
func (p *pair) posingModule(c *migrate.Config) {
	c.To = sandboxtest.Impostor(p.t, p.target, nil, []sandboxtest.Replacement{
		{Old: []byte("name=ft,ver=10200"), New: []byte("name=ft,ver=10300")},
	})
}

// A target that has the module at another version has the commands, and must not
// carry them out on values that it did not get.
func TestModuleAtAnotherVersion(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-8.0", withModule(t)...)
	config := p.config()
	p.posingModule(&config)
	leavesOut(t, p, config, "modules-version", "ft (version 10200 at the source, 10300 at the target)")
}

// Accepted, it is as good as the same.
func TestModuleAtAnAcceptedVersion(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.0", "redis-7.0", withModule(t)...)
	config := p.config()
	p.posingModule(&config)
	config.AcceptModules = []string{"ft"}
	source := connect(t, p.source)
	do(t, source, index, suggest(1), document(1))
	m := start(t, config)
	m.ready()
	do(t, source, suggest(2), document(2))
	p.found(p.source, 2, 2)
}

// A module that the source loads while it is followed: the first command of it that
// comes ends the link, by name, and a run that leaves it out goes on by a new copy.
func TestModuleLoadedLater(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.0", "redis-7.0", "--enable-module-command local")
	config := p.config()
	m := start(t, config)
	m.ready()
	source := connect(t, p.source)
	do(t, source, "MODULE LOAD "+sandboxtest.Module(t, "redisearch-1.2"), suggest(1))
	stopsFor(t, m, config, "godwit abort", `FT.SUGADD of db 0, key "suggestions"`, p.source.Address()+" serves as before")
	config.Drop = []rdb.Feature{rdb.FeatureModule}
	m = start(t, config)
	m.ready()
	m.until("counted", func(s migrate.Status) bool { return len(s.Dropped) == 1 && s.Dropped[0].Copy == 1 })
	do(t, source, "DEL suggestions")
	p.equal(p.source)
}

// A replica that is to rename what it did not get answers with an error, and that
// is not lost: it ends the migration.
func TestModuleValueThatWasLeftOutIsRenamed(t *testing.T) {
	t.Parallel()
	p := newUnequalPair(t, "redis-7.0", withModule(t), "redis-8.0", nil)
	config := p.config()
	config.Drop = []rdb.Feature{rdb.FeatureModule}
	source := connect(t, p.source)
	do(t, source, suggest(1))
	m := start(t, config)
	m.ready()
	do(t, source, "RENAME suggestions other")
	if err := m.ended(); err == nil || !strings.Contains(err.Error(), "has refused 1 commands of the stream") {
		t.Errorf("ended with %v", err)
	}
}
