package units_test

import (
	"testing"
	"time"

	"godwit/internal/status/units"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "17b": 17, "1k": 1000, "1kb": 1024, "64mb": 64 << 20, "64MB": 64 << 20,
		"2m": 2e6, "16gb": 16 << 30, "3g": 3e9, "1t": 1e12, "1tb": 1 << 40, " 5 ": 5,
	} {
		got, err := units.ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "mb", "-1", "1.5gb", "64 mb", "12xb", "1bb", "9999999tb", "1kbb"} {
		if got, err := units.ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestFlagBytesIsReadBack(t *testing.T) {
	for _, n := range []int64{0, 1, 1000, 1024, 1025, 64 << 20, 16 << 30, 1 << 40} {
		got, err := units.ParseBytes(units.FlagBytes(n))
		if err != nil || got != n {
			t.Errorf("ParseBytes(FlagBytes(%d)) = %d, %v", n, got, err)
		}
	}
}

func TestForPeople(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{units.Bytes(0), "0 B"},
		{units.Bytes(1023), "1023 B"},
		{units.Bytes(1536), "1.5 KB"},
		{units.Bytes(64 << 20), "64 MB"},
		{units.Bytes(1<<30 - 1), "1 GB"},
		{units.Bytes(16 << 30), "16 GB"},
		{units.Count(0), "0"},
		{units.Count(999), "999"},
		{units.Count(1000), "1,000"},
		{units.Count(-1234567), "-1,234,567"},
		{units.Rate(0.4), "0"},
		{units.Rate(999.4), "999"},
		{units.Rate(999.6), "1k"},
		{units.Rate(95123), "95k"},
		{units.Rate(1234567), "1.2M"},
		{units.Duration(850 * time.Millisecond), "850 ms"},
		{units.Duration(2500 * time.Millisecond), "2.5 s"},
		{units.Duration(42 * time.Second), "42 s"},
		{units.Duration(185 * time.Second), "3 min 5 s"},
		{units.Duration(130 * time.Minute), "2 h 10 min"},
		{units.Milliseconds(6.23), "6.2 ms"},
		{units.Milliseconds(48.4), "48 ms"},
		{units.Milliseconds(1234), "1.2 s"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
