package rdb

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseInteger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`-?[0-9]{0,21}`),
			rapid.Map(rapid.Int64(), func(n int64) string { return strconv.FormatInt(n, 10) }),
			rapid.SampledFrom([]string{
				"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
				"", "-", "-0", "00", "+1", " 1", "1 ", "1e3", "0x1", "9999999999999999999", "-9999999999999999999",
			}),
		).Draw(t, "text")
		n, err := strconv.ParseInt(text, 10, 64)
		want := err == nil && strconv.FormatInt(n, 10) == text
		if got, ok := ParseInteger([]byte(text)); ok != want || ok && got != n {
			t.Errorf("%q is %d, %t; want %d, %t", text, got, ok, n, want)
		}
	})
}

func TestAppendScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		score := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		if rapid.Bool().Draw(t, "round") {
			score = math.Round(math.Mod(score, 1e17))
		}
		if math.IsNaN(score) {
			return
		}
		var r Reader
		r.Reset(appendTextScore(nil, score))
		got := r.TextScore()
		if err := r.Err(); err != nil || math.Float64bits(got) != math.Float64bits(score) {
			t.Errorf("%x becomes %x, %v", score, got, err)
		}
		text := appendScore(nil, score)
		var w listpackWriter
		w.reset()
		w.add(text)
		r.Reset(appendString(nil, w.finish()))
		p := r.Listpack()
		got = p.Score()
		if err := p.Err(); err != nil || math.Float64bits(got) != math.Float64bits(score) {
			t.Errorf("%x, packed as %q, becomes %x, %v", score, text, got, err)
		}
	})
}

// packTexts reads the texts of a pack to its end.
func packTexts(p *Pack) (texts []string, err error) {
	for t, ok := p.Next(); ok; t, ok = p.Next() {
		texts = append(texts, string(appendText(nil, t)))
	}
	return texts, p.Err()
}

// entriesOf reads a listpack or ziplist to its end.
func entriesOf(blob []byte, ziplist bool) ([]string, error) {
	var r Reader
	r.Reset(appendString(nil, blob))
	p := r.Listpack
	if ziplist {
		p = r.Ziplist
	}
	return packTexts(p())
}

// TestPackedLists writes and reads lists of entries with sizes around those where
// the encoding changes, and more of them than the header can count.
func TestPackedLists(t *testing.T) {
	var texts []string
	for _, n := range []int{0, 1, 10, 62, 63, 64, 65, 124, 125, 126, 127, 128, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255,
		4090, 4095, 4096, 16376, 16378, 16380, 16382, 16383, 16384, 16385, 65536, 2097140, 2097151} {
		texts = append(texts, strings.Repeat("x", n))
	}
	for shift := range 63 {
		for _, n := range []int64{1<<shift - 1, 1 << shift, -(1 << shift), -(1 << shift) - 1} {
			texts = append(texts, strconv.FormatInt(n, 10))
		}
	}
	for range countUnknown {
		texts = append(texts, "")
	}
	for _, some := range [][]string{nil, texts[:1], texts, texts[:countUnknown-1], texts[len(texts)-countUnknown:]} {
		var lp listpackWriter
		var zl ziplistWriter
		lp.reset()
		zl.reset()
		for _, text := range some {
			lp.add([]byte(text))
			zl.add(Text{Bytes: []byte(text)})
		}
		for ziplist, blob := range map[bool][]byte{false: lp.finish(), true: zl.finish()} {
			got, err := entriesOf(blob, ziplist)
			if err != nil {
				t.Fatalf("ziplist %t: %v", ziplist, err)
			}
			if len(got) != len(some) {
				t.Fatalf("ziplist %t: %d entries, want %d", ziplist, len(got), len(some))
			}
			for i := range got {
				if got[i] != some[i] {
					t.Errorf("ziplist %t: entry %d is %.40q, want %.40q", ziplist, i, got[i], some[i])
				}
			}
		}
	}
}

// TestPackedDamage changes each byte of packed values to each other value, and cuts
// them short: what an oracle finds malformed is, and what it does not is the same.
func TestPackedDamage(t *testing.T) {
	var lp listpackWriter
	var zl ziplistWriter
	lp.reset()
	zl.reset()
	for _, text := range []string{"a", "-1", "4000", "100000", "some longer text than that", "1234567890123", strings.Repeat("y", 70)} {
		lp.add([]byte(text))
		zl.add(Text{Bytes: []byte(text)})
	}
	for kind, blob := range [][]byte{
		lp.finish(), zl.finish(), []byte("\x02\x03foo\x03\x02bar..\x05hello\x05\x00world\xff"), newIntset([]int64{-3, 500, 70_000}),
	} {
		good, bad := 0, 0
		for at := range blob {
			for b := range 256 {
				damaged := bytes.Clone(blob)
				damaged[at] = byte(b)
				if checkPacked(t, kind, damaged, bits.OnesCount8(uint8(b)^blob[at]) == 1) {
					good++
				} else {
					bad++
				}
			}
			if checkPacked(t, kind, blob[:at], true) {
				t.Errorf("kind %d: nothing is wrong with %d bytes of %d", kind, at, len(blob))
			}
		}
		if good == 0 || bad == 0 {
			t.Errorf("kind %d: %d good ones, %d bad ones", kind, good, bad)
		}
	}
}

// integersOf reads an intset to its end.
func integersOf(blob []byte) (numbers []int64, err error) {
	var r Reader
	r.Reset(appendString(nil, blob))
	s := r.Intset()
	for n, ok := s.Next(); ok; n, ok = s.Next() {
		numbers = append(numbers, n)
	}
	return numbers, r.Err()
}

func TestIntset(t *testing.T) {
	for _, numbers := range [][]int64{{}, {5}, {-3, 0, 7}, {math.MinInt16, math.MaxInt16}, {math.MinInt16 - 1, 0}, {0, 1 << 31}, {math.MinInt64, math.MaxInt64}} {
		got, err := integersOf(newIntset(numbers))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(numbers) {
			t.Errorf("%v becomes %v, %v", numbers, got, err)
		}
	}
	good := newIntset([]int64{1, 2, 3})
	for name, blob := range map[string][]byte{
		"empty": {}, "cut short": good[:len(good)-1], "too long": append(bytes.Clone(good), 0),
		"descending": newIntset([]int64{2, 1}), "twice": newIntset([]int64{1, 1}),
		"odd width": append([]byte{3}, good[1:]...), "huge count": append(bytes.Clone(good[:7]), 0xff),
	} {
		if _, err := integersOf(blob); err == nil {
			t.Errorf("nothing is wrong with an intset that is %s", name)
		}
	}
}

func TestZipmap(t *testing.T) {
	large := strings.Repeat("v", 300)
	for text, good := range map[string]bool{
		"\x00\xff":                 true,
		"\x01\x01a\x01\x00b\xff":   true,
		"\xfe\x01a\x01\x00b\xff":   true, // does not tell how many there are
		"\x01\x01a\x01\x02b..\xff": true,
		"\x01\x01a\xfe\x2c\x01\x00\x00\x00" + large + "\xff": true,
		"":                                       false,
		"\xff":                                   false,
		"\x00":                                   false,
		"\x02\x01a\x01\x00b\xff":                 false,
		"\x01\x05a\x01\x00b\xff":                 false,
		"\x01\x01a\x05\x00b\xff":                 false,
		"\x01\x01a\x01\x05b\xff":                 false,
		"\x01\x01a\x01\xff":                      false,
		"\x01\x01a\xff":                          false,
		"\x01\xfe\xff\xff\xff\xffa\x01\x00b\xff": false,
	} {
		var r Reader
		r.Reset(appendString(nil, []byte(text)))
		if _, err := packTexts(r.Zipmap()); (err == nil) != good {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestLZF(t *testing.T) {
	for _, test := range []struct {
		compressed string
		want       uint64
		text       string
		good       bool
	}{
		{"\x02abc", 3, "abc", true},
		{"\x00a\x60\x00", 6, "aaaaaa", true},
		{"\x00a\xe0\x10\x00", 26, strings.Repeat("a", 26), true},
		{"\x01ab\x20\x01", 5, "ababa", true},
		{"", 0, "", true},
		{"\x02abc", 4, "", false},
		{"\x02abc", 2, "", false},
		{"\x05abc", 3, "", false},
		{"\x00a\x60\x01", 6, "", false}, // before the beginning
		{"\x00a\x60", 6, "", false},
		{"\x00a\xe0", 20, "", false},
		{"\x00a\x60\x00", 5, "", false},
		{"\x00a", 1 << 60, "", false},
	} {
		before := []byte("before")
		got, err := appendLZF(before, []byte(test.compressed), test.want)
		if (err == nil) != test.good || err == nil && string(got) != "before"+test.text {
			t.Errorf("%q of %d bytes is %q, %v", test.compressed, test.want, got, err)
		}
	}
}
