package glob_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"godwit/internal/glob"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"**", "", false},
		{"?", "", false},
		{"*", "a", true},
		{"a*", "a", true},
		{"a**", "a", true},
		{"*a", "a", true},
		{"*a", "ba", true},
		{"*ab", "aab", true},
		{"a*b*c", "aXbXbc", true},
		{"a*b*c", "aXbXb", false},
		{"h?llo", "hello", true},
		{"h?llo", "hllo", false},
		{"h[ae]llo", "hallo", true},
		{"h[^e]llo", "hello", false},
		{"h[a-b]llo", "hbllo", true},
		{"h[b-a]llo", "hallo", true},
		{`h\*llo`, "h*llo", true},
		{`h\*llo`, "hello", false},
		{`a\`, `a\`, true},
		{`[\]]`, "]", true},
		{"[]a", "a", false}, // an empty class, then "a"
		{"[^]a", "xa", true},
		{"[a", "a", true},
		{"[", "a", false},
		{"[^", "a", true},
		{"[a-", "-", true},
		{"[a-]]", "]", true}, // up to ']', and not closed
		{"[a-]]", "^", true},
		{"[\x80-a]", "\xff", true}, // signed
		{"[\x7f-\x80]", "a", true},
		{"user:{1}:*", "user:{1}:name", true},
	} {
		if got := glob.Match([]byte(test.pattern), []byte(test.s)); got != test.want {
			t.Errorf("Match(%q, %q) is %v", test.pattern, test.s, got)
		}
		if got := glob.New(test.pattern).Match([]byte(test.s)); got != test.want {
			t.Errorf("New(%q).Match(%q) is %v", test.pattern, test.s, got)
		}
	}
}

// A pattern that would take a matcher with a naive recursion for ever.
func TestMatchTakesNoLonger(t *testing.T) {
	begun := time.Now()
	s := []byte(strings.Repeat("a", 4000))
	for _, pattern := range []string{
		strings.Repeat("a*", 900) + "b", strings.Repeat("*a", 5000) + "b", strings.Repeat("?*", 500) + "b", "*" + strings.Repeat("a", 2000) + "b",
		"*" + strings.Repeat("[^b]", 2000) + "b",
	} {
		if glob.Match([]byte(pattern), s) {
			t.Errorf("%.20q... matches", pattern)
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestPatternIsMatch(t *testing.T) {
	text := rapid.SliceOfN(rapid.SampledFrom([]byte(`ab*?[]^-\`+"\x80")), 0, 12)
	rapid.Check(t, func(t *rapid.T) {
		pattern, s := text.Draw(t, "pattern"), text.Draw(t, "s")
		if got, want := glob.New(string(pattern)).Match(s), glob.Match(pattern, s); got != want {
			t.Fatalf("New(%q).Match(%q) is %v, Match %v", pattern, s, got, want)
		}
	})
}

// random makes names and patterns of few bytes, so that they match now and then.
func random(rng *rand.Rand, alphabet string, most int) string {
	b := make([]byte, rng.IntN(most+1))
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

// Each server finds by KEYS, and by SCAN, just the names that match.
func TestServersAgree(t *testing.T) {
	const names, patterns, batch = 300, 4000, 500
	for _, name := range sandboxtest.Catalog(t).Names() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(4, 4))
			client := sandboxtest.Client(t, sandboxtest.Start(t, name, sandbox.Options{})).Redis()
			var all []string
			for range names {
				all = append(all, random(rng, "aabbc-]^\\*[?\x80\xff", 7))
			}
			all = append(all, "", strings.Repeat("a", 2000))
			slices.Sort(all)
			all = slices.Compact(all)
			for _, s := range all {
				if err := client.Set(t.Context(), s, "", 0).Err(); err != nil {
					t.Fatal(err)
				}
			}
			tried := []string{"", "*", "**", strings.Repeat("*a", 999), strings.Repeat("*a", 1000), strings.Repeat("a*", 1000), "[", "[^", "[^]", "[]", "[a-", `[\`, `\`, "a*[", "*]"}
			for range patterns {
				tried = append(tried, random(rng, "aabbc-*?[]^\\*[?\x80", 9))
			}
			for patterns := range slices.Chunk(tried, batch) {
				compare(t, client, patterns, all)
			}
		})
	}
}

func compare(t *testing.T, client *redis.Client, patterns, names []string) {
	t.Helper()
	keys := make([]*redis.StringSliceCmd, len(patterns))
	scans := make([]*redis.ScanCmd, len(patterns))
	_, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i, pattern := range patterns {
			keys[i] = p.Keys(t.Context(), pattern)
			scans[i] = scan(t.Context(), p, pattern)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, pattern := range patterns {
		var want []string
		for _, s := range names {
			if glob.Match([]byte(pattern), []byte(s)) {
				want = append(want, s)
			}
		}
		found, _, _ := scans[i].Result()
		for what, got := range map[string][]string{"KEYS": keys[i].Val(), "SCAN": found} {
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s %.60q gives %.200q, Match %.200q", what, pattern, fmt.Sprint(got), fmt.Sprint(want))
			}
		}
	}
}

// scan asks for all keys at once. go-redis leaves an empty MATCH out.
func scan(ctx context.Context, p redis.Pipeliner, pattern string) *redis.ScanCmd {
	cmd := redis.NewScanCmd(ctx, nil, "SCAN", 0, "MATCH", pattern, "COUNT", 100_000)
	_ = p.Process(ctx, cmd)
	return cmd
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("a*[b-c]?\\"), []byte("aXXbc"))
	f.Fuzz(func(t *testing.T, pattern, s []byte) {
		want := glob.Match(pattern, s)
		if got := glob.New(string(pattern)).Match(s); got != want {
			t.Errorf("%v, prepared %v", want, got)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, pattern := range []string{"user:*", "user:*:name", "*:name", "[u-v]ser:[^a]*"} {
		b.Run(pattern, func(b *testing.B) {
			p := glob.New(pattern)
			name := []byte("user:123456:name")
			b.ReportAllocs()
			for b.Loop() {
				if !p.Match(name) {
					b.Fatal("no match")
				}
			}
		})
	}
}
