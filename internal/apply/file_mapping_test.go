package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/command"
	"godwit/internal/dataset"
	"godwit/internal/persist"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
)

// noted is a sink that keeps what it is given, a line each.
type noted struct{ lines []string }

func (x *noted) note(format string, args ...any) error {
	x.lines = append(x.lines, fmt.Sprintf(format, args...))
	return nil
}

func (x *noted) one(db int, of uint16, n int, body []byte, _ bool) error {
	args := words(n, body)
	if of != slot.Of([]byte(args[1])) {
		return x.note("%s goes to slot %d", args, of)
	}
	return x.note("%d: %s", db, strings.Join(args, " "))
}
func (x *noted) all(db, n int, body []byte) error {
	return x.note("all, %d: %s", db, strings.Join(words(n, body), " "))
}
func (x *noted) empty(way *route.Way) error   { return x.note("empty %s", way) }
func (x *noted) beside(n int, b []byte) error { return x.note("beside: %s", words(n, b)) }
func (x *noted) outside([]byte, string) error { return x.note("outside") }
func (x *noted) stays()                       { _ = x.note("stays") }
func (x *noted) ends()                        {}

// words are the arguments of a command without its count.
func words(n int, body []byte) []string {
	e, err := resp.Scan(append(fmt.Appendf(nil, "*%d\r\n", n), body...), nil)
	if err != nil {
		return []string{err.Error(), ""}
	}
	var all []string
	for _, a := range e.Args {
		all = append(all, string(a))
	}
	return all
}

// What becomes of the commands of a file, or why they are refused.
func TestFileCommandsByTheTargetsNames(t *testing.T) {
	const prefixed, dbs = "1:prefix=db1: 2:drop 4:drop", "0:3 1:1 2:drop 3:prefix=x: 5:0"
	late := strconv.Itoa(7 + putOff)
	for _, row := range []struct {
		flags string
		db    int
		said  string
		want  string // lines, or the error
	}{
		{"", 0, "SET k v", "0: SET k v"},
		{"", 1, "SET k v", "db 1 has no place in the target: no --db-map is given for it"},
		{"", 1, "FLUSHDB", ""},
		{"", 0, "FLUSHDB", "all, 0: FLUSHDB"},
		{"", 1, "FLUSHALL", "all, 0: FLUSHALL"},
		{"", 0, "MOVE k 1", "db 1 has no place in the target: no --db-map is given for it"},
		{"", 0, "SWAPDB 0 1", "SWAPDB 0 1: cannot be carried: at the target these dbs are no dbs of their own"},
		{"", 0, "COPY {k}a {k}b DB 0 REPLACE", "0: COPY {k}a {k}b REPLACE"},

		{prefixed, 1, "SET k v", "0: SET db1:k v"},
		{prefixed, 1, "PEXPIREAT k 7", "0: PEXPIREAT db1:k " + late},
		{prefixed, 1, "MSET {a} 1 {a}b 2", "0: MSET db1:{a} 1 db1:{a}b 2"},
		{prefixed, 1, "RENAME {k}a {k}b", "0: RENAME db1:{k}a db1:{k}b"},
		{prefixed, 1, "RENAME a b", "its keys are of several shards, and a file cannot be asked for the values that it made"},
		{prefixed, 1, "XADD k 1-1 f v", "0: XADD db1:k 1-1 f v"},
		{prefixed, 0, "SET k v", "0: SET k v"},
		{prefixed, 0, "DEL db1:k", `db 0, key "db1:k": its name at the target begins with "db1:", as those of another db do`},
		{prefixed, 2, "SET k v", "stays"},
		{prefixed, 2, "RENAME a b", "stays"},
		{prefixed, 2, "FLUSHDB", ""},
		{prefixed, 1, "FLUSHDB", "empty 1:prefix=db1:"},
		{prefixed, 0, "FLUSHDB", "empty 0:0"},
		{prefixed, 2, "FLUSHALL", "all, 0: FLUSHALL"},
		{prefixed, 3, "SET k v", "db 3 has no place in the target: no --db-map is given for it"},
		{prefixed, 0, "MOVE {k} 1", "0: RENAME {k} db1:{k}"},
		{prefixed, 1, "MOVE {k} 0", "0: RENAME db1:{k} {k}"},
		{prefixed, 0, "MOVE k 1", "its keys are of several shards, and a file cannot be asked for the values that it made"},
		{prefixed, 1, "MOVE k 2", "0: DEL db1:k"},
		{prefixed, 2, "MOVE k 1", "its value comes from db 2, which stays behind, and a file cannot be asked for it"},
		{prefixed, 2, "MOVE k 4", "stays"},
		{prefixed, 1, "MOVE k 3", "db 3 has no place in the target: no --db-map is given for it"},
		{prefixed, 1, "COPY {k}a {k}b DB 0", "0: COPY db1:{k}a {k}b"},
		{prefixed, 1, "COPY {k}a {k}b DB 1 REPLACE", "0: COPY db1:{k}a db1:{k}b REPLACE"},
		{prefixed, 1, "COPY a b DB 2", "stays"},
		{prefixed, 2, "COPY a b DB 0", "its value comes from db 2, which stays behind, and a file cannot be asked for it"},
		{prefixed, 0, "MOVE db1:{k} 1", `db 0, key "db1:{k}": its name at the target begins with "db1:", as those of another db do`},
		{prefixed, 0, "SWAPDB 0 1", "SWAPDB 0 1: cannot be carried: at the target these dbs are no dbs of their own"},
		{prefixed, 0, "SWAPDB 1 3", "SWAPDB 1 3: cannot be carried: at the target these dbs are no dbs of their own"},
		{prefixed, 0, "SWAPDB 2 3", "db 3 has no place in the target: no --db-map is given for it"},
		{prefixed, 0, "SWAPDB 2 4", "stays"},
		{prefixed, 0, "SWAPDB 1 1", ""},

		{dbs, 0, "SET k v", "3: SET k v"},
		{dbs, 3, "SET k v", "0: SET x:k v"},
		{dbs, 1, "FLUSHDB ASYNC", "all, 1: FLUSHDB ASYNC"},
		{dbs, 3, "FLUSHDB", "empty 3:prefix=x:"},
		{dbs, 5, "FLUSHDB", "empty 5:0"},
		{dbs, 0, "MOVE k 1", "3: MOVE k 1"},
		{dbs, 0, "MOVE {k} 3", "3: COPY {k} x:{k} DB 0; 3: DEL {k}"},
		{dbs, 1, "COPY {k}a {k}b DB 0 REPLACE", "1: COPY {k}a {k}b DB 3 REPLACE"},
		{dbs, 3, "MOVE {k} 5", "0: RENAME x:{k} {k}"},
	} {
		knows := command.NewCapabilities(command.Version{Product: rdb.Valkey, Major: 9, Minor: 1}, rdb.Format{Family: rdb.Valkey, Version: 80}, 16)
		c := FileConfig{Written: knows, Capabilities: knows, Route: mapped(t, row.flags)}
		x := &noted{}
		s := newSayer(c, rdb.NewCRC64(), 0, true, func(rdb.Feature) {}, x)
		var args [][]byte
		for _, word := range strings.Fields(row.said) {
			args = append(args, []byte(word))
		}
		err := s.command(persist.Command{Args: args, DB: row.db})
		got := strings.Join(x.lines, "; ")
		var refused *FileCommandError
		if errors.As(err, &refused) {
			got = refused.Err.Error()
			if hintOf(err) == "" {
				t.Errorf("%q in db %d with %q: no hint", row.said, row.db, row.flags)
			}
		}
		if got != row.want {
			t.Errorf("%q in db %d with %q: %q, not %q", row.said, row.db, row.flags, got, row.want)
		}
	}
}

// fileMappings are what becomes of the dbs 0, 1 and 3 of a file.
func fileMappings() []mappingCase {
	return []mappingCase{
		{"redis-8.6", "redis-8.6", "1:prefix=db1: 3:drop", nil},
		{"valkey-9.1", "valkey-9.1", "0:3 1:2 3:prefix=db3:", []string{"--cluster-databases 6"}},
		{"redis-7.0", "valkey-8.1", "0:prefix=zero: 1:0 3:prefix=db3:", nil},
		{"redis-6.0", "redis-7.0", "1:prefix=db1: 3:prefix=db1:three:", nil},
	}
}

// Of a file with several dbs a cluster has what the server that has written it has after a
// restart, through the mapping, whenever the loading is ended.
func TestFileMapped(t *testing.T) {
	t.Parallel()
	for _, c := range some(1, fileMappings()) {
		for _, kind := range []string{"rdb", "aof"} {
			t.Run(c.source+" to "+c.target+" "+c.flags+", "+kind, func(t *testing.T) {
				t.Parallel()
				r := mapped(t, c.flags)
				commands := 0
				if kind == "aof" {
					commands = 9000
				}
				written, path := countingIn(t, c.source, []int{0, 1, 3}, 3000, commands)
				target := sandboxtest.Cluster(t, c.target, sandbox.ClusterOptions{Args: c.args})
				config := configureFile(t, path, target.Nodes()[0])
				config.Route = r
				found, err := ExamineFile(t.Context(), config, true, time.Now().UnixMilli())
				if err != nil || found.Damage != nil || len(found.Refused) > 0 || len(found.DBs) != 3 {
					t.Fatalf("%+v, %v", found, err)
				}
				v := loadedInParts(t, config)
				stayed := found.Left
				for _, db := range found.DBs {
					if way, err := r.Of(db.Number); err != nil {
						t.Error(err)
					} else if way.Stays {
						stayed += db.Keys
					}
				}
				// What expires meanwhile is left out of an RDB file.
				if v.Keys+v.Expired != found.Keys+found.Expired || v.Commands != found.Commands || v.Left != stayed || (stayed > 0) != strings.Contains(c.flags, "drop") {
					t.Errorf("%d keys and %d commands were loaded, %d stay behind: %+v", v.Keys, v.Commands, v.Left, found)
				}
				if !written.Running() {
					if err := written.Restart(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				var known func(string, value, value) bool
				if c.source == "redis-6.0" { // whose file says how long, not until when
					known = func(_ string, want, got value) bool {
						return want.Value == got.Value && want.until > 0 && got.until > 0
					}
				}
				if n := sameMapped(t, r, written, target, known); n < 500 {
					t.Errorf("only %d keys", n)
				}
			})
		}
	}
}

// loadedInParts carries a file to its end, with ever longer runs.
func loadedInParts(t *testing.T, c FileConfig) FileView {
	t.Helper()
	var m fileMemory
	rng := rand.New(rand.NewPCG(1, 2))
	for kills := 0; ; kills++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+20*kills+rng.IntN(80))*time.Millisecond)
		e := NewFile(m.load(t, c))
		err := e.Run(ctx)
		cancel()
		if err == nil {
			if err := e.End(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("ended %d times before: %+v", kills, e.View())
			return e.View()
		}
		if !errors.Is(err, context.DeadlineExceeded) || kills > 200 {
			t.Fatalf("after %d: %v", kills, err)
		}
	}
}

// countingIn is counting of several dbs, of which each is emptied a few times, and between
// which keys are moved and copied. Without commands the file is an RDB file.
func countingIn(t *testing.T, name string, dbs []int, keys, commands int) (s *sandbox.Server, path string) {
	t.Helper()
	args := saving("yes")
	if commands == 0 {
		args = []string{"--save", ""}
	}
	s = sandboxtest.Start(t, name, sandbox.Options{Args: args})
	fieldTTLs := name == "redis-8.6" || name == "valkey-9.1"
	if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: keys, DBs: dbs, NoFunctions: true, NoFieldTTLs: !fieldTTLs}); err != nil {
		t.Fatal(err)
	}
	if commands == 0 {
		if _, err := sandboxtest.Client(t, s).Do(t.Context(), "SAVE"); err != nil {
			t.Fatal(err)
		}
		return s, filepath.Join(s.Dir(), "dump.rdb")
	}
	rewriting(t, s)()
	c, err := dial(t.Context(), s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	do := func(args ...string) {
		t.Helper()
		if _, err := c.do(args...); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	key := func(kind string) string {
		return kind + ":" + string(rune('a'+rng.IntN(26))) + string(rune('a'+rng.IntN(26)))
	}
	db := 0
	enter := func() {
		db = rng.IntN(len(dbs))
		do("SELECT", strconv.Itoa(dbs[db]))
	}
	for n := range commands {
		switch rng.IntN(14) {
		case 0:
			do("LPUSH", key("list"), "x")
		case 1:
			do("APPEND", key("text"), "y")
		case 2:
			k := key("mortal")
			do("INCR", k)
			do("PEXPIRE", k, "300") // it may be over by the time of the next, or of the loading
		case 3: // of two dbs
			do("MULTI")
			do("INCR", key("n"))
			enter()
			do("HINCRBY", key("hash"), "f", "1")
			do("EXEC")
		case 4:
			do("DEL", key("n"), key("list"), key("text"))
		case 5:
			do("XADD", key("stream"), "*", "f", strconv.Itoa(n))
		case 6:
			k := key("fields")
			do("HSET", k, "f", "1", "g", strconv.Itoa(n))
			if fieldTTLs {
				do("HPEXPIRE", k, strconv.Itoa(200+100_000*rng.IntN(2)), "FIELDS", "1", "f")
			}
		case 7: // to the next db, from which nothing stays behind
			if to := (db + 1) % len(dbs); db < 2 {
				do("SET", "{moved}"+key("m"), "x", "PX", strconv.Itoa(100+100_000*rng.IntN(2)))
				do("MOVE", "{moved}"+key("m"), strconv.Itoa(dbs[to]))
			}
		case 8:
			if to := (db + 1) % len(dbs); db < 2 && name != "redis-6.0" {
				do("SADD", "{moved}"+key("c"), strconv.Itoa(n))
				do("COPY", "{moved}"+key("c"), "{moved}"+key("d"), "DB", strconv.Itoa(dbs[to]), "REPLACE")
			}
		case 9:
			enter()
		default:
			do("INCR", key("n"))
		}
		switch n {
		case commands / 4, commands / 2:
			do("FLUSHDB")
		case commands / 3:
			enter()
			do("MULTI")
			do("INCR", key("n"))
			do("FLUSHDB")
			do("INCR", key("n"))
			do("EXEC")
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	return s, copyOfAOF(t, s.Dir())
}

// What a mapping cannot carry of a file is found before the start, by name, and a db without
// a place is named as a whole.
func TestFileThatCannotBeMapped(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: saving("yes")})
	client := sandboxtest.Client(t, s)
	do := func(lines ...string) {
		t.Helper()
		var commands [][]any
		for _, line := range lines {
			var args []any
			for _, word := range strings.Fields(line) {
				args = append(args, word)
			}
			commands = append(commands, args)
		}
		if _, err := client.Transaction(t.Context(), commands...); err != nil {
			t.Fatal(err)
		}
	}
	do("SELECT 0", "SET db1:clash 1", "SELECT 1", "SET a 1", "SELECT 2", "SET a 1")
	rewriting(t, s)()
	do("SELECT 0", "SET db1:command 1", "SELECT 1", "RENAME a b", "SELECT 2", "MOVE a 3", "SWAPDB 0 1", "SELECT 3", "SET c 1")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	c := configureFile(t, copyOfAOF(t, s.Dir()), target.Nodes()[0])
	for _, row := range []struct {
		flags   string
		refused []string
		dbs     []int
	}{
		{"", []string{"SWAPDB 0 1"}, []int{0, 1, 2, 3}},
		{
			"1:prefix=db1: 2:drop 3:3",
			[]string{`key "db1:clash": its name`, `key "db1:command": its name`, "RENAME: its keys", "MOVE: its value comes from db 2", "SWAPDB 0 1"},
			[]int{0, 1, 2, 3},
		},
		{"1:drop 2:drop 3:drop", []string{"SWAPDB 0 1"}, []int{0, 1, 2, 3}},
		{"0:drop 1:drop 2:drop 3:drop", nil, []int{0, 1, 2, 3}},
	} {
		c.Route = mapped(t, row.flags)
		found, err := ExamineFile(t.Context(), c, true, time.Now().UnixMilli())
		if err != nil || len(found.Refused) != len(row.refused) {
			t.Errorf("%s: %+v, %v", row.flags, found, err)
			continue
		}
		for i, text := range row.refused {
			if got := found.Refused[i]; !strings.Contains(got.Text, text) || got.Hint == "" {
				t.Errorf("%s: %+v, not %s", row.flags, got, text)
			}
		}
		var dbs []int
		for _, db := range found.DBs {
			dbs = append(dbs, db.Number)
		}
		if fmt.Sprint(dbs) != fmt.Sprint(row.dbs) {
			t.Errorf("%s: dbs %v", row.flags, dbs)
		}
	}
	c.Route = mapped(t, "1:prefix=db1: 2:drop 3:3")
	var clash *route.ClashError
	if err := NewFile(c).Run(t.Context()); !errors.As(err, &clash) || clash.DB != 0 || string(clash.Key) != "db1:clash" {
		t.Errorf("%v", err)
	}
	c.Route = mapped(t, "")
	var unmapped *route.UnmappedError
	if err := NewFile(c).Run(t.Context()); !errors.As(err, &unmapped) || unmapped.DB != 1 {
		t.Errorf("%v", err)
	}
}

// A db that shares one of the target with another is emptied of its own keys, by a shard
// that has had nothing after that: else these have been made since.
func TestEmptyingIsNotRepeated(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, s)
	const checkpoint = "godwit:test"
	for _, row := range []struct {
		had  mark
		left string
	}{
		{mark{at: 10}, "[godwit:test k]"},
		{mark{at: 10, more: 1}, "[db1:a db1:b godwit:test k]"}, // a part of a command after it
		{mark{at: 20}, "[db1:a db1:b godwit:test k]"},
	} {
		do(t, client, "MSET", "k", 0, "db1:a", 1, "db1:b", 1, checkpoint, 0)
		ctx, cancel := context.WithCancel(t.Context())
		l, err := connectLane(ctx, s.Endpoint(), checkpoint, "owner", fileScript)
		if err != nil {
			t.Fatal(err)
		}
		l.start(ctx, row.had, row.had)
		r := mapped(t, "1:prefix=db1:")
		x := &player{ctx: ctx, route: r, lanes: []*lane{l}, had: []mark{row.had}, skip: []int{row.had.more}, touched: []bool{false}}
		x.begin(persist.Command{Offset: 20}, false)
		way, err := r.Of(1)
		if err != nil {
			t.Fatal(err)
		}
		err = x.empty(way)
		cancel()
		l.stop()
		keys := client.Redis().Keys(t.Context(), "*").Val()
		slices.Sort(keys)
		if err != nil || fmt.Sprint(keys) != row.left {
			t.Errorf("%+v: left %v (%v), not %s", row.had, keys, err, row.left)
		}
	}
}
