package rdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// restorer sends commands, such as RESTORE, in pipelines.
type restorer struct {
	tb     testing.TB
	client *server.Client
	db     int
	queue  [][]any
}

func (r *restorer) do(args ...any) {
	r.tb.Helper()
	if r.queue = append(r.queue, args); len(r.queue) >= 200 {
		r.flush()
	}
}

func (r *restorer) selectDB(db int) {
	if db != r.db {
		r.flush()
		r.db = db
	}
}

func (r *restorer) flush() {
	r.tb.Helper()
	conn := r.client.Redis().Conn()
	defer conn.Close()
	pipe := conn.Pipeline()
	pipe.Do(r.tb.Context(), "SELECT", r.db)
	for _, args := range r.queue {
		pipe.Do(r.tb.Context(), args...)
	}
	r.queue = r.queue[:0]
	cmds, err := pipe.Exec(r.tb.Context())
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			r.tb.Fatalf("%.100q: %v", cmd.Args(), err)
		}
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		r.tb.Fatal(err)
	}
}

// TestEncodeEveryFormat decodes every value of the servers that have most types,
// encodes it for every format, and restores it on a server that loads that.
func TestEncodeEveryFormat(t *testing.T) {
	crc := rdb.NewCRC64()
	targets := []subject{
		{"redis-6.0", rdb.Format{Version: 6}}, {"redis-8.6", rdb.Format{Version: 13}}, {"valkey-9.1", rdb.Format{Family: rdb.Valkey, Version: 80}},
		{"redis-7.0", rdb.Format{Version: 7}}, {"redis-6.0", rdb.Format{Version: 8}}, {"redis-6.0", rdb.Format{Version: 9}},
		{"redis-7.0", rdb.Format{Version: 10}}, {"valkey-8.1", rdb.Format{Version: 11}}, {"redis-8.0", rdb.Format{Version: 12}},
		{"redict-7.3", rdb.Format{Family: rdb.Redict, Version: 12}},
	}
	for from, targets := range map[string][]subject{"redis-8.6": targets, "redis-6.0": some(3, targets), "valkey-9.1": some(3, targets)} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			source := filled(t, from, dataset.Options{Keys: 400, DBs: []int{0, 2}, NoFunctions: true})
			fillBoundaries(t, sandboxtest.Client(t, source))
			snapshot := saved(t, source)
			for _, subject := range targets {
				to := subject.format
				t.Run(fmt.Sprintf("%s on %s", to, subject.name), func(t *testing.T) {
					target := sandboxtest.Start(t, subject.name, sandbox.Options{})
					r := &restorer{tb: t, client: sandboxtest.Client(t, target)}
					lacking := make(map[string]rdb.Feature)
					s := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{Single: rdb.AllCodes(), BufferSize: 1 << 20})
					scan(t, s, func(span *rdb.Span) {
						if span.Kind != rdb.KindKey {
							return
						}
						value, err := rdb.DecodeValue(s.Format(), span.Type, span.Value())
						if err != nil {
							t.Fatal(err)
						}
						newType, body, err := to.AppendValue([]byte{0}, value)
						var noEqual *rdb.NoEqualError
						if errors.As(err, &noEqual) {
							lacking[string(span.Key)] = noEqual.What
							return
						}
						if err != nil {
							t.Fatal(err)
						}
						body[0] = byte(newType)
						payload := rdb.AppendDumpFooter(body, 0, to, crc)
						if format, got, err := rdb.OpenDump(payload, crc); err != nil || format.Version != to.Version || !bytes.Equal(got, payload[:len(got)]) {
							t.Fatalf("opening our own payload: %s, %v", format, err)
						}
						r.selectDB(span.DB)
						r.do("RESTORE", string(span.Key), max(span.Attributes.ExpireAt, 0), payload, "ABSTTL")
					})
					r.flush()
					checkRestored(t, source, target, to, lacking)
				})
			}
		})
	}
}

// checkRestored compares what could be restored, and sees that the rest is what
// the format really lacks.
func checkRestored(t *testing.T, source, target *sandbox.Server, to rdb.Format, lacking map[string]rdb.Feature) {
	t.Helper()
	hasFieldTTLs := to.Family == rdb.Valkey && to.Version >= 80 || to.Family == rdb.Redis && to.Version >= 12
	for key, what := range lacking {
		if what == rdb.FeatureStream && to.Version < 9 || what == rdb.FeatureHashFieldTTL && !hasFieldTTLs {
			continue
		}
		t.Errorf("%q: %s has no equal in %s", key, what, to)
	}
	report, err := audit.Compare(t.Context(), source.Endpoint(), target.Endpoint(), audit.Options{MaxDifferences: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Differences {
		if _, ok := lacking[d.Key]; !ok {
			t.Error(d)
		}
	}
	if report.Keys == 0 {
		t.Error("nothing was compared")
	}
}

// TestDumpOfEveryServer opens what the servers' DUMP gives, and restores what the
// transcoder makes of it.
func TestDumpOfEveryServer(t *testing.T) {
	crc := rdb.NewCRC64()
	for _, from := range subjects() {
		t.Run(from.name, func(t *testing.T) {
			t.Parallel()
			source := filled(t, from.name, dataset.Options{Keys: 300, NoFunctions: true})
			client := sandboxtest.Client(t, source)
			fillBoundaries(t, client)
			keys, err := client.Redis().Keys(t.Context(), "*").Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range []subject{{"redis-6.0", rdb.Format{Version: 9}}, {"valkey-9.1", rdb.Format{Family: rdb.Valkey, Version: 80}}} {
				target := sandboxtest.Start(t, to.name, sandbox.Options{})
				r := &restorer{tb: t, client: sandboxtest.Client(t, target)}
				tc := rdb.NewTranscoder(from.format, to.format, rdb.TranscoderOptions{Drop: mayDrop()})
				for _, key := range keys {
					payload, err := client.Text(t.Context(), "DUMP", key)
					if err != nil {
						t.Fatal(err)
					}
					ttl, err := client.Do(t.Context(), "PTTL", key)
					if err != nil {
						t.Fatal(err)
					}
					changed, err := tc.Dump(nil, []byte(payload), crc)
					if err != nil {
						t.Fatalf("%q: %v", key, err)
					}
					r.do("RESTORE", key, max(ttl.(int64), 0), changed)
				}
				r.flush()
				const apart = 5 * time.Second // between PTTL and RESTORE
				equal(t, source, target, tc.Dropped(), apart)
			}
		})
	}
}
