package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// What a Pack and an Intset read is compared with what the functions here do,
// which share nothing with them: they have the value as a whole, take it as the
// servers' sources describe it, listpacks and ziplists from behind as lpPrev and
// ziplistPrev do, and know no haste.

var errOracle = errors.New("malformed")

// oracle reads a value of a kind: the texts in it, or errOracle.
type oracle func(blob []byte) ([]string, error)

// number reads a little-endian number of some bytes.
func number(b []byte, at, size int) (int64, error) {
	if at < 0 || len(b) < at+size {
		return 0, errOracle
	}
	var n uint64
	for i := size - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[at+i])
	}
	return int64(n), nil
}

// integerText prints the little-endian integer of b, which has a sign.
func integerText(b []byte) string {
	n, _ := number(b, 0, len(b))
	if half := int64(1) << (8*len(b) - 1); len(b) < 8 && n >= half {
		n -= 2 * half
	}
	return strconv.FormatInt(n, 10)
}

// listpackOracle follows listpack.c.
func listpackOracle(b []byte) ([]string, error) {
	total, err := number(b, 0, 4)
	if err != nil || len(b) < 7 || int(total) != len(b) || b[len(b)-1] != 0xff {
		return nil, errOracle
	}
	var texts []string
	for end := len(b) - 1; end > 6; {
		// The size of the entry before, 7 bits a byte, the last of them first.
		size, n := uint64(0), 0
		for ; ; n++ {
			if n == 5 || end-1-n < 6 {
				return nil, errOracle
			}
			c := b[end-1-n]
			size |= uint64(c&0x7f) << (7 * n)
			if c < 0x80 {
				break
			}
		}
		n++
		start := end - n - int(size)
		if size == 0 || start < 6 || n != backlenOracle(size) {
			return nil, errOracle
		}
		text, err := listpackEntryOracle(b[start : end-n])
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
		end = start
	}
	slices.Reverse(texts)
	if count, _ := number(b, 4, 2); count != 65535 && int(count) != len(texts) {
		return nil, errOracle
	}
	return texts, nil
}

// backlenOracle is how many bytes lpEncodeBacklen takes.
func backlenOracle(size uint64) int {
	n := 1
	for _, limit := range []uint64{127, 16382, 2097150, 268435454} {
		if size > limit {
			n++
		}
	}
	return n
}

// listpackEntryOracle reads an entry without its size, which is all of e.
func listpackEntryOracle(e []byte) (string, error) {
	first := strconv.FormatUint(1<<8|uint64(e[0]), 2)[1:] // as listpack.c writes them: 10|xxxxxx
	head, size := 0, 0
	switch {
	case strings.HasPrefix(first, "0"): // 0|xxxxxxx, 7 bits
		if len(e) == 1 {
			return strconv.Itoa(int(e[0])), nil
		}
		return "", errOracle
	case strings.HasPrefix(first, "110"): // 13 bits, with a sign
		if len(e) != 2 {
			return "", errOracle
		}
		n := int(e[0]%32)*256 + int(e[1])
		if n >= 4096 {
			n -= 8192
		}
		return strconv.Itoa(n), nil
	case strings.HasPrefix(first, "10"):
		head, size = 1, int(e[0]%64)
	case strings.HasPrefix(first, "1110"):
		if len(e) < 2 {
			return "", errOracle
		}
		head, size = 2, int(e[0]%16)*256+int(e[1])
	case e[0] == 0xf0:
		n, err := number(e, 1, 4)
		if err != nil {
			return "", err
		}
		head, size = 5, int(n)
	default:
		width := map[byte]int{0xf1: 2, 0xf2: 3, 0xf3: 4, 0xf4: 8}[e[0]]
		if width == 0 || len(e) != 1+width {
			return "", errOracle
		}
		return integerText(e[1:]), nil
	}
	if len(e) != head+size {
		return "", errOracle
	}
	return string(e[head:]), nil
}

// ziplistOracle follows ziplist.c.
func ziplistOracle(b []byte) ([]string, error) {
	total, err := number(b, 0, 4)
	if err != nil || len(b) < 11 || int(total) != len(b) || b[len(b)-1] != 0xff {
		return nil, errOracle
	}
	var texts []string
	if len(b) > 11 {
		tail, _ := number(b, 4, 4)
		for at, end := int(tail), len(b)-1; ; {
			if at < 10 || at >= end {
				return nil, errOracle
			}
			text, previous, err := ziplistEntryOracle(b[at:end])
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
			if previous == 0 {
				if at != 10 {
					return nil, errOracle
				}
				break
			}
			at, end = at-previous, at
		}
	}
	slices.Reverse(texts)
	if count, _ := number(b, 8, 2); count != 65535 && int(count) != len(texts) {
		return nil, errOracle
	}
	return texts, nil
}

// ziplistEntryOracle reads an entry, which is all of e, and the size of the one before.
func ziplistEntryOracle(e []byte) (text string, previous int, err error) {
	switch e[0] {
	case 255:
		return "", 0, errOracle
	case 254:
		n, err := number(e, 1, 4)
		if err != nil {
			return "", 0, err
		}
		previous, e = int(n), e[5:]
	default:
		previous, e = int(e[0]), e[1:]
	}
	if len(e) == 0 {
		return "", 0, errOracle
	}
	head, size := 0, 0
	switch e[0] / 64 {
	case 0:
		head, size = 1, int(e[0])
	case 1:
		if len(e) < 2 {
			return "", 0, errOracle
		}
		head, size = 2, int(e[0]%64)*256+int(e[1])
	case 2:
		if len(e) < 5 {
			return "", 0, errOracle
		}
		head, size = 5, int(binary.BigEndian.Uint32(e[1:]))
	default:
		if e[0] >= 0xf1 && e[0] <= 0xfd && len(e) == 1 {
			return strconv.Itoa(int(e[0] - 0xf1)), previous, nil
		}
		width := map[byte]int{0xc0: 2, 0xd0: 4, 0xe0: 8, 0xf0: 3, 0xfe: 1}[e[0]]
		if width == 0 || len(e) != 1+width {
			return "", 0, errOracle
		}
		return integerText(e[1:]), previous, nil
	}
	if len(e) != head+size {
		return "", 0, errOracle
	}
	return string(e[head:]), previous, nil
}

// zipmapOracle follows zipmap.c.
func zipmapOracle(b []byte) ([]string, error) {
	if len(b) < 2 || b[len(b)-1] != 255 {
		return nil, errOracle
	}
	var texts []string
	for e := b[1 : len(b)-1]; len(e) > 0; {
		size, unused, isValue := int64(e[0]), 0, len(texts)%2 == 1
		switch e = e[1:]; size {
		case 255:
			return nil, errOracle
		case 254:
			var err error
			if size, err = number(e, 0, 4); err != nil {
				return nil, err
			}
			e = e[4:]
		}
		if isValue {
			if len(e) == 0 {
				return nil, errOracle
			}
			unused, e = int(e[0]), e[1:]
		}
		if int64(len(e)) < size+int64(unused) {
			return nil, errOracle
		}
		texts = append(texts, string(e[:size]))
		e = e[int(size)+unused:]
	}
	if len(texts)%2 == 1 || b[0] < 254 && int(b[0]) != len(texts)/2 {
		return nil, errOracle
	}
	return texts, nil
}

// intsetOracle follows intset.c.
func intsetOracle(b []byte) ([]string, error) {
	width, err := number(b, 0, 4)
	if err != nil || width != 2 && width != 4 && width != 8 {
		return nil, errOracle
	}
	count, err := number(b, 4, 4)
	if err != nil || int64(len(b)) != 8+count*width {
		return nil, errOracle
	}
	var texts []string
	last := ""
	for e := b[8:]; len(e) > 0; e = e[width:] {
		text := integerText(e[:width])
		if n, before := atoi(text), atoi(last); last != "" && n <= before {
			return nil, errOracle
		}
		texts = append(texts, text)
		last = text
	}
	return texts, nil
}

func atoi(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64) // 0 of none
	return n
}

// oracles names the kinds of packed values, each with how a Reader reads one.
func oracles() []struct {
	name   string
	oracle oracle
	read   func(*Reader) ([]string, error)
} {
	return []struct {
		name   string
		oracle oracle
		read   func(*Reader) ([]string, error)
	}{
		{"listpack", listpackOracle, func(r *Reader) ([]string, error) { return packTexts(r.Listpack()) }},
		{"ziplist", ziplistOracle, func(r *Reader) ([]string, error) { return packTexts(r.Ziplist()) }},
		{"zipmap", zipmapOracle, func(r *Reader) ([]string, error) { return packTexts(r.Zipmap()) }},
		{"intset", intsetOracle, intsetTexts},
	}
}

func intsetTexts(r *Reader) (texts []string, err error) {
	s := r.Intset()
	for n, ok := s.Next(); ok; n, ok = s.Next() {
		texts = append(texts, strconv.FormatInt(n, 10))
	}
	return texts, r.Err()
}

// plainString saves a blob as a string of its bytes.
func plainString(blob []byte) []byte {
	return append(appendLength(nil, uint64(len(blob))), blob...)
}

// lzfString saves a blob as if it were compressed, in runs of literal bytes.
func lzfString(blob []byte) []byte {
	var runs []byte
	for run := range slices.Chunk(blob, 1<<5) {
		runs = append(append(runs, byte(len(run)-1)), run...)
	}
	head := appendLength([]byte{lenEncVal<<6 | encLZF}, uint64(len(runs)))
	return append(appendLength(head, uint64(len(blob))), runs...)
}

// checkPacked reads a blob as one of the kinds and compares. If it is told so it
// does that in every way: in pieces of several sizes, and compressed.
func checkPacked(t *testing.T, kind int, blob []byte, everyWay bool) (good bool) {
	t.Helper()
	k := oracles()[kind%len(oracles())]
	want, wantErr := k.oracle(blob)
	check := func(way string, r *Reader) {
		got, err := k.read(r)
		if (err == nil) != (wantErr == nil) || err == nil && !slices.Equal(got, want) {
			t.Errorf("%s of %d bytes, %s: %.200q (%v), want %.200q (%v)", k.name, len(blob), way, got, err, want, wantErr)
		}
		if syntax := new(SyntaxError); err != nil && (!errors.As(err, &syntax) || syntax.Offset != 0) {
			t.Errorf("%s, %s: error %v", k.name, way, err)
		}
	}
	saved := [][]byte{plainString(blob)}
	if everyWay {
		saved = append(saved, lzfString(blob))
	}
	for i, s := range saved {
		form := [...]string{"plain", "compressed"}[i]
		r := new(Reader)
		r.Reset(s)
		check(form, r)
		if everyWay {
			check(form+", in pieces", NewReader(bytes.NewReader(s), nil, 1))
			check(form+", byte by byte", NewReader(iotest.OneByteReader(bytes.NewReader(s)), nil, 1))
		}
	}
	return wantErr == nil
}

// FuzzPacked reads anything as a packed value. As a whole, in pieces, compressed or
// not, there must be in it what an oracle finds, and malformed must be what is to it.
func FuzzPacked(f *testing.F) {
	var lp listpackWriter
	var zl ziplistWriter
	for _, texts := range [][]string{
		nil,
		{"", "a", "12", "-1", "4095", "-4096", "30000", "-8000000", "2000000000", "-9000000000000000000"},
		{strings.Repeat("x", 63), strings.Repeat("x", 64), strings.Repeat("x", 300), "1", strings.Repeat("y", 5000), "2"},
	} {
		lp.reset()
		zl.reset()
		for _, text := range texts {
			lp.add([]byte(text))
			zl.add(Text{Bytes: []byte(text)})
		}
		f.Add(byte(0), bytes.Clone(lp.finish()))
		f.Add(byte(1), bytes.Clone(zl.finish()))
	}
	f.Add(byte(2), []byte("\x02\x03foo\x03\x02bar..\x05hello\x05\x00world\xff"))
	f.Add(byte(2), []byte("\xfe\x01a\xfe\x2c\x01\x00\x00\x00"+strings.Repeat("v", 300)+"\xff"))
	f.Add(byte(3), newIntset([]int64{-5, 0, 70}))
	f.Add(byte(3), newIntset([]int64{-5_000_000, 0, 70_000}))
	f.Add(byte(3), newIntset([]int64{-5 << 40, 0, 7 << 50}))
	f.Fuzz(func(t *testing.T, kind byte, blob []byte) { checkPacked(t, int(kind), blob, true) })
}
