package digest_test

import (
	"bytes"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// What was left out on purpose does not count, and everything else does.
func TestDrop(t *testing.T) {
	snapshot := saved(t, filled(t, "redis-8.6", dataset.Options{Keys: 600, Seed: 4, VectorSets: true, Now: time.Now()}))
	everything := digested(t, bytes.NewReader(snapshot), digest.Options{})
	for _, feature := range []rdb.Feature{rdb.FeatureHashFieldTTL, rdb.FeatureFunction, rdb.FeatureVectorSet, rdb.FeatureStream, rdb.FeatureModule} {
		t.Run(string(feature), func(t *testing.T) {
			o := digest.Options{Drop: map[rdb.Feature]bool{feature: true}}
			got := digested(t, bytes.NewReader(snapshot), o)
			changed := 0
			for name, want := range everything {
				e, ok := got[name]
				switch {
				case ok && e.Value == want.Value:
					continue
				case feature == rdb.FeatureHashFieldTTL && ok && want.TTLs != 0 && e.TTLs == 0 && e.Sum == want.Sum:
				case feature == rdb.FeatureFunction && !ok && want.Type == "function" && want.DB == -1:
				case feature == rdb.FeatureVectorSet && !ok && want.Type == "vectorset":
				case feature == rdb.FeatureStream && !ok && want.Type == "stream":
				default:
					t.Errorf("%.50q is %+v (%v), was %+v", name, e, ok, want)
				}
				changed++
				if ok == o.Counts(want.Type) {
					continue
				}
				t.Errorf("%.50q: Counts is %v", name, !ok)
			}
			if changed == 0 && feature != rdb.FeatureModule {
				t.Error("nothing was left out")
			}
		})
	}
}

func TestFunctionLibrary(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := sandboxtest.Client(t, s)
	load := func(more string) digest.Entry {
		do(t, c, "FUNCTION", "LOAD", "REPLACE", "#!lua  name=mylib \nredis.register_function('f', function() return 1 end)"+more)
		entries := digested(t, bytes.NewReader(saved(t, s)), digest.Options{})
		if len(entries) != 1 {
			t.Errorf("%d entries", len(entries))
		}
		return entries["-1 mylib"]
	}
	one, two := load(""), load(" -- more")
	if one.Type != "function" || one.ExpireAt != rdb.None || one.Sum == two.Sum || two.Sum == 0 {
		t.Errorf("%+v, then %+v", one, two)
	}
}

func TestStreamOptions(t *testing.T) {
	c := sandboxtest.Client(t, sandboxtest.Start(t, "redis-8.0", sandbox.Options{}))
	sum := func(o digest.Options) uint64 {
		payload, _ := do(t, c, "DUMP", "stream").(string)
		v, err := digest.NewPayloads(o).Sum([]byte(payload))
		must(t, err)
		return v.Sum
	}
	do(t, c, "XADD", "stream", "1-1", "a", "b")
	do(t, c, "XADD", "stream", "2-1", "a", "b")
	do(t, c, "XGROUP", "CREATE", "stream", "group", "1-1", "ENTRIESREAD", 1)
	old := digest.Options{Formats: []rdb.Format{{Version: 12}, {Version: 9}}}
	for _, test := range []struct {
		what    string
		command []any
		options digest.Options // with which it does not count
	}{
		{"a consumer without pending entries", []any{"XGROUP", "CREATECONSUMER", "stream", "group", "idle"}, digest.Options{NoEmptyConsumers: true}},
		{"entries read", []any{"XGROUP", "SETID", "stream", "group", "1-1", "ENTRIESREAD", 2}, digest.Options{NoEntriesRead: true}},
		{"entries read, in an old format", []any{"XGROUP", "SETID", "stream", "group", "1-1", "ENTRIESREAD", 1}, old},
		{"the greatest deleted ID", []any{"XSETID", "stream", "2-1", "ENTRIESADDED", 2, "MAXDELETEDID", "1-2"}, old},
		{"entries added", []any{"XSETID", "stream", "2-1", "ENTRIESADDED", 9}, old},
	} {
		all, some := sum(digest.Options{}), sum(test.options)
		do(t, c, test.command...)
		if sum(digest.Options{}) == all {
			t.Errorf("%s: it makes no difference", test.what)
		}
		if sum(test.options) != some {
			t.Errorf("%s: it counts with %+v", test.what, test.options)
		}
	}
	for _, command := range [][]any{
		{"XADD", "stream", "3-1", "a", "b"},
		{"XDEL", "stream", "3-1"},
		{"XCLAIM", "stream", "group", "reader", 0, "2-1", "TIME", 1000, "RETRYCOUNT", 1, "FORCE"},
		{"XCLAIM", "stream", "group", "reader", 0, "2-1", "TIME", 1001, "RETRYCOUNT", 1},
		{"XCLAIM", "stream", "group", "reader", 0, "2-1", "TIME", 1001, "RETRYCOUNT", 2},
		{"XCLAIM", "stream", "group", "other", 0, "2-1", "TIME", 1001, "RETRYCOUNT", 2},
		{"XACK", "stream", "group", "2-1"},
		{"XGROUP", "SETID", "stream", "group", "2-1"},
		{"XGROUP", "CREATE", "stream", "group 2", "2-1"},
		{"XSETID", "stream", "3-2"},
	} {
		o := digest.Options{Formats: old.Formats, NoEmptyConsumers: true}
		before := sum(o)
		do(t, c, command...)
		if sum(o) == before {
			t.Errorf("%v makes no difference", command)
		}
	}
}

// Metadata that modules attach to a key counts unless it was dropped.
func TestKeyMetadata(t *testing.T) {
	format := rdb.Format{Version: 13}
	const metadata = "\xf3\x01abcd\x02\x07\x00"
	sums := func(o digest.Options, metadata string) (digest.Value, digest.Value) {
		body := metadata + "\x00\x05value"
		payload, err := digest.NewPayloads(o).Sum(rdb.AppendDumpFooter([]byte(body), 0, format, rdb.NewCRC64()))
		must(t, err)
		snapshot := "REDIS0013" + metadata + "\x00\x03key\x05value\xff\x00\x00\x00\x00\x00\x00\x00\x00"
		return payload, digested(t, bytes.NewReader([]byte(snapshot)), o)["0 key"].Value
	}
	with, inSnapshot := sums(digest.Options{}, metadata)
	without, _ := sums(digest.Options{}, "")
	if with != inSnapshot || with == without {
		t.Errorf("%+v, in a snapshot %+v, without %+v", with, inSnapshot, without)
	}
	if dropped, _ := sums(digest.Options{Drop: map[rdb.Feature]bool{rdb.FeatureKeyMetadata: true}}, metadata); dropped != without {
		t.Errorf("dropped it is %+v, want %+v", dropped, without)
	}
}

func TestAux(t *testing.T) {
	s := digest.NewSnapshot(bytes.NewReader(saved(t, sandboxtest.Start(t, "redis-7.0", sandbox.Options{}))), digest.Options{})
	if e, err := s.Next(); err == nil {
		t.Errorf("an entry %+v of an empty server", e)
	}
	if got := s.Aux("redis-ver"); got != "7.0.15" {
		t.Errorf("redis-ver is %q", got)
	}
	if s.Aux("ctime") == "" || s.Aux("none") != "" || s.Format() != (rdb.Format{Version: 10}) {
		t.Errorf("ctime %q, format %v", s.Aux("ctime"), s.Format())
	}
}

// Each part of an entry counts in Mix, and nothing of it in KeyHash but the name.
func TestMix(t *testing.T) {
	o := digest.Options{Seed: seed}
	e := digest.Entry{DB: 1, Key: []byte("key"), ExpireAt: 5, Value: digest.Value{Type: "set", Sum: 6, TTLs: 7}}
	sums := map[uint64]bool{o.Mix(&e): true}
	for _, change := range []func(*digest.Entry){
		func(e *digest.Entry) { e.DB++ },
		func(e *digest.Entry) { e.Key = []byte("kex") },
		func(e *digest.Entry) { e.ExpireAt = rdb.None },
		func(e *digest.Entry) { e.Type = "hash" },
		func(e *digest.Entry) { e.Sum++ },
		func(e *digest.Entry) { e.TTLs++ },
		func(e *digest.Entry) { e.Sum, e.TTLs = e.TTLs, e.Sum },
	} {
		changed := e
		change(&changed)
		sums[o.Mix(&changed)] = true
	}
	if len(sums) != 8 {
		t.Errorf("%d sums", len(sums))
	}
	sized := e
	sized.Size = 100
	if o.Mix(&sized) != o.Mix(&e) || o.KeyHash(e.Key) == o.KeyHash([]byte("kex")) {
		t.Error("the size counts, or the name does not")
	}
	if other := (digest.Options{Seed: seed + 1}); other.Mix(&e) == o.Mix(&e) || other.KeyHash(e.Key) == o.KeyHash(e.Key) {
		t.Error("the seed does not count")
	}
}
