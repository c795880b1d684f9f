package command_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/resp"
)

// onRedis is what a version of Redis can do by the tables.
func onRedis(major, minor int) command.Capabilities {
	f := rdb.Format{Family: rdb.Redis, Version: 9}
	switch v := (command.Version{Major: major, Minor: minor}); {
	case v.AtLeast(8, 6):
		f.Version = 13
	case v.AtLeast(7, 4):
		f.Version = 12
	case v.AtLeast(7, 0):
		f.Version = 10
	}
	return command.NewCapabilities(command.Version{Product: rdb.Redis, Major: major, Minor: minor}, f, databases)
}

func onValkey(major, minor int) command.Capabilities {
	f := rdb.Format{Family: rdb.Valkey, Version: 11}
	if major >= 9 {
		f.Version = 80
	}
	return command.NewCapabilities(command.Version{Product: rdb.Valkey, Major: major, Minor: minor}, f, databases)
}

func args(t testing.TB, line string) [][]byte {
	t.Helper()
	list, err := words(line)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, word := range list {
		all = append(all, []byte(word))
	}
	return all
}

// text is a stream as words, its commands divided by semicolons, the text of
// scripts left out.
func text(t testing.TB, stream []byte) string {
	t.Helper()
	var all []string
	for len(stream) > 0 {
		e, err := resp.Scan(stream, nil)
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Args[0]) == "EVAL" {
			e.Args[1] = []byte("…")
		}
		all = append(all, string(bytes.Join(e.Args, []byte(" "))))
		stream = stream[e.Size:]
	}
	return strings.Join(all, "; ")
}

const clock = 1_700_000_000_000

func TestRewrite(t *testing.T) {
	const pass = "(passes)"
	for _, test := range []struct {
		from, to command.Capabilities
		command  string
		want     string
	}{
		{onRedis(7, 0), onRedis(6, 0), "SET k v", pass},
		{onRedis(7, 0), onRedis(6, 0), "set k v NX KEEPTTL", pass},
		{onRedis(7, 0), onRedis(6, 0), "SET k v PXAT 5", "MULTI; SET k v; PEXPIREAT k 5; EXEC"},
		{onRedis(7, 0), onRedis(6, 0), "SET k v NX PXAT 5", "MULTI; SET k v; PEXPIREAT k 5; EXEC"},
		{onRedis(7, 0), onRedis(6, 2), "SET k v PXAT 5", pass},
		{onRedis(6, 0), onRedis(7, 0), "SET k v EX 5", "SET k v PXAT 1700000005000"},
		{onRedis(6, 0), onRedis(6, 0), "SET k v EX 5", "MULTI; SET k v; PEXPIREAT k 1700000005000; EXEC"},
		{onRedis(6, 0), onRedis(6, 0), "SETEX k 5 v", "MULTI; SET k v; PEXPIREAT k 1700000005000; EXEC"},
		{onRedis(6, 0), onRedis(7, 0), "PSETEX k 5 v", "SET k v PXAT 1700000000005"},
		{onRedis(6, 0), onValkey(8, 1), "EXPIRE k 5", "PEXPIREAT k 1700000005000"},
		{onRedis(8, 4), onRedis(8, 0), "SET k v IFEQ w KEEPTTL", "SET k v KEEPTTL"},
		{onRedis(8, 4), onValkey(8, 1), "SET k v IFEQ w", pass},
		{onRedis(8, 4), onValkey(8, 1), "SET k v IFDNE 0", "SET k v"},
		{onRedis(8, 4), onRedis(8, 0), "MSETEX 2 a 1 b 2 NX", "MSET a 1 b 2"},
		{onRedis(8, 4), onRedis(8, 0), "MSETEX 2 a 1 b 2 PXAT 5", "MULTI; SET a 1 PXAT 5; SET b 2 PXAT 5; EXEC"},
		{onRedis(8, 4), onRedis(8, 0), "MSETEX 1 a 1 EXAT 5", "SET a 1 PXAT 5000"},
		{onRedis(8, 4), onRedis(6, 0), "MSETEX 1 a 1 PXAT 5", "MULTI; SET a 1; PEXPIREAT a 5; EXEC"},
		{onRedis(8, 4), onRedis(8, 0), "DELEX k", "DEL k"},
		{onRedis(8, 2), onRedis(8, 0), "BITOP DIFF d x y z", "MULTI; BITOP OR d y z; BITOP AND d d x; BITOP XOR d d x; EXEC"},
		{onRedis(8, 2), onRedis(8, 0), "BITOP and d x y", pass},
		{onRedis(7, 0), onRedis(6, 2), "PEXPIREAT k 5 GT", "PEXPIREAT k 5"},
		{onRedis(7, 0), onRedis(6, 0), "LPOP k 2", "LTRIM k 2 -1"},
		{onRedis(7, 0), onRedis(6, 0), "RPOP k 2", "LTRIM k 0 -3"},
		{onRedis(7, 0), onRedis(6, 0), "LMOVE a b right left", "RPOPLPUSH a b"},
		{onRedis(7, 0), onRedis(6, 0), "LMOVE a b left left", "EVAL … 2 a b LPOP LPUSH"},
		{onRedis(7, 0), onRedis(6, 0), "COPY a b DB 3", "EVAL … 2 a b 3 0"},
		{onRedis(7, 0), onRedis(6, 0), "ZADD k XX GT CH 1 a", "ZADD k XX CH 1 a"},
		{onRedis(7, 0), onRedis(6, 0), "ZADD k GT 1 a 2 b", "EVAL … 1 k GT  1 a 2 b"},
		{onRedis(7, 0), onRedis(6, 0), "ZADD k 1 GT 2 LT", pass},
		{onRedis(6, 2), onRedis(6, 0), "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km COUNT 3 STOREDIST", "MULTI; DEL d; GEORADIUSBYMEMBER s m 1 km COUNT 3 STOREDIST d; EXEC"},
		{onRedis(6, 0), onRedis(7, 0), "GEORADIUS s 1 1 5 km", pass},
		{onRedis(8, 0), onRedis(7, 0), "HSETEX h KEEPTTL FIELDS 1 f v", "HSET h f v"},
		{onRedis(8, 0), onRedis(7, 4), "HSETEX h FNX PXAT 5 FIELDS 2 f v g w", "MULTI; HSET h f v g w; HPEXPIREAT h 5 FIELDS 2 f g; EXEC"},
		{onRedis(8, 0), onRedis(7, 4), "HSETEX h KEEPTTL FIELDS 1 f v", "EVAL … 1 h f v"},
		{onRedis(8, 0), onValkey(8, 1), "HPERSIST h FIELDS 1 f", ""},
		{onValkey(9, 1), onValkey(8, 1), "HGETDEL h FIELDS 2 f g", "HDEL h f g"},
		{onRedis(7, 0), onRedis(6, 0), "XADD s NOMKSTREAM MAXLEN = 5 LIMIT 10 1-1 a b", "XADD s MAXLEN = 5 1-1 a b"},
		{onRedis(7, 0), onRedis(6, 0), "XADD s MINID = 1-1 2-1 a b", "MULTI; XADD s 2-1 a b; EVAL … 1 s MINID 1-1 ; EXEC"},
		{onRedis(8, 2), onValkey(8, 1), "XADD s KEEPREF MAXLEN 5 1-1 a b", "XADD s MAXLEN 5 1-1 a b"},
		{onRedis(8, 2), onValkey(8, 1), "XADD s 1-1 KEEPREF MINID", pass},
		{onRedis(8, 2), onValkey(8, 1), "XDELEX s KEEPREF IDS 2 1-1 2-1", "XDEL s 1-1 2-1"},
		{onRedis(8, 2), onValkey(8, 1), "XDELEX s DELREF IDS 1 1-1", "EVAL … 1 s  DELREF 1-1"},
		{onRedis(7, 0), onRedis(6, 0), "XSETID s 1-1 ENTRIESADDED 5 MAXDELETEDID 0-1", "XSETID s 1-1"},
		{onRedis(7, 0), onRedis(6, 0), "XGROUP CREATE s g $ MKSTREAM ENTRIESREAD 5", "XGROUP CREATE s g $ MKSTREAM"},
		{onRedis(7, 0), onRedis(6, 0), "XGROUP CREATECONSUMER s g c", "XREADGROUP GROUP g c COUNT 1 STREAMS s 0"},
		{onRedis(7, 0), onRedis(6, 0), "XGROUP DESTROY s g", pass},
		{onRedis(7, 0), onRedis(6, 0), "FLUSHALL SYNC", "FLUSHALL"},
		{onRedis(7, 0), onRedis(6, 0), "SPUBLISH c m", ""},
		{onRedis(6, 0), onRedis(7, 0), "SCRIPT LOAD x", pass},
	} {
		r := command.NewRewriter(test.from, test.to, command.Options{Now: func() int64 { return clock }})
		prefix := []byte("before")
		original := args(t, test.command)
		out, verdict, err := r.Rewrite(prefix, original)
		switch {
		case err != nil:
			t.Errorf("%v to %v: %s: %v", test.from.Version, test.to.Version, test.command, err)
		case verdict == command.Pass && (test.want != pass || len(out) != len(prefix)):
			t.Errorf("%v to %v: %s passes, %q", test.from.Version, test.to.Version, test.command, out)
		case verdict == command.Replace && text(t, bytes.TrimPrefix(out, prefix)) != test.want:
			t.Errorf("%v to %v: %s becomes %s", test.from.Version, test.to.Version, test.command, text(t, bytes.TrimPrefix(out, prefix)))
		}
		if !bytes.Equal(bytes.Join(original, []byte(" ")), bytes.Join(args(t, test.command), []byte(" "))) {
			t.Errorf("%s: the arguments have changed", test.command)
		}
	}
}

func TestRefuse(t *testing.T) {
	for _, test := range []struct {
		from, to command.Capabilities
		command  string
		feature  rdb.Feature
		want     string
	}{
		{onRedis(8, 0), onRedis(7, 0), "HPEXPIREAT h 5 FIELDS 1 f", rdb.FeatureHashFieldTTL, `HPEXPIREAT (hash-field-ttl) of db 0, key "h": Redis 7.0 has no equal`},
		{onRedis(8, 0), onValkey(8, 1), "HSETEX h PXAT 5 FIELDS 1 f v", rdb.FeatureHashFieldTTL, `HSETEX … a time (hash-field-ttl) of db 0, key "h"`},
		{onRedis(8, 0), onValkey(9, 1), "VADD v VALUES 1 1 a", rdb.FeatureVectorSet, `VADD (vector-set) of db 0, key "v"`},
		{onRedis(8, 6), onRedis(8, 4), "XADD s IDMP p i 1-1 a b", rdb.FeatureStreamIDMP, `XADD … IDMP (stream-idmp) of db 0, key "s"`},
		{onRedis(8, 6), onRedis(8, 4), "XCFGSET s IDMP-DURATION 5", rdb.FeatureStreamIDMP, `XCFGSET (stream-idmp)`},
		{onRedis(7, 0), onRedis(6, 2), "FUNCTION FLUSH", rdb.FeatureFunction, `FUNCTION (function): Redis 6.2`},
		{onValkey(8, 0), onRedis(8, 6), "FUNCTION LOAD \"#!lua name=l\\nserver.call('PING')\"", rdb.FeatureFunction, `FUNCTION … server.* (function)`},
		{subjects()[7].capabilities(), onRedis(8, 6), "FUNCTION LOAD \"#!lua name=l\\nredict.call('PING')\"", rdb.FeatureFunction, `FUNCTION … redict.* (function)`},
		{onRedis(8, 8), onRedis(8, 6), "SET k v NEWOPTION 1", "", `SET … NEWOPTION of db 0, key "k": Redis 8.6`},
		{onRedis(8, 8), onRedis(8, 6), "XADD s NEWOPTION 1-1 a b", "", `XADD … NEWOPTION`},
		{onRedis(8, 8), onRedis(8, 6), "ZUNIONSTORE d 1 a AGGREGATE COUNT", "", `ZUNIONSTORE … COUNT of db 0, key "d"`},
		{onRedis(8, 8), onRedis(8, 6), "NEWCOMMAND k v", "", `NEWCOMMAND of db 0, key "k"`},
		{onRedis(7, 0), onRedis(7, 0), strings.Repeat("X", 200), "", strings.Repeat("X", 64) + ": Redis 7.0"},
		{onRedis(7, 0), onRedis(7, 0), "SELECT 16", "", `SELECT … 16: Redis 7.0`},
		{onRedis(7, 0), onRedis(7, 0), "MOVE k 16", "", `MOVE … 16 of db 0, key "k"`},
		{onRedis(7, 0), onRedis(7, 0), "SWAPDB 1 16", "", `SWAPDB … 16`},
		{onRedis(7, 0), onRedis(7, 0), "COPY a b DB 16", "", `COPY … DB 16 of db 0, key "b"`},
		{onRedis(8, 2), onRedis(8, 0), "BITOP DIFF x x y", "", `BITOP … DIFF of db 0, key "x"`},
		{onRedis(7, 0), onRedis(6, 0), "GEOSEARCHSTORE d s FROMMEMBER m BYBOX 1 1 km", "", `GEOSEARCHSTORE … BYBOX of db 0, key "d"`},
		{onValkey(9, 1), onValkey(9, 0), "CLUSTER FLUSHSLOT", "", "CLUSTER"},
	} {
		r := command.NewRewriter(test.from, test.to, command.Options{})
		out, verdict, err := r.Rewrite(nil, args(t, test.command))
		var noEqual *command.NoEqualError
		if !errors.As(err, &noEqual) || noEqual.Feature != test.feature || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v to %v: %.80s: %v, %q, %v", test.from.Version, test.to.Version, test.command, verdict, out, err)
			continue
		}
		if test.feature == "" {
			continue
		}
		r = command.NewRewriter(test.from, test.to, command.Options{Drop: []rdb.Feature{test.feature}})
		if _, verdict, err := r.Rewrite(nil, args(t, test.command)); err != nil || verdict != command.Replace || r.Dropped()[test.feature] != 1 {
			t.Errorf("dropping %s: %v, %v, %v", test.command, verdict, err, r.Dropped())
		}
	}
}

// TestTransactions sees that there is no MULTI within one of the source's own,
// and that the db is followed.
func TestTransactions(t *testing.T) {
	r := command.NewRewriter(onRedis(7, 0), onRedis(6, 0), command.Options{})
	r.Reset(7)
	var out []byte
	for _, line := range []string{"MULTI", "SET a 1 PXAT 5", "SELECT 2", "COPY a b DB 3", "EXEC", "SET a 1 PXAT 5"} {
		before := len(out)
		var verdict command.Verdict
		var err error
		if out, verdict, err = r.Rewrite(out, args(t, line)); err != nil {
			t.Fatal(err)
		}
		if verdict == command.Pass {
			if len(out) != before {
				t.Errorf("%s passes and is replaced", line)
			}
			out = resp.AppendArgs(out, args(t, line)...)
		}
		if line == "MULTI" && !r.InTransaction() {
			t.Error("not in a transaction after MULTI")
		}
	}
	want := "MULTI; SET a 1; PEXPIREAT a 5; SELECT 2; EVAL … 2 a b 3 2; EXEC; MULTI; SET a 1; PEXPIREAT a 5; EXEC"
	if got := text(t, out); got != want || r.DB() != 2 || r.InTransaction() {
		t.Errorf("%s, db %d", got, r.DB())
	}
	var noEqual *command.NoEqualError
	if _, _, err := r.Rewrite(nil, args(t, "NEW k")); !errors.As(err, &noEqual) || noEqual.DB != 2 {
		t.Error(err)
	}
}

// What a search by distance stores is computed by whoever gets it: otherwise
// before 7.0 and from then on.
func TestGeoStore(t *testing.T) {
	for _, test := range []struct {
		from, to command.Capabilities
		line     string
		want     string // once it may be dropped
	}{
		{onRedis(6, 0), onRedis(7, 0), "GEORADIUS s 1 1 5 km STORE d", "GEORADIUS s 1 1 5 km STORE d"},
		{onRedis(6, 0), onValkey(8, 0), "GEORADIUSBYMEMBER s m 5 km STOREDIST d", "GEORADIUSBYMEMBER s m 5 km STOREDIST d"},
		{onRedis(6, 2), onRedis(8, 6), "GEOSEARCHSTORE d s FROMMEMBER m BYBOX 1 1 km", "GEOSEARCHSTORE d s FROMMEMBER m BYBOX 1 1 km"},
		{onRedis(7, 0), onRedis(6, 0), "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km", "MULTI; DEL d; GEORADIUSBYMEMBER s m 1 km STORE d; EXEC"},
	} {
		r := command.NewRewriter(test.from, test.to, command.Options{})
		_, _, err := r.Rewrite(nil, args(t, test.line))
		var noEqual *command.NoEqualError
		if !errors.As(err, &noEqual) || noEqual.Feature != command.FeatureGeoStore || string(noEqual.Key) != "d" || !strings.Contains(err.Error(), "computes it otherwise") {
			t.Errorf("%s: %v", test.line, err)
		}
		r = command.NewRewriter(test.from, test.to, command.Options{Drop: []rdb.Feature{command.FeatureGeoStore}})
		out, verdict, err := r.Rewrite(nil, args(t, test.line))
		if got := text(t, out); err != nil || verdict != command.Replace || got != test.want || r.Dropped()[command.FeatureGeoStore] != 1 {
			t.Errorf("%s, dropped: %v, %q, %v, %v", test.line, verdict, out, err, r.Dropped())
		}
	}
}

// An EXEC without MULTI, which Redis 6.0 propagates, is left out.
func TestExecWithoutMulti(t *testing.T) {
	r := command.NewRewriter(onRedis(6, 0), onRedis(7, 0), command.Options{})
	for _, test := range []struct{ line, want string }{
		{"PFCOUNT hll", "pass"}, {"EXEC", ""}, {"MULTI", "pass"}, {"SET a 1", "pass"}, {"EXEC", "pass"}, {"EXEC", ""},
	} {
		out, verdict, err := r.Rewrite(nil, args(t, test.line))
		if err != nil || len(out) > 0 || (verdict == command.Pass) != (test.want == "pass") {
			t.Errorf("%s: %v, %q, %v", test.line, verdict, out, err)
		}
	}
}

// TestPassesHead sees which commands need not be held back until their end.
func TestPassesHead(t *testing.T) {
	r := command.NewRewriter(onRedis(8, 6), onRedis(6, 0), command.Options{})
	for _, test := range []struct {
		head   string
		total  int
		passes bool
	}{
		{"APPEND k", 3, true},
		{"SET k", 3, true},
		{"SET k", 5, false},
		{"SET k v PXAT 5", 5, false},
		{"SET k v NX", 4, true},
		{"XADD s 1-1 a", 8, true},
		{"XADD s MAXLEN = 5 1-1", 8, true},
		{"XADD s MAXLEN =", 8, false},
		{"XADD s NOMKSTREAM 1-1", 8, false},
		{"ZADD k NX 1", 8, true},
		{"ZADD k NX", 8, false},
		{"ZADD k GT 1", 8, false},
		{"RESTORE k 0", 4, false},
		{"NEW k", 3, false},
		{"", 3, false},
	} {
		if got := r.PassesHead(args(t, test.head), test.total); got != test.passes {
			t.Errorf("%q of %d: %v", test.head, test.total, got)
		}
	}
}

// TestPassAllocatesNothing holds the hot path to its promise.
func TestPassAllocatesNothing(t *testing.T) {
	r := command.NewRewriter(onRedis(8, 6), onRedis(6, 0), command.Options{})
	var stream [][][]byte
	for _, line := range []string{"SET k v", "INCR k", "hset h f v", "XADD s 1-1 a b", "ZADD k 1 a", "SELECT 3", "MULTI", "EXEC"} {
		stream = append(stream, args(t, line))
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, c := range stream {
			if _, verdict, err := r.Rewrite(nil, c); err != nil || verdict != command.Pass {
				t.Fatalf("%q: %v, %v", c, verdict, err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRewrite(b *testing.B) {
	r := command.NewRewriter(onRedis(8, 6), onRedis(6, 0), command.Options{})
	for _, line := range []string{"APPEND key value", "SET key value", "SET key value PXAT 1700000000000"} {
		b.Run(line, func(b *testing.B) {
			command := args(b, line)
			var out []byte
			for b.Loop() {
				out, _, _ = r.Rewrite(out[:0], command)
			}
		})
	}
}

// Vector sets of Redis 8.6 are left out of a copy for 8.0, which has the commands:
// none may come into being there by halves.
func TestDroppedWhereTheTargetHasTheCommand(t *testing.T) {
	for _, line := range []string{"VADD v VALUES 1 1 a", "VREM v a", "VSETATTR v a {}"} {
		r := command.NewRewriter(onRedis(8, 6), onRedis(8, 0), command.Options{})
		if _, verdict, err := r.Rewrite(nil, args(t, line)); verdict != command.Pass || err != nil {
			t.Errorf("%s: %v, %v", line, verdict, err)
		}
		r = command.NewRewriter(onRedis(8, 6), onRedis(8, 0), command.Options{Drop: []rdb.Feature{rdb.FeatureVectorSet}})
		out, verdict, err := r.Rewrite(nil, args(t, line))
		if verdict != command.Replace || len(out) > 0 || err != nil || r.Dropped()[rdb.FeatureVectorSet] != 1 {
			t.Errorf("%s, dropped: %v, %q, %v", line, verdict, out, err)
		}
	}
}

// A client may not say all that a primary says to its replica.
func TestClient(t *testing.T) {
	for line, want := range map[string]string{
		"XADD k 1-1 f v":                                "",
		"XADD k MAXLEN ~ 5 LIMIT 10 1-1 f v":            "",
		"XADD k MAXLEN = 5 1-1 f v":                     "",
		"XADD k MAXLEN = 5 LIMIT 10 1-1 f v":            "XADD k MAXLEN = 5 1-1 f v",
		"XADD k MINID 5-1 LIMIT 10 1-1 f v":             "XADD k MINID 5-1 1-1 f v",
		"XADD k DELREF MAXLEN = 5 LIMIT 10 1-1 LIMIT 5": "XADD k MAXLEN = 5 DELREF 1-1 LIMIT 5",
		"XTRIM k MAXLEN = 5 LIMIT 10 ACKED":             "XTRIM k MAXLEN = 5 ACKED",
		"XTRIM k MAXLEN = 5 ACKED":                      "",
	} {
		r := command.NewRewriter(onRedis(8, 6), onRedis(8, 6), command.Options{Client: true})
		out, verdict, err := r.Rewrite(nil, args(t, line))
		if want == "" && (verdict != command.Pass || err != nil) || want != "" && string(out) != string(resp.AppendArgs(nil, args(t, want)...)) {
			t.Errorf("%s: %v, %q, %v; want %q", line, verdict, out, err, want)
		}
		r = command.NewRewriter(onRedis(8, 6), onRedis(8, 6), command.Options{})
		if out, verdict, err := r.Rewrite(nil, args(t, line)); verdict != command.Pass || err != nil {
			t.Errorf("%s to a replica: %v, %q, %v", line, verdict, out, err)
		}
	}
	r := command.NewRewriter(onRedis(8, 6), onRedis(8, 6), command.Options{Client: true})
	var noEqual *command.NoEqualError
	if _, _, err := r.Rewrite(nil, args(t, "XADD k IDMPAUTO p 1-1 f v")); !errors.As(err, &noEqual) || noEqual.Reason == "" {
		t.Errorf("IDMPAUTO: %v", err)
	}
	if placing, _, err := command.NewPlacer(onRedis(8, 6)).Place(args(t, "XADD k IDMPAUTO p 1-1 f v")); placing != command.ByValue || err != nil {
		t.Errorf("IDMPAUTO is placed %v, %v", placing, err)
	}
}
