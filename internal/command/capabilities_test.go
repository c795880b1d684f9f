package command_test

import (
	"bytes"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/sandbox/sandboxtest"
)

// TestTablesAgree compares the tables with what each server says itself.
func TestTablesAgree(t *testing.T) {
	var all []command.Capabilities
	for _, s := range subjects() {
		asked := s.asked(t, sandboxtest.Client(t, start(t, s)))
		table := s.capabilities()
		for _, o := range []command.Option{
			"COPY", "GETDEL", "GETEX", "LMOVE", "BLMOVE", "ZDIFFSTORE", "ZRANGESTORE", "GEOSEARCHSTORE", "XAUTOCLAIM", "FUNCTION",
			"FCALL", "SPUBLISH", "LMPOP", "BLMPOP", "ZMPOP", "BZMPOP", "HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HPERSIST",
			"HGETDEL", "HGETEX", "HSETEX", "VADD", "VREM", "VSETATTR", "XDELEX", "XACKDEL", "DELEX", "MSETEX", "XCFGSET",
			"XIDMPRECORD", "DELIFEQ", "TRIMSLOTS", "XGROUP CREATECONSUMER", "SET", "XGROUP", "REPLCONF", "RESTORE-ASKING", "SCRIPT",
			"GEORADIUS", "PFDEBUG",
		} {
			if asked.Has(o) != table.Has(o) {
				t.Errorf("%s: %s: by the table %v, by COMMAND %v", s.name, o, table.Has(o), asked.Has(o))
			}
		}
		all = append(all, asked)
	}
	for _, from := range all {
		for _, to := range all {
			if got, want := command.Needed(&from, &to), !to.Version.Includes(from.Version); got != want {
				t.Errorf("%v to %v: needed: %v", from.Version, to.Version, got)
			}
		}
	}
}

func TestLearn(t *testing.T) {
	entry := func(name string, subcommands ...any) []any {
		return []any{name, int64(-2), []any{}, int64(1), int64(1), int64(1), []any{}, []any{}, []any{}, subcommands}
	}
	c := onRedis(7, 0)
	if err := c.Learn([]any{entry("set"), entry("xgroup", entry("xgroup|create")), nil, entry("copy")}); err != nil {
		t.Fatal(err)
	}
	c.Overrule("SET PXAT", false)
	c.Overrule("SET NEW", true)
	for o, want := range map[command.Option]bool{
		"SET": true, "GET": false, "COPY": true, "XGROUP CREATE": true, "SET PXAT": false, "SET NEW": true, "LMOVE": false, "LPOP count": false,
	} {
		if c.Has(o) != want {
			t.Errorf("%s: %v", o, c.Has(o))
		}
	}
	for _, bad := range [][]any{nil, {int64(5)}, {[]any{"set"}}, {[]any{int64(1), int64(1), int64(1), int64(1), int64(1), int64(1)}}, {nil}} {
		c := onRedis(7, 0)
		if err := c.Learn(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestVersions(t *testing.T) {
	r := func(major, minor int) command.Version { return command.Version{Major: major, Minor: minor} }
	v := func(major, minor int) command.Version {
		return command.Version{Product: rdb.Valkey, Major: major, Minor: minor}
	}
	redict := command.Version{Product: rdb.Redict, Major: 7, Minor: 3}
	for _, test := range []struct {
		a, b command.Version
		want bool
	}{
		{r(7, 0), r(7, 0), true}, {r(7, 0), r(6, 2), true}, {r(6, 2), r(7, 0), false}, {r(8, 0), v(8, 0), false},
		{v(8, 0), r(7, 2), true}, {v(8, 0), r(7, 4), false}, {v(9, 1), v(8, 1), true}, {redict, r(7, 2), true},
		{redict, v(7, 2), false}, {r(8, 6), redict, false},
	} {
		if test.a.Includes(test.b) != test.want {
			t.Errorf("%v includes %v: %v", test.a, test.b, !test.want)
		}
	}
}

func TestAppendKeys(t *testing.T) {
	c := onRedis(8, 6)
	for line, want := range map[string]string{
		"SET k v":                             "k",
		"DEL a b c":                           "a b c",
		"MSET a 1 b 2":                        "a b",
		"MSETEX 2 a 1 b 2 EX 5":               "a b",
		"RENAME a b":                          "a b",
		"BITOP AND d a b":                     "d a b",
		"XGROUP CREATE s g 0":                 "s",
		"EVAL x 2 a b c":                      "a b",
		"EVAL x y":                            "",
		"ZUNIONSTORE d 2 a b WEIGHTS 1 2":     "d a b",
		"ZUNIONSTORE d 9999999999999999999 a": "d",
		"SORT a BY w_* STORE b":               "a b",
		"GEORADIUS a 1 1 1 km STOREDIST b":    "a b",
		"SELECT 3":                            "",
		"FLUSHALL":                            "",
		"FUNCTION DELETE l":                   "",
		"NEW k":                               "k",
		"lmpop 2 a b LEFT":                    "a b",
	} {
		if got := string(bytes.Join(c.AppendKeys(nil, args(t, line)), []byte(" "))); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
	if c.AppendKeys(nil, args(t, strings.Repeat("X", 100)+" k")) == nil {
		t.Error("a long name has no key")
	}
}

func TestNeeded(t *testing.T) {
	asked := func(names ...string) command.Capabilities {
		c := onRedis(7, 0)
		var reply []any
		for _, name := range names {
			reply = append(reply, []any{name, int64(1), []any{"write"}, int64(1), int64(1), int64(1)})
		}
		if err := c.Learn(reply); err != nil {
			t.Fatal(err)
		}
		return c
	}
	fewer := onRedis(7, 0)
	fewer.Databases = 1
	for _, test := range []struct {
		from, to command.Capabilities
		want     bool
	}{
		{onRedis(6, 0), onRedis(7, 0), false},
		{onRedis(7, 0), onValkey(8, 1), false},
		{onRedis(7, 0), onRedis(6, 0), true},
		{onRedis(7, 0), fewer, true},
		{asked("set", "json.set"), asked("set"), true},
		{asked("set"), asked("set", "json.set"), false},
	} {
		if command.Needed(&test.from, &test.to) != test.want {
			t.Errorf("%v to %v: %v", test.from.Version, test.to.Version, !test.want)
		}
	}
}
