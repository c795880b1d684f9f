package rdb_test

import (
	"fmt"
	"testing"

	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// TestSamples loads each sample on the servers that have its type, and has those
// that have not say so.
func TestSamples(t *testing.T) {
	crc := rdb.NewCRC64()
	for _, test := range []struct {
		server string
		format rdb.Format
		want   string
	}{
		{"redis-6.0", rdb.Format{Version: 9}, "[]"},
		{"redis-7.0", rdb.Format{Version: 10}, "[16 17 18 19]"},
		{"redis-8.0", rdb.Format{Version: 12}, "[16 17 18 19 20 21 22 23 24 25]"},
		{"redis-8.6", rdb.Format{Version: 13}, "[16 17 18 19 20 21 22 23 24 25 26]"},
		{"valkey-8.0", rdb.Format{Family: rdb.Valkey, Version: 11}, "[16 17 18 19 20 21]"},
		{"valkey-8.1", rdb.Format{Family: rdb.Valkey, Version: 11}, "[16 17 18 19 20 21]"},
		{"valkey-9.1", rdb.Format{Family: rdb.Valkey, Version: 80}, "[16 17 18 19 20 21 22]"},
		{"redict-7.3", rdb.Format{Family: rdb.Redict, Version: 12}, "[16 17 18 19 20 21]"},
	} {
		t.Run(test.server, func(t *testing.T) {
			t.Parallel()
			c := sandboxtest.Client(t, sandboxtest.Start(t, test.server, sandbox.Options{}))
			var types []int
			for _, s := range test.format.Samples() {
				types = append(types, int(s.Type))
				if _, err := c.Do(t.Context(), "RESTORE", s.Type.String(), 0, s.Dump(test.format, crc)); err != nil {
					t.Errorf("type %s: %v", s.Type, err)
				}
			}
			if got := fmt.Sprint(types); got != test.want {
				t.Errorf("samples of %s, want %s", got, test.want)
			}
			newest := rdb.Format{Family: test.format.Family, Version: map[rdb.Family]int{rdb.Redis: 13, rdb.Valkey: 80, rdb.Redict: 12}[test.format.Family]}
			for _, s := range newest.Samples()[len(types):] {
				if _, err := c.Do(t.Context(), "RESTORE", "newer", 0, s.Dump(test.format, crc)); err == nil {
					t.Errorf("type %s is loaded", s.Type)
				}
			}
		})
	}
}

// TestRefusedTypes sees that a type that a server was found not to load is not
// written for it.
func TestRefusedTypes(t *testing.T) {
	refusing := func(f rdb.Format, types ...rdb.Type) rdb.Format {
		f.Refused.AddType(types...)
		return f
	}
	redis13, valkey80 := rdb.Format{Version: 13}, rdb.Format{Family: rdb.Valkey, Version: 80}
	for _, test := range []struct {
		from, to rdb.Format
		old, new rdb.Type
		lacks    string
	}{
		{redis13, refusing(redis13, rdb.TypeStreamListpacks4), rdb.TypeStreamListpacks4, rdb.TypeStreamListpacks3, "[stream-idmp]"},
		{redis13, refusing(redis13, rdb.TypeStreamListpacks4, rdb.TypeStreamListpacks3), rdb.TypeStreamListpacks4, rdb.TypeStreamListpacks2, "[stream-idmp]"},
		{redis13, refusing(redis13, rdb.TypeHashListpack), rdb.TypeHashListpack, rdb.TypeHashZiplist, "[]"},
		{redis13, refusing(redis13, rdb.TypeHashListpack), rdb.TypeZsetListpack, rdb.TypeZsetListpack, "[]"},
		{redis13, refusing(redis13, rdb.TypeListQuicklist2), rdb.TypeListQuicklist2, rdb.TypeListQuicklist, "[]"},
		{redis13, refusing(redis13, rdb.TypeSetListpack), rdb.TypeSetListpack, rdb.TypeSet, "[]"},
		{redis13, refusing(redis13, rdb.TypeHashListpackEx), rdb.TypeHashListpackEx, rdb.TypeHashMetadata, "[]"},
		{redis13, refusing(redis13, rdb.TypeHashListpackEx, rdb.TypeHashMetadata), rdb.TypeHashListpackEx, rdb.TypeHash, "[hash-field-ttl]"},
		{valkey80, refusing(valkey80, rdb.TypeHash2), rdb.TypeHash2, rdb.TypeHash, "[hash-field-ttl]"},
		{refusing(valkey80, rdb.TypeHash2), valkey80, rdb.TypeHash2, rdb.TypeHash2, "[]"},
		{refusing(valkey80, rdb.TypeHash2), refusing(valkey80, rdb.TypeHash2), rdb.TypeHash2, rdb.TypeHash, "[hash-field-ttl]"},
	} {
		tr := rdb.NewTranscoder(test.from, test.to, rdb.TranscoderOptions{Drop: rdb.Features()})
		if got, _, ok := tr.Type(test.old); !ok || got != test.new {
			t.Errorf("%s without %v: %s becomes %s, want %s", test.to, test.to.Refused.Types(), test.old, got, test.new)
		}
		if got := fmt.Sprint(test.to.Lacks(test.from)); got != test.lacks {
			t.Errorf("%s without %v lacks %s, want %s", test.to, test.to.Refused.Types(), got, test.lacks)
		}
		if test.to.Loads(test.from) != (test.to.Refused == rdb.Set{}) {
			t.Errorf("%s without %v loads all of %s: %v", test.to, test.to.Refused.Types(), test.from, test.to.Loads(test.from))
		}
		if test.to.Refused.HasType(test.old) {
			recode(t, test.from, test.to, test.old)
		}
	}
}

// recode sees that the sample of a type is translated into a type that is not refused.
func recode(t *testing.T, from, to rdb.Format, old rdb.Type) {
	t.Helper()
	crc := rdb.NewCRC64()
	for _, s := range from.Samples() {
		if s.Type != old {
			continue
		}
		payload, err := rdb.NewTranscoder(from, to, rdb.TranscoderOptions{Drop: rdb.Features()}).Dump(nil, s.Dump(from, crc), crc)
		if err != nil || to.Refused.HasType(rdb.Type(payload[0])) {
			t.Errorf("%s becomes % x, %v", old, payload, err)
		}
	}
}
