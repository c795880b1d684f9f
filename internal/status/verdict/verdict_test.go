package verdict

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

func TestReports(t *testing.T) {
	for name, test := range map[string]struct {
		report  *verify.Report
		options Options
	}{
		"equal":     {equal(), Options{Samples: 3}},
		"different": {different(), Options{Samples: 1, Next: []string{"godwit verify --repair", "godwit verify show"}}},
		"repaired": {func() *verify.Report {
			r := different()
			r.Result = verify.Equal
			r.Repaired = map[string]int64{verify.Repaired: 1238, verify.Deleted: 2, verify.Gone: 1}
			for i := range r.Samples {
				r.Samples[i].Repair = verify.Repaired
			}
			return r
		}(), Options{Samples: 1}},
		"half-repaired": {func() *verify.Report {
			r := different()
			r.Repaired = map[string]int64{verify.Repaired: 1239, verify.Kept: 1, verify.Failed: 1}
			return r
		}(), Options{}},
		"in-part": {func() *verify.Report {
			r := different()
			r.Samples, r.Interrupted = nil, true
			r.Error, r.Hint = "not done within 10m0s, the longest it may take", "give it more time (--max-duration)"
			return r
		}(), Options{}},
		"sample": {func() *verify.Report {
			r := equal()
			r.Scope = verify.Scope{Sample: 0.01, Keys: "user:*", DBs: []int{0, 3}}
			return r
		}(), Options{}},
		"unknown": {func() *verify.Report {
			r := equal()
			r.Result, r.Error, r.Hint = verify.Unknown, "the target: dial tcp 10.0.0.2:6380: connection refused", "nothing listens there"
			r.Offset, r.ReplID, r.Held, r.Settled, r.SourceRead, r.TargetRead = 0, "", 0, 0, verify.Read{}, verify.Read{}
			return r
		}(), Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Write(&out, test.report, test.options); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.String())
		})
	}
}

func TestPage(t *testing.T) {
	var out bytes.Buffer
	page := NewPage(&out)
	for _, d := range examples() {
		if err := page.Add(&d); err != nil {
			t.Fatal(err)
		}
	}
	long := verify.Difference{Kind: verify.Missing, Key: verify.Binary(strings.Repeat("k", 5000)), Source: &verify.Found{Type: "string", ExpireAt: -1}, Repair: verify.Repaired}
	if err := errors.Join(page.Add(&long), page.Flush()); err != nil {
		t.Fatal(err)
	}
	golden(t, "page", out.String())
}

func TestFilter(t *testing.T) {
	for _, test := range []struct {
		filter Filter
		want   int
	}{
		{Filter{}, 8},
		{Filter{Kinds: []verify.Kind{verify.Missing, verify.TTL}}, 3},
		{Filter{DBs: []int{3}}, 2}, // what has moved to it, too
		{Filter{Kinds: []verify.Kind{verify.Extra}, DBs: []int{0}}, 0},
	} {
		n := 0
		for _, d := range examples() {
			if test.filter.Matches(&d) {
				n++
			}
		}
		if n != test.want {
			t.Errorf("%+v: %d differences, want %d", test.filter, n, test.want)
		}
	}
}

// exported is what an exporter makes of differences.
func exported(t *testing.T, make func(*bytes.Buffer) Exporter, differences []verify.Difference) string {
	t.Helper()
	var out bytes.Buffer
	e := make(&out)
	for _, d := range differences {
		if err := e.Write(&d); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Whatever bytes a key has, both formats give them back.
func TestExportsKeepEveryByte(t *testing.T) {
	keys := []string{"", "plain", "a,b", `"quoted"`, "two\nlines", "\r\n", "tab\t", "\x00\xff", "é ✓ \u2028", "=1+1", " space "}
	var differences []verify.Difference
	for _, key := range keys {
		differences = append(differences, verify.Difference{Kind: verify.Missing, DB: 1, TargetDB: 1, Key: verify.Binary(key)})
	}
	text := exported(t, func(b *bytes.Buffer) Exporter { return NewCSV(b) }, differences)
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != len(keys)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows[1:] {
		got := row[3]
		if row[4] == "base64" {
			raw, err := base64.StdEncoding.DecodeString(got)
			if err != nil {
				t.Fatal(err)
			}
			got = string(raw)
		}
		if got != keys[i] {
			t.Errorf("CSV: %q, want %q", got, keys[i])
		}
	}
	decoder := json.NewDecoder(strings.NewReader(exported(t, func(b *bytes.Buffer) Exporter { return NewLines(b) }, differences)))
	for _, key := range keys {
		var d verify.Difference
		if err := decoder.Decode(&d); err != nil || string(d.Key) != key {
			t.Errorf("JSON: %q, want %q (%v)", d.Key, key, err)
		}
	}
}

func TestExportGoldens(t *testing.T) {
	golden(t, "csv", exported(t, func(b *bytes.Buffer) Exporter { return NewCSV(b) }, examples()))
	golden(t, "jsonl", exported(t, func(b *bytes.Buffer) Exporter { return NewLines(b) }, examples()))
	if text := exported(t, func(b *bytes.Buffer) Exporter { return NewCSV(b) }, nil); !strings.HasPrefix(text, "kind,db,") {
		t.Errorf("no header without differences: %q", text)
	}
}

func TestMeter(t *testing.T) {
	m := NewMeter(1000, 2000)
	at := time.Unix(0, 0)
	for _, step := range []struct {
		after time.Duration
		p     verify.Progress
		want  string
	}{
		{0, verify.Progress{Stage: verify.StageSnapshot}, "snapshot · source 0, target 0 keys"},
		{2 * time.Second, verify.Progress{Stage: verify.StageSnapshot, Source: verify.Read{Keys: 500, Bytes: 1 << 20}, Target: verify.Read{Keys: 500, Bytes: 1 << 20}},
			"snapshot · source 500, target 500 keys · 1 MB/s · 6 s left"},
		{6 * time.Second, verify.Progress{Stage: verify.StageSecondLook, Source: verify.Read{Keys: 1000, Bytes: 9 << 20}, Target: verify.Read{Keys: 2000, Bytes: 9 << 20}, Differences: 1},
			"second look · source 1,000, target 2,000 keys · 4 MB/s · 1 difference"},
		{10 * time.Second, verify.Progress{Stage: verify.StageSecondLook, Source: verify.Read{Keys: 1500, Bytes: 9 << 20}, Target: verify.Read{Keys: 3000, Bytes: 13 << 20}, Differences: 1},
			"second look · source 1,500, target 3,000 keys · 1 MB/s · 1 difference · 4 s left"},
		{11 * time.Second, verify.Progress{Stage: verify.StageSettling, Source: verify.Read{Keys: 2000, Bytes: 9 << 20}, Target: verify.Read{Keys: 4000, Bytes: 13 << 20}, Differences: 12},
			"settling · source 2,000, target 4,000 keys · 12 differences"},
	} {
		if got := m.Line(step.p, at.Add(step.after)); got != step.want {
			t.Errorf("after %v:\n got %s\nwant %s", step.after, got, step.want)
		}
	}
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 30, 5, 0, time.UTC)
	ended := migrate.VerifyStatus{SourceKeys: 1_234_567, TargetKeys: 1_234_567, ReplID: "f00d", Offset: 99_000, At: now.Add(-12 * time.Second)}
	with := func(change func(*migrate.VerifyStatus)) migrate.VerifyStatus {
		v := ended
		change(&v)
		return v
	}
	for _, test := range []struct {
		status migrate.VerifyStatus
		text   string
		tone   Tone
	}{
		{migrate.VerifyStatus{State: migrate.VerifyNever}, "", Plain},
		{migrate.VerifyStatus{State: migrate.VerifyNever, Required: true}, "not yet: a cutover waits until both sides are found equal", Soft},
		{migrate.VerifyStatus{State: migrate.VerifyRunning, Stage: "snapshot", SourceKeys: 1000, TargetKeys: 900, KeysPerSecond: 450, BytesPerSecond: 1 << 20, Differing: 1},
			"snapshot · source 1,000, target 900 keys · 1 MB/s · 1 difference", Plain},
		{with(func(v *migrate.VerifyStatus) { v.State, v.Verified = migrate.VerifyEqual, true }),
			"equal: 1,234,567 keys at offset 99,000, 12 s ago", Good},
		{with(func(v *migrate.VerifyStatus) { v.State, v.Stale = migrate.VerifyEqual, "a full resync" }),
			"equal: 1,234,567 keys at offset 99,000, 12 s ago · since then: a full resync; compare again", Warn},
		{with(func(v *migrate.VerifyStatus) { v.State, v.Partial = migrate.VerifyEqual, true }),
			"equal in part: 1,234,567 keys at offset 99,000, 12 s ago", Good},
		{with(func(v *migrate.VerifyStatus) { v.State, v.Partial, v.Required = migrate.VerifyEqual, true, true }),
			"equal in part: 1,234,567 keys at offset 99,000, 12 s ago · a cutover waits for all keys", Warn},
		{with(func(v *migrate.VerifyStatus) {
			v.State, v.Differing, v.Differences = migrate.VerifyDifferent, 1003, map[string]int64{"value": 3, "missing": 1000}
		}), "1,003 keys differ (1,000 missing, 3 value), 12 s ago", Bad},
		{with(func(v *migrate.VerifyStatus) { v.State, v.Error = migrate.VerifyUnknown, "the target is gone" }), "could not tell: the target is gone", Warn},
	} {
		if text, tone := Status(test.status, now); text != test.text || tone != test.tone {
			t.Errorf("%s:\n got %s (%s)\nwant %s (%s)", test.status.State, text, tone, test.text, test.tone)
		}
	}
}
