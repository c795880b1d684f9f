package digest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const seed = 0x1122334455667788

// all are the formats of the servers that the tests run on: what counts is what
// each of them can hold.
func all() digest.Options {
	return digest.Options{Seed: seed, Formats: []rdb.Format{
		{Version: 9}, {Version: 10}, {Version: 12}, {Version: 13}, {Family: rdb.Valkey, Version: 11}, {Family: rdb.Valkey, Version: 80},
	}}
}

func filled(tb testing.TB, name string, o dataset.Options, args ...string) *sandbox.Server {
	tb.Helper()
	s := sandboxtest.Start(tb, name, sandbox.Options{Args: args})
	if err := dataset.Fill(tb.Context(), s.Endpoint(), o); err != nil {
		tb.Fatal(err)
	}
	return s
}

func do(tb testing.TB, c *server.Client, args ...any) any {
	tb.Helper()
	reply, err := c.Do(tb.Context(), args...)
	if err != nil {
		tb.Fatalf("%v: %v", args, err)
	}
	return reply
}

// saved is the snapshot that a server makes of its data.
func saved(tb testing.TB, s *sandbox.Server) []byte {
	tb.Helper()
	c := sandboxtest.Client(tb, s)
	for {
		_, err := c.Do(tb.Context(), "SAVE")
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "in progress") { // the child of a replication that has just ended
			tb.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	snapshot, err := os.ReadFile(filepath.Join(s.Dir(), "dump.rdb"))
	if err != nil {
		tb.Fatal(err)
	}
	return snapshot
}

// digested is what a snapshot holds: of each key its entry, by db and name.
func digested(tb testing.TB, snapshot io.Reader, o digest.Options) map[string]digest.Entry {
	tb.Helper()
	s := digest.NewSnapshot(snapshot, o)
	entries := make(map[string]digest.Entry)
	for {
		e, err := s.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			tb.Fatal(err)
		}
		kept := *e
		kept.Key, kept.Size = bytes.Clone(e.Key), 0
		entries[nameOf(e.DB, string(e.Key))] = kept
	}
}

// mustBeEqual compares two maps of digested.
func mustBeEqual(t *testing.T, got, want map[string]digest.Entry) {
	t.Helper()
	const most = 10
	wrong := 0
	names := maps.Clone(got)
	maps.Copy(names, want)
	for n := range names {
		g, inGot := got[n]
		w, inWant := want[n]
		if inGot == inWant && fmt.Sprint(g) == fmt.Sprint(w) {
			continue
		}
		if wrong++; wrong <= most {
			t.Errorf("%.100q is %+v (%v), want %+v (%v)", n, g.Value, inGot, w.Value, inWant)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d differ", wrong, len(names))
	}
}

// The same commands lead to the same digests on any two servers, whatever
// encodings they have and at which limits they change them.
func TestSnapshotsOfAllServers(t *testing.T) {
	o := dataset.Options{Keys: 3000, DBs: []int{0, 3}, Seed: 5, Now: time.Now(), NoFieldTTLs: true, NoFunctions: true}
	var want map[string]digest.Entry
	for _, server := range sandboxtest.Catalog(t).Names() {
		if server == "path" {
			continue
		}
		t.Run(server, func(t *testing.T) {
			got := digested(t, bytes.NewReader(saved(t, filled(t, server, o))), all())
			if want == nil {
				want = got
			}
			if len(got) != o.Keys {
				t.Errorf("%d keys", len(got))
			}
			mustBeEqual(t, got, want)
		})
	}
}
