package verdict

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"godwit/internal/verify"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

// expiry is a time at which keys of the examples expire.
const expiry = 1_772_627_465_123

// equal is a report of sides that are the same.
func equal() *verify.Report {
	return &verify.Report{
		ID: "20260304-123005-a1b2c3", Result: verify.Equal, Method: verify.Snapshot,
		Source: "redis://10.0.0.1:6379", Target: "rediss://mover@10.0.0.2:6380",
		ReplID: "8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb", Offset: 123_456_789, Held: 12_400 * time.Microsecond,
		Started: time.Date(2026, 3, 4, 12, 30, 5, 0, time.UTC), Took: 6100 * time.Millisecond,
		SourceRead: verify.Read{Keys: 1_234_567, Bytes: 812 << 20}, TargetRead: verify.Read{Keys: 1_234_567, Bytes: 806 << 20},
		Settled: 3,
	}
}

// different is a report with one difference of each kind, and more that are missing.
func different() *verify.Report {
	r := equal()
	r.Result = verify.Different
	r.Method, r.Why = verify.Scan, "the target 10.0.0.2:6380: PSYNC is not permitted to user mover"
	r.ReplID, r.Offset, r.Held, r.Settled = "", 0, 0, 0
	r.Samples = examples()
	r.Counts, r.ByDB = make(map[verify.Kind]int64), make(map[int]verify.DBCounts)
	count := func(db int, kind verify.Kind, n int64) {
		r.Counts[kind] += n
		if r.ByDB[db] == nil {
			r.ByDB[db] = make(verify.DBCounts)
		}
		r.ByDB[db][kind] += n
	}
	for _, d := range r.Samples {
		count(d.DB, d.Kind, 1)
	}
	count(0, verify.Missing, 1233)
	return r
}

// examples are a difference of each kind.
func examples() []verify.Difference {
	found := func(kind, excerpt string, expires int64) *verify.Found {
		return &verify.Found{Type: kind, Excerpt: excerpt, ExpireAt: expires}
	}
	return []verify.Difference{
		{Kind: verify.Missing, DB: 0, Key: verify.Binary("user:1001"), Source: found("string", `"Ada"`, -1)},
		{Kind: verify.Missing, DB: -1, TargetDB: -1, Key: verify.Binary("mylib"), Source: found("function", "", -1)},
		{Kind: verify.Extra, DB: 3, TargetDB: 3, Key: verify.Binary("\x00\xff\r\n"), Target: found("list", `["a", "b"]`, expiry)},
		{Kind: verify.OtherDB, DB: 0, TargetDB: 3, Key: verify.Binary("moved"), Source: found("string", `"x"`, -1), Target: found("string", `"x"`, -1)},
		{Kind: verify.Type, DB: 0, Key: verify.Binary("queue"), Source: found("list", `["job"]`, -1), Target: found("string", `"job"`, -1)},
		{Kind: verify.Changed, DB: 0, Key: verify.Binary("cart, \"77\""), Source: found("hash", `{"qty": "3"}`, -1), Target: found("hash", `{"qty": "4"}`, -1), Detail: `field "qty" differs`},
		{Kind: verify.TTL, DB: 0, Key: verify.Binary("sess:9"), Source: found("string", `"v"`, expiry), Target: found("string", `"v"`, expiry+1)},
		{Kind: verify.Unstable, DB: 12, TargetDB: 12, Key: verify.Binary("counter"), Source: found("string", "", -1), Target: found("string", "", -1)},
	}
}
