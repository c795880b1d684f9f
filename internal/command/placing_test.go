package command_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/slot"
)

// a, b, c and d are of four slots; {a}2 is of a's.
func TestPlace(t *testing.T) {
	p := command.NewPlacer(onRedis(8, 6))
	for _, test := range []struct {
		line          string
		placing       command.Placing
		written, read string
		overwrites    bool
	}{
		{"SET a v", command.OneSlot, "a", "", true},
		{"set a v pxat 5", command.OneSlot, "a", "", true},
		{"SET a v PX KEEPTTL", command.OneSlot, "a", "", true}, // refused by servers
		{"SET a v KEEPTTL", command.OneSlot, "a", "a", false},
		{"SET a v NX", command.OneSlot, "a", "a", false},
		{"SET a v EX 5 GET", command.OneSlot, "a", "a", false},
		{"SET a v IFEQ w", command.OneSlot, "a", "a", false},
		{"SET a v SOMETHING", command.OneSlot, "a", "a", false},
		{"SETEX a 5 v", command.OneSlot, "a", "", true},
		{"SETNX a v", command.OneSlot, "a", "a", false},
		{"GETSET a v", command.OneSlot, "a", "a", false},
		{"INCR a", command.OneSlot, "a", "a", false},
		{"RESTORE a 0 p", command.OneSlot, "a", "a", false},
		{"RESTORE a 0 p IDLETIME REPLACE", command.OneSlot, "a", "a", false},
		{"RESTORE-ASKING a 0 p ABSTTL REPLACE", command.OneSlot, "a", "", true},
		{"XGROUP CREATE a g 0", command.OneSlot, "a", "a", false},
		{"XADD a * f v", command.OneSlot, "a", "a", false},
		{"DELEX a", command.OneSlot, "a", "", true},
		{"DELEX a IFEQ v", command.OneSlot, "a", "a", false},

		{"DEL a", command.OneSlot, "a", "", true},
		{"DEL a {a}2", command.OneSlot, "a {a}2", "", true},
		{"DEL a b a", command.Parts, "a b a", "", true},
		{"UNLINK a b", command.Parts, "a b", "", true},
		{"TOUCH a b", command.Parts, "", "", false},
		{"MSET a 1 b 2", command.Parts, "a b", "", true},
		{"MSETNX a 1 b 2", command.Parts, "a b", "a b", false},
		{"MSETEX 2 a 1 b 2", command.Parts, "a b", "", true},
		{"MSETEX 2 a 1 b 2 PXAT 5", command.Parts, "a b", "", true},
		{"MSETEX 2 a 1 b 2 KEEPTTL", command.Parts, "a b", "a b", false},
		{"MSETEX 2 a 1 b 2 NX EX 5", command.Parts, "a b", "a b", false},

		{"RENAME a {a}2", command.OneSlot, "a {a}2", "a", false},
		{"RENAME a b", command.ByValue, "a b", "a", false},
		{"RENAMENX a b", command.ByValue, "a b", "a b", false},
		{"COPY a b", command.ByValue, "b", "a b", false},
		{"COPY a b REPLACE", command.ByValue, "b", "a", true},
		{"COPY a a REPLACE", command.OneSlot, "a", "a", false},
		{"SMOVE a b m", command.ByValue, "a b", "a b", false},
		{"LMOVE a b LEFT RIGHT", command.ByValue, "a b", "a b", false},
		{"RPOPLPUSH a a", command.OneSlot, "a a", "a a", false},
		{"BLPOP a b 5", command.ByValue, "a b", "a b", false},
		{"LMPOP 2 a b LEFT", command.ByValue, "a b", "a b", false},
		{"BZMPOP 5 2 a b MIN", command.ByValue, "a b", "a b", false},
		{"SORT a STORE {a}2", command.OneSlot, "{a}2", "a", true},
		{"SORT a BY nosort LIMIT 0 5 STORE {a}2", command.OneSlot, "{a}2", "a", true},
		{"SORT a BY STORE GET STORE STORE b", command.ByValue, "b", "a", true},
		{"SORT a BY w_* STORE {a}2", command.ByValue, "{a}2", "a", true},
		{"SORT a GET # STORE {a}2", command.ByValue, "{a}2", "a", true},
		{"SORT a STORE b STORE c", command.ByValue, "c", "a", true},
		{"SORT a STORE a", command.OneSlot, "a", "a", false},
		{"SINTERSTORE a b c", command.ByValue, "a", "b c", true},
		{"SUNIONSTORE a b a", command.ByValue, "a", "b a", false},
		{"ZUNIONSTORE a 2 b c WEIGHTS 1 2", command.ByValue, "a", "b c", true},
		{"ZRANGESTORE a b 0 -1", command.ByValue, "a", "b", true},
		{"BITOP AND a b c", command.ByValue, "a", "b c", true},
		{"PFMERGE a b", command.ByValue, "a", "a b", false},
		{"PFMERGE a", command.OneSlot, "a", "a", false},
		{"PFCOUNT a b", command.ByValue, "a b", "a b", false},
		{"GEOSEARCHSTORE a b FROMMEMBER m BYRADIUS 5 km", command.ByValue, "a", "b", true},
		{"GEORADIUS a 1 2 3 km STOREDIST b", command.ByValue, "b", "a", true},
		{"GEORADIUSBYMEMBER a store 3 km STORE {a}2", command.OneSlot, "{a}2", "a", true},
		{"GEORADIUSBYMEMBER a m 3 km", command.OneSlot, "", "a", false},
		{"EVAL s 2 a b v", command.ByValue, "a b", "a b", false},
		{"FCALL f 1 a v", command.OneSlot, "a", "a", false},

		{"FLUSHALL", command.Everywhere, "", "", false},
		{"FLUSHDB ASYNC", command.Everywhere, "", "", false},
		{"FUNCTION LOAD REPLACE code", command.Everywhere, "", "", false},
		{"SCRIPT LOAD code", command.Everywhere, "", "", false},
		{"PUBLISH c m", command.Once, "", "", false},
		{"SPUBLISH a m", command.OneSlot, "", "", false},
		{"SWAPDB 1 2", command.Dbs, "", "", false},
		{"MOVE a 3", command.Dbs, "a", "a", false},
		{"COPY a b DB 3", command.Dbs, "", "a", false},
		{"COPY a b REPLACE db 3", command.Dbs, "", "a", false},
		{"CLUSTER FLUSHSLOT 15495", command.WholeSlot, "", "", false},
		{"CLUSTER SYNCSLOTS ACK", command.Moving, "", "", false},
		{"TRIMSLOTS RANGES 1 5649 5649", command.Moving, "", "", false},
		{"PING", command.NoData, "", "", false},
		{"", command.NoData, "", "", false},
	} {
		var line [][]byte
		if test.line != "" {
			line = args(t, test.line)
		}
		placing, of, err := p.Place(line)
		if err != nil || placing != test.placing {
			t.Errorf("%s: %v, %v; want %v", test.line, placing, err, test.placing)
			continue
		}
		if want := slot.Of([]byte("a")); (placing == command.OneSlot || placing == command.WholeSlot) && of != want {
			t.Errorf("%s: slot %d, want %d", test.line, of, want)
		}
		written, err1 := p.AppendWritten(nil, line)
		read, err2 := p.AppendRead(nil, line)
		if got := string(bytes.Join(written, []byte(" "))); got != test.written || err1 != nil {
			t.Errorf("%s: writes %q, %v; want %q", test.line, got, err1, test.written)
		}
		if got := string(bytes.Join(read, []byte(" "))); got != test.read || err2 != nil {
			t.Errorf("%s: reads %q, %v; want %q", test.line, got, err2, test.read)
		}
		if got := p.Overwrites(line); got != test.overwrites {
			t.Errorf("%s: overwrites: %v", test.line, got)
		}
	}
}

func TestSplit(t *testing.T) {
	p := command.NewPlacer(onRedis(8, 6))
	for line, want := range map[string][]string{ // of c: 7365, b: 3300, a: 15495
		"DEL a b c {a}2 b":                  {"DEL b b", "DEL c", "DEL a {a}2"},
		"unlink a":                          {"unlink a"},
		"MSET a 1 b 2 a 3 {b}a 4":           {"MSET b 2 {b}a 4", "MSET a 1 a 3"},
		"MSETNX a 1 b 2":                    {"MSETNX b 2", "MSETNX a 1"},
		"MSETEX 3 a 1 b 2 {a}2 3 PXAT 5 XX": {"MSETEX 1 b 2 PXAT 5 XX", "MSETEX 2 a 1 {a}2 3 PXAT 5 XX"},
	} {
		var parts []string
		err := p.Split(args(t, line), func(of uint16, part [][]byte) error {
			if placing, is, err := p.Place(part); placing != command.OneSlot || is != of || err != nil {
				t.Errorf("%s: %q is %v of slot %d, %v; want one of slot %d", line, part, placing, is, err, of)
			}
			parts = append(parts, string(bytes.Join(part, []byte(" "))))
			return nil
		})
		if err != nil || !slices.Equal(parts, want) {
			t.Errorf("%s: %q, %v; want %q", line, parts, err, want)
		}
	}
	if err := p.Split(args(t, "RENAME a b"), nil); err == nil {
		t.Error("RENAME has been taken apart")
	}
	stop := errors.New("stop")
	if err := p.Split(args(t, "DEL a b"), func(uint16, [][]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestBeyond(t *testing.T) {
	p := command.NewPlacer(onRedis(8, 6))
	for line, want := range map[string]command.Beyond{
		"MOVE a 3":                    {DB: 3, Key: []byte("a"), With: -1},
		"COPY a b DB 4":               {DB: 4, Key: []byte("b"), With: -1},
		"COPY a db DB 4 REPLACE DB 5": {DB: 5, Key: []byte("db"), With: -1},
		"SWAPDB 1 2":                  {DB: 1, With: 2},
	} {
		got, err := p.Beyond(args(t, line))
		if err != nil || got.DB != want.DB || got.With != want.With || !bytes.Equal(got.Key, want.Key) {
			t.Errorf("%s: %+v, %v; want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{"COPY a b", "MOVE a", "MOVE a b", "SWAPDB 1 -1", "SET a v", "COPY a b DB x"} {
		if got, err := p.Beyond(args(t, line)); err == nil {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

// What cannot be placed is named, never guessed at.
func TestNotPlaced(t *testing.T) {
	p := command.NewPlacer(onRedis(8, 6))
	for line, want := range map[string]string{
		"NOSUCH k":                  "NOSUCH: cannot be placed in a cluster: which keys it has is not known",
		"xreadgroup GROUP g c":      "XREADGROUP: cannot be placed in a cluster: which keys it has is not known",
		"SET":                       "SET: cannot be placed in a cluster: it has too few arguments",
		"RENAME a":                  "RENAME: cannot be placed in a cluster: it has too few arguments",
		"MSET a 1 b":                "MSET: cannot be placed in a cluster: its arguments do not come in groups of 2",
		"MSETEX 2 a 1 b":            "MSETEX: cannot be placed in a cluster: it does not have 2 keys",
		"LMPOP x a LEFT":            "LMPOP: cannot be placed in a cluster: it does not have x keys",
		"ZUNIONSTORE a 0":           "ZUNIONSTORE: cannot be placed in a cluster: it does not have 0 keys",
		"EVAL s -1 a":               "EVAL: cannot be placed in a cluster: it does not have -1 keys",
		"EVAL s 0":                  "EVAL: cannot be placed in a cluster: it names no key",
		"SCRIPT KILL":               "SCRIPT: cannot be placed in a cluster: no server is known to propagate this subcommand",
		"CLUSTER RESET":             "CLUSTER: cannot be placed in a cluster: no server is known to propagate this subcommand",
		"CLUSTER FLUSHSLOT 9999999": "CLUSTER: cannot be placed in a cluster: 9999999 is no slot",
		"SPUBLISH":                  "SPUBLISH: cannot be placed in a cluster: it has no channel",
		"BITOP AND":                 "BITOP: cannot be placed in a cluster: it has too few arguments",
	} {
		_, _, err := p.Place(args(t, line))
		var unplaced *command.PlaceError
		if !errors.As(err, &unplaced) || err.Error() != want || unplaced.HintText() == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Keys of commands that no table knows are where the source says, if it says all.
func TestPlaceByTheSourcesWord(t *testing.T) {
	c := onRedis(7, 0)
	entry := func(name string, first, last, step int64, flags ...any) any {
		return []any{name, int64(-2), append([]any{"write"}, flags...), first, last, step}
	}
	err := c.Learnt.Commands([]any{
		entry("x.set", 1, 1, 1, "module"), entry("x.two", 1, 2, 1), entry("x.pairs", 2, -1, 2),
		entry("x.movable", 1, 1, 1, "movablekeys"), entry("x.none", 0, 0, 0), entry("del", 1, 1, 1),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := command.NewPlacer(c)
	for line, want := range map[string]string{
		"x.set a v":         "one slot a",
		"X.TWO a b v":       "by value a b",
		"x.pairs o a 1 b 2": "by value a b",
		"DEL a b":           "in parts a b", // the table counts
	} {
		placing, _, err := p.Place(args(t, line))
		keys, err2 := p.AppendWritten(nil, args(t, line))
		if got := placing.String() + " " + string(bytes.Join(keys, []byte(" "))); got != want || err != nil || err2 != nil {
			t.Errorf("%s: %q, %v, %v; want %q", line, got, err, err2, want)
		}
	}
	for _, line := range []string{"x.movable a", "x.none a", "x.pairs o a 1 b"} {
		if placing, _, err := p.Place(args(t, line)); err == nil {
			t.Errorf("%s: %v", line, placing)
		}
	}
}

func TestPlacingDoesNotAllocate(t *testing.T) {
	p := command.NewPlacer(onRedis(8, 6))
	var stream [][][]byte
	for _, line := range []string{
		"SET key value", "SET key value PXAT 1700000000000", "INCR key", "HSET key f v g w", "LPUSH key a b", "DEL a b c", "MSETEX 2 a 1 b 2 EX 5",
		"SUNIONSTORE a b c", "PING", "EVAL s 2 a {a}b", "FLUSHALL", "COPY a b DB 5", "SORT a BY b* STORE c", "ZUNIONSTORE a 2 b c",
	} {
		stream = append(stream, args(t, line))
	}
	var keys [][]byte
	var positions []int
	for _, c := range stream {
		if n := testing.AllocsPerRun(100, func() {
			placing, _, err := p.Place(c)
			if err == nil && placing == command.Parts {
				err = p.Split(c, func(uint16, [][]byte) error { return nil })
			}
			if err != nil {
				t.Fatal(err)
			}
			keys, _ = p.AppendWritten(keys[:0], c)
			keys, _ = p.AppendRead(keys[:0], c)
			positions, _ = p.AppendKeyPositions(positions[:0], c)
			p.Overwrites(c)
		}); n != 0 {
			t.Errorf("%q: %v allocations", c, n)
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	p := command.NewPlacer(onRedis(8, 6))
	for _, line := range []string{"SET user:12345:profile value", "INCR counter:12345", "HSET session:12345 field value", "LPUSH queue:jobs element", "MSET a 1 b 2 c 3 d 4"} {
		name, _, _ := strings.Cut(line, " ")
		b.Run(name, func(b *testing.B) {
			command := args(b, line)
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = p.Place(command)
			}
		})
	}
}

// As Valkey 9.1 and Redis 8.6 propagate them.
func TestMove(t *testing.T) {
	p := command.NewPlacer(onValkey(9, 1))
	for line, want := range map[string]command.Move{
		"CLUSTER SYNCSLOTS ESTABLISH SOURCE node NAME task SLOTSRANGE 5649 5649 7 9": {Event: command.MoveBegins, Import: true, Task: "task", Slots: []command.Range{{5649, 5649}, {7, 9}}},
		"CLUSTER SYNCSLOTS ACK":                                                        {Import: true},
		"CLUSTER SYNCSLOTS SNAPSHOT-EOF":                                               {Import: true},
		"CLUSTER SYNCSLOTS FINISH STATE SUCCESS NAME task MESSAGE m":                   {Event: command.MoveEnds, Import: true, Task: "task"},
		"CLUSTER SYNCSLOTS FINISH STATE FAILED NAME task MESSAGE m":                    {Event: command.MoveFails, Import: true, Task: "task"},
		"CLUSTER SYNCSLOTS CONF ASM-TASK task:source:dest:import:connecting:5649-5649": {Event: command.MoveBegins, Import: true, Task: "task", Slots: []command.Range{{5649, 5649}}},
		"CLUSTER SYNCSLOTS CONF ASM-TASK task:source:dest:migrate:wait-rdbchannel:1-2": {Event: command.MoveBegins, Task: "task", Slots: []command.Range{{1, 2}}},
		"CLUSTER SYNCSLOTS CONF ASM-TASK task:source:dest:import:completed:1-2":        {Event: command.MoveEnds, Import: true, Task: "task", Slots: []command.Range{{1, 2}}},
		"CLUSTER SYNCSLOTS CONF ASM-TASK task:source:dest:migrate:failed:1-2":          {Event: command.MoveFails, Task: "task", Slots: []command.Range{{1, 2}}},
		"CLUSTER SYNCSLOTS CONF SLOT-INFO 5649:1:0":                                    {},
		"TRIMSLOTS RANGES 2 1 2 5649 5649":                                             {Event: command.MoveDeletes, Slots: []command.Range{{1, 2}, {5649, 5649}}},
		"CLUSTER SETSLOT 5 NODE node":                                                  {},
	} {
		placing, _, err := p.Place(args(t, line))
		got, err2 := p.Move(args(t, line))
		if placing != command.Moving || err != nil || err2 != nil || got.Event != want.Event || got.Import != want.Import || got.Task != want.Task || !slices.Equal(got.Slots, want.Slots) {
			t.Errorf("%s: %v, %v, %+v, %v; want %+v", line, placing, err, got, err2, want)
		}
	}
	for _, line := range []string{
		"CLUSTER FLUSHSLOT 5", "SET a v", "TRIMSLOTS RANGES 1 5", "TRIMSLOTS RANGES 1 5 99999", "CLUSTER SYNCSLOTS CONF ASM-TASK task",
		"CLUSTER SYNCSLOTS CONF ASM-TASK a:b:c:import:connecting:x", "CLUSTER SYNCSLOTS ESTABLISH SOURCE node NAME task",
	} {
		if got, err := p.Move(args(t, line)); err == nil {
			t.Errorf("%s: %+v", line, got)
		}
	}
}
