package rdb_test

import (
	"strings"
	"testing"

	"godwit/internal/rdb"
)

func TestPlainString(t *testing.T) {
	for _, tt := range []struct {
		value, want string
		ok          bool
	}{
		{"\x00", "", true},
		{"\x03abc", "abc", true},
		{"\x40\x46" + strings.Repeat("x", 70), strings.Repeat("x", 70), true},
		{"\x80\x00\x00\x00\x02ab", "ab", true},
		{"\x81\x00\x00\x00\x00\x00\x00\x00\x01a", "a", true},
		{"\xc0\xff", "-1", true},
		{"\xc1\x00\x80", "-32768", true},
		{"\xc2\xff\xff\xff\x7f", "2147483647", true},
		{"\xc3\x04\x0a\x00a\xe0\x00", "", false}, // compressed
		{"\x03ab", "", false},
		{"\x03abcd", "", false},
		{"\xc0\xff\x00", "", false},
		{"\xc1\x00", "", false},
		{"\xc4", "", false},
		{"", "", false},
	} {
		got, ok := rdb.PlainString([]byte(tt.value), nil)
		if ok != tt.ok || ok && string(got) != tt.want {
			t.Errorf("%q: %q, %v", tt.value, got, ok)
		}
	}
	value, digits := []byte("\xc2\xff\xff\xff\x7f"), make([]byte, 0, 20)
	if n := testing.AllocsPerRun(100, func() { _, _ = rdb.PlainString(value, digits) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
