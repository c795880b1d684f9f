package census

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"godwit/internal/slot"
)

// together makes a census of RENAMEs, each of the keys of a line.
func together(t *testing.T, lines ...string) *Report {
	t.Helper()
	var all [][]byte
	for _, line := range lines {
		quoted := []string{`"sinter"`}
		for word := range strings.FieldsSeq(line) {
			quoted = append(quoted, repr([]byte(word)))
		}
		all = append(all, []byte(`1.000000 [0 10.0.0.1:7] `+strings.Join(quoted, " ")))
	}
	return counted(t, tables(), all)
}

func each(n int, format string) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = strings.ReplaceAll(strings.ReplaceAll(format, "%d", fmt.Sprint(1000+i)), "%e", fmt.Sprint(7000+3*i))
	}
	return lines
}

func TestHashTags(t *testing.T) {
	for _, test := range []struct {
		name   string
		lines  []string
		breaks float64  // share that is mended
		tags   []string // pattern → as, in order
		not    []string // patterns of what nothing mends
	}{
		{"a user's keys", each(50, "user:%d:cart user:%d:orders"), 1, []string{"user:*:cart → {user:*}:cart", "user:*:orders → {user:*}:orders"}, nil},
		{"a key and what belongs to it", each(50, "user:%d user:%d:orders"), 1, []string{"user:* → user:*", "user:*:orders → {user:*}:orders"}, nil},
		{"kinds with the same number", each(50, "cart-%d user-%d-profile"), 1, []string{"cart-* → cart-{*}", "user-*-profile → user-{*}-profile"}, nil},
		{"no separators", each(50, "cart%d profile%d"), 1, []string{"cart* → cart{*}", "profile* → profile{*}"}, nil},
		{"a tag that one has already", each(50, "{user:%d}:cart user:%d:orders"), 1, []string{"user:*:orders → {user:*}:orders", "{user:*}:cart → {user:*}:cart"}, nil},
		{"UUIDs", []string{
			"s:550e8400-e29b-41d4-a716-446655440000 t:550e8400-e29b-41d4-a716-446655440000",
			"s:660e8400-e29b-41d4-a716-446655440001 t:660e8400-e29b-41d4-a716-446655440001",
		}, 1, []string{"s:* → s:{*}", "t:* → t:{*}"}, nil},
		{"nothing in common", each(50, "user:%d:cart product:%e:stock"), 0, nil, []string{"product:*:stock user:*:cart"}},
		{"words", []string{"tags:red tags:blue"}, 0, []string{"tags:blue → {tags}:blue", "tags:red → {tags}:red"}, nil},
		{"one tag cannot be both", append(each(90, "user:%d:cart:%e user:%d:profile"), each(10, "user:%d:cart:%e item:%e:stock")...), 0.9,
			[]string{"user:*:cart:* → {user:*}:cart:*", "user:*:profile → {user:*}:profile"}, []string{"item:*:stock user:*:cart:*"}},
		{"through a third", append(each(50, "a:%d b:%d"), each(50, "b:%d c:%d")...), 1, []string{"a:* → a:{*}", "b:* → b:{*}", "c:* → c:{*}"}, nil},
	} {
		h := together(t, test.lines...).HashTags
		var tags, not []string
		for _, p := range h.Proposals {
			for _, k := range p.Keys {
				tags = append(tags, k.Pattern+" → "+k.As)
			}
			if p.OneSlot != (test.breaks == 0) {
				t.Errorf("%s: one slot: %t", test.name, p.OneSlot)
			}
			checkOneSlot(t, p)
		}
		for _, u := range h.Unmended {
			not = append(not, strings.Join(u.Patterns, " "))
		}
		if math.Abs(h.Breaks-test.breaks) > 0.02 || strings.Join(tags, "\n") != strings.Join(test.tags, "\n") || strings.Join(not, "\n") != strings.Join(test.not, "\n") {
			t.Errorf("%s: mends %.2f\n%s\nnot %q", test.name, h.Breaks, strings.Join(tags, "\n"), not)
		}
	}
}

// checkOneSlot holds that the renamed keys of the example have one hash slot.
func checkOneSlot(t *testing.T, p Proposal) {
	t.Helper()
	var s slots
	for _, key := range p.Example {
		s.add(slot.Of([]byte(key)))
	}
	if !s.any || s.several {
		t.Errorf("%v are not of one hash slot", p.Example)
	}
}

func TestShow(t *testing.T) {
	for key, want := range map[string]string{
		"user:1": "user:1", "": `""`, "a b": `"a b"`, "\x00\xff\"": `"\x00\xff\""`, "é": "é", "a\nb": `"a\nb"`,
		strings.Repeat("é", 40): strings.Repeat("é", 32) + "…",
	} {
		if got := Show([]byte(key)); got != want {
			t.Errorf("%q: %s, want %s", key, got, want)
		}
	}
}
