package verify_test

import (
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// explained is what is wanted of a plant's sample: in Detail, and in the excerpts.
type explained struct{ detail, source, target string }

// wantExplained has the plants by their names.
func wantExplained() map[string]explained {
	const never, in2100 = "never expires", "expires 2100-01-01T00:00:00.000Z"
	return map[string]explained{
		"missing":                      {"only the source has it", `"v"`, ""},
		"extra":                        {"only the target has it", "", `"v"`},
		"type":                         {"a string at the source, a list at the target", `"v"`, `["v"]`},
		"ttl lost":                     {"never expires at the target", in2100, never},
		"ttl gained":                   {"never expires at the source", never, in2100},
		"ttl later by a millisecond":   {"expires 1ms later at the target", in2100, "expires 2100-01-01T00:00:00.001Z"},
		"ttl earlier by a millisecond": {"expires 1ms earlier at the target", in2100, "expires 2099-12-31T23:59:59.999Z"},
		"string longer":                {"the source's ends after 1 bytes, and the target's goes on", `"v"`, `"v\x00"`},
		"string byte":                  {"byte 9999998 differs", `…"2345678901234567` + `89"`, `…"2345678901234567` + `y9"`},
		"integer":                      {"byte 4 differs", `"12345"`, `"12346"`},
		"list order":                   {"element 500 differs", `"500"`, `"501"`},
		"list doubled":                 {"the source has 2 elements, the target 4", "(nothing)", `"a"`},
		"set member":                   {`member "a" is only at the source (and 1 more differ)`, `"a"`, "(nothing)"},
		"set smaller":                  {`member "1" is only at the source`, `"1"`, "(nothing)"},
		"hash value":                   {`the value of field "g" differs`, `"w"`, `"x"`},
		"hash swapped":                 {`the value of field "f" differs (and 1 more differ)`, `"v"`, `"w"`},
		"hash field":                   {`field "g" is only at the target`, "(nothing)", `"g": "w"`},
		"score by an ulp":              {`the score of member "m" differs`, "0.1", "0.10000000000000002"},
		"zset member":                  {`member "n" is only at the source (and 1 more differ)`, `"n": 2`, "(nothing)"},
		"stream entry":                 {"entry 2-1 is only at the source", `2-1 ["f", "v"]`, "(nothing)"},
		"stream entry more":            {"entry 4-1 is only at the target", "(nothing)", `4-1 ["f", "v"]`},
		"stream field":                 {"entry 1-1 differs", `1-1 ["f", "v"]`, `1-1 ["f", "w"]`},
		"stream last ID":               {"the last ID differs", "3-1", "9-9"},
		"stream group gone":            {`group "g" is only at the source`, "last ID 2-1, 2 pending, 1 consumers", "(nothing)"},
		"stream group position":        {`group "g": the last ID differs`, "2-1", "1-1"},
		"stream pending acknowledged":  {`group "g": pending entry 1-1 is only at the source`, `of consumer "c", delivered at 1000, 2 times`, "(nothing)"},
		"stream pending claimed":       {`group "g": pending entry 1-1 differs`, `of consumer "c", delivered at 1000, 2 times`, `of consumer "d", delivered at 1000, 2 times`},
		"stream deliveries":            {`group "g": pending entry 1-1 differs`, `of consumer "c", delivered at 1000, 2 times`, `of consumer "c", delivered at 1000, 3 times`},
		"field ttl":                    {`field "f" expires 1ms later at the target`, in2100, "expires 2100-01-01T00:00:00.001Z"},
		"field ttl lost":               {`field "g" never expires at the target`, in2100, never},
	}
}

// Samples say where they differ, whatever the type.
func TestSamplesAreExplained(t *testing.T) {
	for _, tt := range some(1, []struct {
		source, target string
		fieldTTLs      bool
	}{
		{source: "redis-7.0", target: "valkey-8.1"}, {source: "redis-8.6", target: "valkey-9.1", fieldTTLs: true},
	}) {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			a, b := sandboxtest.Start(t, tt.source, sandbox.Options{}), sandboxtest.Start(t, tt.target, otherLimits())
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			all := plants()
			if tt.fieldTTLs {
				all = append(all, fieldTTLPlants()...)
			}
			sow(t, from, to, all)
			do(t, from, "FUNCTION", "LOAD", "#!lua name=lib\n\nredis.register_function('f', function() return 1 end)")
			do(t, to, "FUNCTION", "LOAD", "#!lua name=lib\n\nredis.register_function('f', function() return 2 end)")
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b)}
			cfg.Options = verify.Options{Method: verify.Scan, Dir: t.TempDir(), Samples: 100}
			report := compare(t, cfg)
			want := wantExplained()
			want["lib"] = explained{"line 3 differs", "return 1 end", "return 2 end"}
			seen := 0
			for _, d := range report.Samples {
				name := strings.TrimPrefix(string(d.Key), "plant:")
				w, ok := want[name]
				got := explained{detail: d.Detail}
				if d.Source != nil {
					got.source = d.Source.Excerpt
				}
				if d.Target != nil {
					got.target = d.Target.Excerpt
				}
				switch {
				case !ok:
					if got.detail == "" || strings.Contains(got.detail, "could not") || got.source == got.target {
						t.Errorf("%s: %+v", name, got)
					}
					continue
				case name == "lib":
					if got.detail != w.detail || !strings.Contains(got.source, w.source) || !strings.Contains(got.target, w.target) {
						t.Errorf("%s: %+v", name, got)
					}
				case got != w:
					t.Errorf("%s:\n%+v, want\n%+v", name, got, w)
				}
				seen++
			}
			if !tt.fieldTTLs {
				seen += len(fieldTTLPlants()) - 1 // one of them has no line above
			}
			if seen != len(want) {
				t.Errorf("%d of %d were among the samples", seen, len(want))
			}
		})
	}
}
