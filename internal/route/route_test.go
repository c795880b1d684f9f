package route_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"godwit/internal/route"
)

func parse(t testing.TB, flags string) route.Route {
	t.Helper()
	r, err := route.Parse(strings.Fields(flags))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParse(t *testing.T) {
	for flags, want := range map[string]string{
		"":                                "",
		"0:0":                             "0:0",
		"2:prefix=db2: 1:drop":            "0:0 1:drop 2:prefix=db2:",
		"0:prefix=a: 1:0":                 "0:prefix=a: 1:0",
		"0:drop 1:0":                      "0:drop 1:0",
		"1:2 2:1":                         "0:0 1:2 2:1",
		"0:drop 1:prefix=drop 2:prefix=3": "0:drop 1:prefix=drop 2:prefix=3",
	} {
		r := parse(t, flags)
		if r.String() != want {
			t.Errorf("%s: %s, want %s", flags, r, want)
		}
		if again, err := route.Parse(r.Flags()); err != nil || again.String() != want {
			t.Errorf("%s again: %s, %v", flags, again, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for flags, want := range map[string]string{
		"1":                     "--db-map 1: it does not begin with a db and a colon",
		":drop":                 "--db-map :drop: it does not begin with a db and a colon",
		"-1:drop":               "--db-map -1:drop: it does not begin with a db and a colon",
		"+1:drop":               "--db-map +1:drop: it does not begin with a db and a colon",
		"99999999999:drop":      "--db-map 99999999999:drop: it does not begin with a db and a colon",
		"1:":                    `--db-map 1:: "" is neither prefix=…, drop nor a db`,
		"1:skip":                `--db-map 1:skip: "skip" is neither prefix=…, drop nor a db`,
		"1:-2":                  `--db-map 1:-2: "-2" is neither prefix=…, drop nor a db`,
		"1:prefix=":             "--db-map 1:prefix=: the prefix is empty",
		"1:prefix=godwit:x":     "--db-map 1:prefix=godwit:x: names that begin with godwit: are godwit's own at the target",
		"1:drop 1:2":            "--db-map 1:2: db 1 is mapped twice",
		"1:0":                   "--db-map 1:0: dbs 0 and 1 would have the same names in db 0",
		"1:prefix=x 2:prefix=x": "--db-map 2:prefix=x: dbs 1 and 2 would have the same names in db 0",
		"1:3 2:3":               "--db-map 2:3: dbs 1 and 2 would have the same names in db 3",
	} {
		_, err := route.Parse(strings.Fields(flags))
		var wrong *route.ParseError
		if !errors.As(err, &wrong) || err.Error() != want || wrong.HintText() == "" {
			t.Errorf("%s: %v, want %s", flags, err, want)
		}
	}
}

func TestKey(t *testing.T) {
	r := parse(t, "1:prefix=db1: 2:drop 3:5 4:prefix=db1:x:")
	for _, test := range []struct {
		db    int
		key   string
		to    int
		name  string
		stays bool
	}{
		{0, "k", 0, "k", false},
		{0, "", 0, "", false},
		{0, "db1", 0, "db1", false},
		{1, "k", 0, "db1:k", false},
		{1, "db1:k", 0, "db1:db1:k", false},
		{1, "", 0, "db1:", false},
		{1, "x", 0, "db1:x", false},
		{2, "k", 0, "", true},
		{3, "k", 5, "k", false},
		{3, "db1:k", 5, "db1:k", false},
		{4, "k", 0, "db1:x:k", false},
	} {
		to, name, stays, err := r.Key([]byte("before"), test.db, []byte(test.key))
		if to != test.to || string(name) != "before"+test.name || stays != test.stays || err != nil {
			t.Errorf("db %d, %q: db %d, %q, %v, %v", test.db, test.key, to, name, stays, err)
		}
	}
	for _, test := range []struct {
		db  int
		key string
	}{{0, "db1:k"}, {0, "db1:x:k"}, {1, "x:k"}} { // of db 1, of db 4, of db 4
		var clash *route.ClashError
		if _, name, _, err := r.Key(nil, test.db, []byte(test.key)); !errors.As(err, &clash) || len(name) > 0 || clash.DB != test.db || string(clash.Key) != test.key || clash.HintText() == "" {
			t.Errorf("db %d, %q: %q, %v", test.db, test.key, name, err)
		}
	}
	var unmapped *route.UnmappedError
	if _, _, _, err := r.Key(nil, 7, []byte("k")); !errors.As(err, &unmapped) || unmapped.DB != 7 || !strings.Contains(err.Error()+unmapped.HintText(), "--db-map 7:drop") {
		t.Errorf("%v", err)
	}
	var none route.Route
	if to, name, stays, err := none.Key(nil, 0, []byte("k")); to != 0 || string(name) != "k" || stays || err != nil {
		t.Errorf("%d, %q, %v, %v", to, name, stays, err)
	}
	if _, err := none.Of(1); err == nil {
		t.Error("db 1 has a way by default")
	}
}

func TestFits(t *testing.T) {
	r := parse(t, "1:prefix=db1: 2:drop 3:5")
	if err := r.Fits(6); err != nil {
		t.Error(err)
	}
	if err := r.Fits(5); err == nil || err.Error() != "--db-map 3:5: the target has no db 5, only 5" {
		t.Errorf("%v", err)
	}
}

func TestSwap(t *testing.T) {
	r := parse(t, "1:prefix=db1: 2:drop 3:5 4:drop")
	for _, test := range []struct{ a, b int }{{0, 0}, {2, 4}, {9, 9}} {
		if err := r.Swap(test.a, test.b); err != nil {
			t.Error(err)
		}
	}
	var swap *route.SwapError
	if err := r.Swap(0, 3); !errors.As(err, &swap) || err.Error() != "SWAPDB 0 3: cannot be carried: at the target these dbs are no dbs of their own" {
		t.Errorf("%v", err)
	}
	var unmapped *route.UnmappedError
	if err := r.Swap(2, 9); !errors.As(err, &unmapped) || unmapped.DB != 9 {
		t.Errorf("%v", err)
	}
}

func TestRename(t *testing.T) {
	r := parse(t, "1:prefix=db1: 2:drop 3:5")
	var n route.Renamer
	args := bytes.Fields([]byte("MSET a 1 b 2"))
	for _, test := range []struct {
		db   int
		want string
	}{{1, "MSET db1:a 1 db1:b 2"}, {0, "MSET a 1 b 2"}, {3, "MSET a 1 b 2"}} {
		way, err := r.Of(test.db)
		if err != nil {
			t.Fatal(err)
		}
		renamed, err := n.Rename(way, args, []int{1, 3})
		if got := string(bytes.Join(renamed, []byte(" "))); got != test.want || err != nil {
			t.Errorf("db %d: %q, %v; want %q", test.db, got, err, test.want)
		}
		if string(bytes.Join(args, []byte(" "))) != "MSET a 1 b 2" {
			t.Fatalf("the arguments have changed: %q", args)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = n.Rename(way, args, []int{1, 3}) }); n != 0 {
			t.Errorf("db %d: %v allocations", test.db, n)
		}
	}
	way, err := r.Of(0)
	if err != nil {
		t.Fatal(err)
	}
	var clash *route.ClashError
	if _, err := n.Rename(way, bytes.Fields([]byte("SET db1:a v")), []int{1}); !errors.As(err, &clash) || string(clash.Key) != "db1:a" {
		t.Errorf("%v", err)
	}
}

// No two keys get the same place.
func FuzzKey(f *testing.F) {
	f.Add("1:prefix=a 2:prefix=ab 3:0 0:drop", byte(1), byte(2), "bc", "c")
	f.Add("1:prefix=db1: 2:3", byte(0), byte(1), "db1:k", "k")
	f.Fuzz(func(t *testing.T, flags string, dbA, dbB byte, a, b string) {
		r, err := route.Parse(strings.Fields(flags))
		if err != nil || dbA == dbB && a == b {
			return
		}
		toA, nameA, staysA, errA := r.Key(nil, int(dbA), []byte(a))
		toB, nameB, staysB, errB := r.Key(nil, int(dbB), []byte(b))
		if errA == nil && errB == nil && !staysA && !staysB && toA == toB && bytes.Equal(nameA, nameB) {
			t.Errorf("%s: %q of db %d and %q of db %d are both %q of db %d", r, a, dbA, b, dbB, nameA, toA)
		}
	})
}
