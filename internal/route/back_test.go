package route_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/internal/route"
)

func TestBack(t *testing.T) {
	r := parse(t, "1:prefix=db1: 2:drop 3:5 4:prefix=db1:x:")
	for _, test := range []struct {
		db   int
		name string
		from int
		key  string
		ok   bool
	}{
		{0, "k", 0, "k", true},
		{0, "db1:k", 1, "k", true},
		{0, "db1:", 1, "", true},
		{0, "db1:x:k", 4, "k", true},
		{0, "db1:x", 1, "x", true},
		{5, "k", 3, "k", true},
		{1, "k", 0, "", false},
		{2, "k", 0, "", false},
	} {
		from, key, ok := r.Back(test.db, []byte(test.name))
		if from != test.from || string(key) != test.key || ok != test.ok {
			t.Errorf("db %d, %q: db %d, %q, %v", test.db, test.name, from, key, ok)
		}
	}
	if from, key, ok := (route.Route{}).Back(3, []byte("k")); from != 3 || string(key) != "k" || !ok {
		t.Errorf("without a mapping: db %d, %q, %v", from, key, ok)
	}
	if got := r.Targets(); !slices.Equal(got, []int{0, 5}) {
		t.Errorf("targets %v", got)
	}
}

func TestOneWay(t *testing.T) {
	for flags, lost := range map[string]int{
		"": -1, "1:prefix=a": -1, "0:drop 1:0": -1, "0:drop 1:prefix=a": 0, "0:prefix=a 1:prefix=b": 0,
		"0:prefix=a 1:prefix=b 2:0": -1, "1:1 2:prefix=b": -1, "0:drop 1:1": -1, "0:drop": -1,
	} {
		err := parse(t, flags).OneWay()
		var oneWay *route.OneWayError
		if errors.As(err, &oneWay) != (lost >= 0) || lost >= 0 && (oneWay.DB != lost || oneWay.HintText() == "") {
			t.Errorf("%s: %v", flags, err)
		}
	}
}

func TestStrip(t *testing.T) {
	r := parse(t, "1:prefix=db1:")
	way, err := r.Of(1)
	if err != nil {
		t.Fatal(err)
	}
	var n route.Renamer
	args := bytes.Fields([]byte("MSET db1:a 1 db1:b 2"))
	if got := string(bytes.Join(n.Strip(way, args, []int{1, 3}), []byte(" "))); got != "MSET a 1 b 2" {
		t.Errorf("%q", got)
	}
	if n := testing.AllocsPerRun(100, func() { n.Strip(way, args, []int{1, 3}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What Key gives has its way back.
func FuzzBack(f *testing.F) {
	f.Add("1:prefix=a 2:prefix=ab 3:0 0:drop", byte(1), "bc")
	f.Add("1:prefix=db1: 2:3", byte(0), "db1:k")
	f.Fuzz(func(t *testing.T, flags string, db byte, key string) {
		r, err := route.Parse(strings.Fields(flags))
		if err != nil {
			return
		}
		to, name, stays, err := r.Key(nil, int(db), []byte(key))
		if err != nil || stays {
			return
		}
		if from, back, ok := r.Back(to, name); !ok || from != int(db) || string(back) != key {
			t.Errorf("%s: %q of db %d is %q of db %d, and back it is %q of db %d (%v)", r, key, db, name, to, back, from, ok)
		}
	})
}
