package rdb_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// everyPair runs a test for each ordered pair of servers, the source filled with
// all that it can hold, vector sets apart. In short it takes three targets each.
func everyPair(t *testing.T, keys int, test func(t *testing.T, source *sandbox.Server, from, to subject)) {
	for i, from := range subjects() {
		t.Run(from.name, func(t *testing.T) {
			t.Parallel()
			source := filled(t, from.name, dataset.Options{Keys: keys, DBs: []int{0, 9}})
			fillBoundaries(t, sandboxtest.Client(t, source))
			for _, to := range some(3, targets(i)) {
				t.Run(to.name, func(t *testing.T) { test(t, source, from, to) })
			}
		})
	}
}

// targets are all servers, first those that tell most of the source with that
// number: the oldest one, for which most is rewritten, then those before it.
func targets(source int) []subject {
	all := subjects()
	list := all[:1:1]
	for i := range all {
		if before := (source - 1 - i + len(all)) % len(all); before > 0 {
			list = append(list, all[before])
		}
	}
	return list
}

// mayDrop has what a target cannot hold and the tests do without.
func mayDrop() []rdb.Feature {
	return []rdb.Feature{rdb.FeatureFunction, rdb.FeatureHashFieldTTL}
}

// equal compares two servers by meaning, what was dropped apart.
func equal(t *testing.T, a, b *sandbox.Server, dropped map[rdb.Feature]int64, tolerance time.Duration) {
	t.Helper()
	report, err := audit.Compare(t.Context(), a.Endpoint(), b.Endpoint(), audit.Options{TTLTolerance: tolerance})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Differences {
		isFunction := d.DB < 0 && d.Kind == audit.Missing
		isFieldTTL := d.Kind == audit.TTL && strings.HasPrefix(d.Detail, "field ")
		if isFunction && dropped[rdb.FeatureFunction] > 0 || isFieldTTL && dropped[rdb.FeatureHashFieldTTL] > 0 {
			continue
		}
		t.Error(d)
	}
	if report.Keys == 0 {
		t.Error("nothing was compared")
	}
}

// loaded starts a server that loads a snapshot.
func loaded(t *testing.T, name string, snapshot []byte) *sandbox.Server {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dump.rdb"), snapshot, 0o600); err != nil {
		t.Fatal(err)
	}
	return sandboxtest.Start(t, name, sandbox.Options{Dir: dir})
}

// TestConvertEveryPair converts the snapshot of each server for each other one,
// which loads it and then has the same data.
func TestConvertEveryPair(t *testing.T) {
	crc := rdb.NewCRC64()
	everyPair(t, 500, func(t *testing.T, source *sandbox.Server, from, to subject) {
		snapshot := saved(t, source)
		var converted bytes.Buffer
		options := rdb.ConverterOptions{To: to.format, CRC: crc, Transcoder: rdb.TranscoderOptions{Drop: mayDrop()}}
		c := rdb.NewConverter(&converted, bytes.NewReader(snapshot), options)
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d keys, %d rewritten, dropped %v", c.Keys(), c.Rewritten(), c.Dropped())
		if from.format == to.format {
			if !bytes.Equal(converted.Bytes(), snapshot) {
				t.Error("a snapshot of the same format has changed")
			}
			return
		}
		equal(t, source, loaded(t, to.name, converted.Bytes()), c.Dropped(), 0)
		if c.Rewritten() == 0 {
			return
		}
		// Values that come in pieces become the same.
		var inPieces bytes.Buffer
		options.BufferSize = 300
		c = rdb.NewConverter(&inPieces, iotest.HalfReader(bytes.NewReader(snapshot)), options)
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(inPieces.Bytes(), converted.Bytes()) {
			t.Error("a small buffer gives another snapshot")
		}
	})
}

// TestConvertRefuses sees that what has no equal is named, with its key.
func TestConvertRefuses(t *testing.T) {
	source := sandboxtest.Start(t, "redis-8.6", sandbox.Options{})
	client := sandboxtest.Client(t, source)
	for _, test := range []struct {
		write  []any
		to     rdb.Format
		what   rdb.Feature
		key    string
		detail string
	}{
		{[]any{"VADD", "vectors", "VALUES", 3, 1, 2, 3, "element"}, rdb.Format{Family: rdb.Valkey, Version: 80}, rdb.FeatureVectorSet, "vectors", "vectorset"},
		{[]any{"HSETEX", "hash", "PX", 1_000_000, "FIELDS", 1, "field", "value"}, rdb.Format{Version: 11}, rdb.FeatureHashFieldTTL, "hash", ""},
		{[]any{"XADD", "stream", "IDMP", "producer", "id", "*", "a", "b"}, rdb.Format{Version: 12}, rdb.FeatureStreamIDMP, "stream", ""},
		{[]any{"XADD", "stream", "*", "a", "b"}, rdb.Format{Version: 8}, rdb.FeatureStream, "stream", ""},
		{[]any{"FUNCTION", "LOAD", "#!lua name=mylib\nredis.register_function('f', function() end)"}, rdb.Format{Version: 9}, rdb.FeatureFunction, "", "mylib"},
	} {
		for _, flush := range [][]any{{"FLUSHALL"}, {"FUNCTION", "FLUSH"}, test.write} {
			if _, err := client.Do(t.Context(), flush...); err != nil {
				t.Fatal(err)
			}
		}
		snapshot := saved(t, source)
		var noEqual *rdb.NoEqualError
		err := rdb.NewConverter(new(bytes.Buffer), bytes.NewReader(snapshot), rdb.ConverterOptions{To: test.to}).Run()
		if !errors.As(err, &noEqual) || noEqual.What != test.what || string(noEqual.Key) != test.key || noEqual.Detail != test.detail {
			t.Errorf("%s: %v", test.write[0], err)
			continue
		}
		var converted bytes.Buffer
		c := rdb.NewConverter(&converted, bytes.NewReader(snapshot), rdb.ConverterOptions{
			To: test.to, Transcoder: rdb.TranscoderOptions{Drop: []rdb.Feature{test.what}},
		})
		if err := c.Run(); err != nil {
			t.Errorf("%s, dropped: %v", test.write[0], err)
		}
		if c.Dropped()[test.what] != 1 {
			t.Errorf("%s: dropped %v", test.write[0], c.Dropped())
		}
		scan(t, rdb.NewScanner(&converted, rdb.ScannerOptions{}), nil)
	}
}
