package command_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/sandbox/sandboxtest"
)

// TestTablesAgree compares the tables with what each server says itself: of every
// command, subcommand and option that is in them.
func TestTablesAgree(t *testing.T) {
	var all []command.Capabilities
	for _, s := range subjects() {
		asked := s.asked(t, sandboxtest.Client(t, start(t, s)))
		table := s.capabilities()
		for _, o := range append(command.AllOptions(), "SET", "XGROUP", "REPLCONF", "RESTORE-ASKING", "SCRIPT", "GEORADIUS", "PFDEBUG") {
			if asked.Has(o) != table.Has(o) {
				t.Errorf("%s: %s: by the table %v, by the server %v", s.name, o, table.Has(o), asked.Has(o))
			}
		}
		all = append(all, asked)
	}
	for i, from := range all {
		for j, to := range all {
			asked, table := command.Lacking(&from, &to), subjects()[i].lacking(subjects()[j])
			if !slices.Equal(asked, table) {
				t.Errorf("%v to %v: lacking by what they say: %q, by the table %q", from.Version, to.Version, asked, table)
			}
		}
	}
}

func (s subject) lacking(target subject) []command.Option {
	from, to := s.capabilities(), target.capabilities()
	return command.Lacking(&from, &to)
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
