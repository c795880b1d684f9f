package refresh_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// do runs a command, which must not fail.
func do(t *testing.T, c *server.Client, args ...any) any {
	t.Helper()
	reply, err := c.Do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// allKeys are the names of a db's keys, by SCAN.
func allKeys(t *testing.T, c *refresh.Conn, db int) [][]byte {
	t.Helper()
	var all [][]byte
	for cursor := uint64(0); ; {
		next, keys, err := c.Scan(t.Context(), db, cursor, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			all = append(all, append([]byte(nil), key...))
		}
		if cursor = next; cursor == 0 {
			return all
		}
	}
}

// Whatever a server holds is read and written elsewhere: keys of every type, and
// the libraries. In between the target holds other keys of these names.
func TestEveryValueIsCarried(t *testing.T) {
	redis, valkey := rdb.Format{Family: rdb.Redis, Version: 13}, rdb.Format{Family: rdb.Valkey, Version: 11}
	for _, pair := range []struct {
		from, to string
		format   rdb.Format // zero: as it is
		options  dataset.Options
	}{
		{"redis-6.0", "redis-8.6", rdb.Format{}, dataset.Options{}},
		{"redis-7.0", "valkey-8.1", valkey, dataset.Options{}},
		{"redis-8.6", "redis-8.6", redis, dataset.Options{VectorSets: true}},
		{"redis-8.6", "valkey-8.1", valkey, dataset.Options{NoFieldTTLs: true}},
		{"valkey-9.1", "redis-8.6", redis, dataset.Options{}},
		{"redis-7.0", "redis-6.0", rdb.Format{Family: rdb.Redis, Version: 9}, dataset.Options{NoFunctions: true}},
	} {
		t.Run(pair.from+" to "+pair.to, func(t *testing.T) {
			source, target := sandboxtest.Start(t, pair.from, sandbox.Options{}), sandboxtest.Start(t, pair.to, sandbox.Options{})
			o := pair.options
			o.Keys, o.DBs = 3000, []int{0, 5}
			if err := dataset.Fill(t.Context(), source.Endpoint(), o); err != nil {
				t.Fatal(err)
			}
			from, to := dial(t, source), dial(t, target)
			if pair.format != (rdb.Format{}) {
				to.Translate(pair.format, rdb.TranscoderOptions{})
			}
			for _, db := range o.DBs {
				copyKeys(t, from, to, db)
			}
			if from.Version().AtLeast(7, 0) && to.Version().AtLeast(7, 0) {
				copyLibraries(t, sandboxtest.Client(t, source), from, to)
			}
			report, err := audit.Compare(t.Context(), source.Endpoint(), target.Endpoint(), audit.Options{NoEntriesRead: pair.from == "redis-7.0"})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range report.Differences {
				t.Error(d)
			}
			if report.Keys < int64(o.Keys)*9/10 {
				t.Errorf("%d keys were compared", report.Keys)
			}
		})
	}
}

func copyKeys(t *testing.T, from, to *refresh.Conn, db int) {
	t.Helper()
	keys := allKeys(t, from, db)
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for i := 0; i < len(keys); i += 100 {
		some := keys[i:min(i+100, len(keys))]
		values, err := from.Look(t.Context(), db, some)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.Write(t.Context(), values); err != nil {
			t.Fatal(err)
		}
		if err := to.Write(t.Context(), values); err != nil { // over what is there now
			t.Fatal(err)
		}
	}
}

func copyLibraries(t *testing.T, client *server.Client, from, to *refresh.Conn) {
	t.Helper()
	libraries, _ := do(t, client, "FUNCTION", "LIST").([]any)
	names := [][]byte{[]byte("none of this name")}
	for _, l := range libraries {
		names = append(names, []byte(l.([]any)[1].(string)))
	}
	if len(names) != 2 {
		t.Fatalf("%d libraries", len(names)-1)
	}
	values, place, err := from.Read(t.Context(), refresh.Libraries, names)
	if err != nil {
		t.Fatal(err)
	}
	if values[0].Exists() || !values[1].Exists() || place.ReplID == "" {
		t.Errorf("%v at %v", values, place)
	}
	if err := to.Write(t.Context(), values); err != nil { // deleting what is not there
		t.Fatal(err)
	}
	stale := []refresh.Value{{DB: refresh.Libraries, Key: names[1]}}
	if err := to.Write(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	if gone, _, err := to.Read(t.Context(), refresh.Libraries, names[1:]); err != nil || gone[0].Exists() {
		t.Errorf("after its deletion: %v, %v", gone, err)
	}
	if err := to.Write(t.Context(), values); err != nil {
		t.Fatal(err)
	}
}

// What is not at the source is not at the target afterwards, and a TTL that has
// passed is as good.
func TestWriteDeletes(t *testing.T) {
	for _, name := range servers() {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			client, c := sandboxtest.Client(t, s), dial(t, s)
			do(t, client, "MSET", "a", "1", "b", "2", "c", "3", "d", "4")
			values, err := c.Look(t.Context(), 0, [][]byte{[]byte("a")})
			if err != nil {
				t.Fatal(err)
			}
			expired, ages := values[0], values[0]
			expired.Key, expired.ExpireAt = []byte("b"), time.Now().Add(-time.Minute).UnixMilli()
			ages.Key, ages.ExpireAt = []byte("c"), 0
			late := refresh.Value{DB: 0, Key: []byte("d"), Payload: values[0].Payload, ExpireAt: time.Now().Add(time.Hour).UnixMilli()}
			elsewhere := refresh.Value{DB: 9, Key: []byte("a"), Payload: values[0].Payload, ExpireAt: rdb.None}
			err = c.Write(t.Context(), []refresh.Value{{Key: []byte("a")}, {Key: []byte("never there")}, elsewhere, expired, ages, late})
			if err != nil {
				t.Fatal(err)
			}
			keys := [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}
			values, err = c.Look(t.Context(), 0, keys)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range values {
				if v.Exists() != (i == 3) {
					t.Errorf("%s: there: %v", v.Key, v.Exists())
				}
			}
			if values[3].ExpireAt != late.ExpireAt {
				t.Errorf("its TTL is %d, was written as %d", values[3].ExpireAt, late.ExpireAt)
			}
			if values, err = c.Look(t.Context(), 9, keys[:1]); err != nil || !values[0].Exists() {
				t.Errorf("in db 9: %v, %v", values, err)
			}
		})
	}
}

// What a replica is given by a client it leaves to its primary, TTLs included, and
// its stream goes on as if nothing had been.
func TestWriteReplica(t *testing.T) {
	for _, name := range servers() {
		t.Run(name, func(t *testing.T) {
			primary := sandboxtest.Start(t, name, sandbox.Options{})
			replica := sandboxtest.Start(t, name, sandbox.Options{Args: []string{fmt.Sprintf("--replicaof 127.0.0.1 %d", primary.Port())}})
			p, r, c := sandboxtest.Client(t, primary), sandboxtest.Client(t, replica), dial(t, replica)
			do(t, p, "SET", "a", "1")
			do(t, p, "WAIT", 1, 10000)
			source := dial(t, primary)
			values, err := source.Look(t.Context(), 0, [][]byte{[]byte("a")})
			if err != nil {
				t.Fatal(err)
			}
			soon := time.Now().Add(300 * time.Millisecond).UnixMilli()
			expires := refresh.Value{Key: []byte("expires"), Payload: values[0].Payload, ExpireAt: soon}
			bad := refresh.Value{Key: []byte("bad"), Payload: []byte("nonsense"), ExpireAt: rdb.None}
			dead := refresh.Value{Key: []byte("a")}
			passed := refresh.Value{Key: []byte("passed"), Payload: values[0].Payload, ExpireAt: soon - 60000}

			var refused *refresh.WriteError
			_, err = c.WriteReplica(t.Context(), []refresh.Value{expires})
			if !errors.As(err, &refused) || !server.IsCode(err, "READONLY") || refused.HintText() == "" {
				t.Errorf("read-only: %v", err)
			}
			do(t, r, "CONFIG", "SET", "replica-read-only", "no")
			tracked := stat(t, r, "slave_expires_tracked_keys")
			place, err := c.WriteReplica(t.Context(), []refresh.Value{expires, bad, dead, passed})
			if !errors.As(err, &refused) || len(refused.Failed) != 1 || refused.Failed[0].Index != 1 || !strings.Contains(err.Error(), `key "bad"`) {
				t.Errorf("the error is %v", err)
			}
			if place.ReplID != stat(t, r, "master_replid") || fmt.Sprint(place.Offset) != stat(t, r, "slave_repl_offset") {
				t.Errorf("at %v; it stands at %s", place, stat(t, r, "slave_repl_offset"))
			}
			if n := stat(t, r, "slave_expires_tracked_keys"); n != tracked {
				t.Errorf("the replica sees to %s TTLs by itself", n)
			}
			if _, err := r.Do(t.Context(), "SET", "still", "writable"); !server.IsCode(err, "READONLY") {
				t.Errorf("it still takes writes: %v", err)
			}
			now, err := c.Look(t.Context(), 0, [][]byte{expires.Key, dead.Key, bad.Key})
			if err != nil || !now[0].Exists() || now[0].ExpireAt != soon || now[1].Exists() || now[2].Exists() {
				t.Errorf("%v, %v", now, err)
			}
			time.Sleep(time.Until(time.UnixMilli(soon + 300)))
			if n := do(t, r, "DBSIZE").(int64); n != 2 { // expires, passed: there for nobody, but there
				t.Errorf("%d keys: the replica has deleted one by itself", n)
			}
			do(t, p, "SET", "expires", "later")
			do(t, p, "WAIT", 1, 10000)
			if v := do(t, r, "GET", "expires"); v != "later" {
				t.Errorf("the stream was applied: %v", v)
			}
		})
	}
}

// stat is a field of INFO.
func stat(t *testing.T, c *server.Client, field string) string {
	t.Helper()
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info[field]
}

// What the target cannot hold is named, and the rest written.
func TestWriteNamesWhatCannotBe(t *testing.T) {
	source, target := sandboxtest.Start(t, "redis-8.6", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	client, from, to := sandboxtest.Client(t, source), dial(t, source), dial(t, target)
	do(t, client, "HSET", "h", "f", "v")
	do(t, client, "HEXPIRE", "h", "1000", "FIELDS", "1", "f")
	do(t, client, "SET", "s", "v")
	keys := [][]byte{[]byte("h"), []byte("s")}
	values, err := from.Look(t.Context(), 0, keys)
	if err != nil {
		t.Fatal(err)
	}
	raw := func() { // as they are
		t.Helper()
		err := to.Write(t.Context(), values)
		if err == nil || !strings.Contains(err.Error(), "DUMP payload version or checksum are wrong") || !strings.Contains(err.Error(), "(and 1 more)") {
			t.Errorf("without translation: %v", err)
		}
	}
	raw()
	valkey := rdb.Format{Family: rdb.Valkey, Version: 11}
	to.Translate(valkey, rdb.TranscoderOptions{})
	err = to.Write(t.Context(), values)
	var failed *refresh.WriteError
	if !errors.As(err, &failed) || len(failed.Failed) != 1 || failed.Failed[0].Index != 0 ||
		!strings.Contains(err.Error(), `key "h"`) || !strings.Contains(failed.HintText(), "--drop hash-field-ttl") {
		t.Errorf("%v", err)
	}
	now, err := to.Look(t.Context(), 0, keys)
	if err != nil || now[0].Exists() || !now[1].Exists() {
		t.Errorf("%v, %v", now, err)
	}
	to.Translate(valkey, rdb.TranscoderOptions{Drop: []rdb.Feature{rdb.FeatureHashFieldTTL}})
	if err := to.Write(t.Context(), values); err != nil {
		t.Error(err)
	}
	if now, err = to.Look(t.Context(), 0, keys); err != nil || !now[0].Exists() {
		t.Errorf("%v, %v", now, err)
	}
}
