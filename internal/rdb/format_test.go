package rdb_test

import (
	"errors"
	"fmt"
	"testing"

	"godwit/internal/rdb"
)

func TestFormats(t *testing.T) {
	for _, f := range formats() {
		got, err := rdb.ParseHeader([]byte(f.String()))
		if f.Family == rdb.Redict {
			f.Family = rdb.Redis // the header does not tell
		}
		if err != nil || got != f {
			t.Errorf("header %s is read as %v, %v", f, got, err)
		}
		if got, err := rdb.FormatOf(f.Version); err != nil || got != f {
			t.Errorf("version %d is read as %v, %v", f.Version, got, err)
		}
	}
	for _, version := range []int{-1, 0, 5, 14, 79, 81, 1 << 16} {
		var format *rdb.FormatError
		if f, err := rdb.FormatOf(version); !errors.As(err, &format) {
			t.Errorf("version %d is read as %v, %v", version, f, err)
		}
	}
}

func TestLacks(t *testing.T) {
	redis, valkey, redict := func(v int) rdb.Format { return rdb.Format{Version: v} }, func(v int) rdb.Format { return rdb.Format{Family: rdb.Valkey, Version: v} }, rdb.Format{Family: rdb.Redict, Version: 12}
	for _, test := range []struct {
		from, to rdb.Format
		want     string
	}{
		{redis(9), redis(13), "[]"},
		{redis(10), redis(9), "[function]"},
		{redis(11), valkey(80), "[]"},
		{redis(12), valkey(11), "[hash-field-ttl vector-set]"},
		{redis(12), valkey(80), "[vector-set]"},
		{redis(13), redis(12), "[stream-idmp vector-set key-metadata]"},
		{redis(13), redis(13), "[]"},
		{redis(13), redis(7), "[hash-field-ttl function stream stream-idmp vector-set module key-metadata]"},
		{valkey(80), redis(13), "[slot-import]"},
		{valkey(80), redis(11), "[hash-field-ttl slot-import]"},
		{redis(12), redict, "[hash-field-ttl vector-set]"},
		{redict, valkey(11), "[]"},
	} {
		if got := fmt.Sprint(test.to.Lacks(test.from)); got != test.want {
			t.Errorf("%s lacks %s of %s, want %s", test.to, got, test.from, test.want)
		}
	}
}

func TestLoads(t *testing.T) {
	redis, valkey := func(v int) rdb.Format { return rdb.Format{Version: v} }, func(v int) rdb.Format { return rdb.Format{Family: rdb.Valkey, Version: v} }
	redict := rdb.Format{Family: rdb.Redict, Version: 12}
	for _, test := range []struct {
		f, from rdb.Format
		want    bool
	}{
		{redis(9), redis(9), true},
		{redis(13), redis(9), true},
		{redis(9), redis(10), false},
		{valkey(80), redis(11), true},
		{valkey(80), valkey(11), true},
		{valkey(80), redis(12), false},
		{valkey(80), redict, false}, // though it knows every type in it
		{redis(13), valkey(80), false},
		{redis(12), redict, true},
		{redict, redis(12), false},
		{redict, redis(11), true},
		{valkey(11), redict, false},
	} {
		if got := test.f.Loads(test.from); got != test.want {
			t.Errorf("%v loads %v: %t", test.f, test.from, got)
		}
	}
}

// TestTypesOfFormats has what HasType must not confuse.
func TestTypesOfFormats(t *testing.T) {
	redis12, valkey80 := rdb.Format{Version: 12}, rdb.Format{Family: rdb.Valkey, Version: 80}
	redict12, redis13 := rdb.Format{Family: rdb.Redict, Version: 12}, rdb.Format{Version: 13}
	for _, test := range []struct {
		f, from rdb.Format
		t       rdb.Type
		want    bool
	}{
		{redis12, redis12, rdb.TypeHashMetadataPreGA, true},
		{valkey80, valkey80, rdb.TypeHash2, true},
		{valkey80, redis12, rdb.TypeHashMetadataPreGA, false},
		{redis12, valkey80, rdb.TypeHash2, false},
		{redict12, redis12, rdb.TypeHashMetadata, false},
		{redis12, redict12, rdb.TypeStreamListpacks3, true},
		{redis12, redis13, rdb.TypeStreamListpacks4, false},
		{redis12, redis12, 8, false},
		{valkey80, redis13, rdb.Type(rdb.OpcodeKeyMeta), false},
		{valkey80, redis13, rdb.Type(rdb.OpcodeSlotInfo), true},
		{rdb.Format{Version: 11}, redis13, rdb.Type(rdb.OpcodeSlotInfo), false},
	} {
		if got := test.f.HasType(test.t, test.from); got != test.want {
			t.Errorf("%s has %s of %s: %t", test.f, test.t, test.from, got)
		}
	}
}
