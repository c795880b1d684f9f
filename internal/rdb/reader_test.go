package rdb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"godwit/internal/rdb"
)

// textOf is a text as a whole.
func textOf(t rdb.Text) string {
	if t.IsInt {
		return strconv.FormatInt(t.Integer, 10)
	}
	text := string(t.Bytes)
	if t.Large() {
		for p := t.Next(); len(p) > 0; p = t.Next() {
			text += string(p)
		}
	}
	return text
}

func entries(p *rdb.Pack) (texts []string) {
	for t, ok := p.Next(); ok; t, ok = p.Next() {
		texts = append(texts, textOf(t))
	}
	return texts
}

// readTexts reads the texts of the values of some types.
func readTexts(r *rdb.Reader, t rdb.Type) (texts []string, known bool) {
	switch t {
	case rdb.TypeString:
		texts = []string{textOf(r.String())}
	case rdb.TypeSet, rdb.TypeList, rdb.TypeHash:
		n := r.Length()
		if t == rdb.TypeHash {
			n *= 2
		}
		for range n {
			texts = append(texts, textOf(r.String()))
		}
	case rdb.TypeListQuicklist2:
		for range r.Length() {
			if r.Length() == rdb.QuicklistNodePlain {
				texts = append(texts, textOf(r.String()))
			} else {
				texts = append(texts, entries(r.Listpack())...)
			}
		}
	case rdb.TypeListQuicklist:
		for range r.Length() {
			texts = append(texts, entries(r.Ziplist())...)
		}
	case rdb.TypeSetListpack, rdb.TypeHashListpack:
		texts = entries(r.Listpack())
	case rdb.TypeHashZiplist, rdb.TypeListZiplist:
		texts = entries(r.Ziplist())
	case rdb.TypeHashZipmap:
		texts = entries(r.Zipmap())
	case rdb.TypeSetIntset:
		for s := r.Intset(); ; {
			n, ok := s.Next()
			if !ok {
				break
			}
			texts = append(texts, strconv.FormatInt(n, 10))
		}
	default:
		return nil, false
	}
	return texts, true
}

// A reader, and a decoder, find what was encoded, in a buffer that holds all of it
// and in one that next to nothing fits into.
func TestReaderReadsWhatWasEncoded(t *testing.T) {
	type encoded struct {
		format rdb.Format
		typ    rdb.Type
		body   []byte
		want   []string // field, value, field, value of a hash
	}
	texts := func(elements []rdb.Element) (texts []string) {
		for _, e := range elements {
			if e.Field != nil {
				texts = append(texts, string(e.Field))
			}
			texts = append(texts, string(e.Value))
		}
		return texts
	}
	var values []encoded
	for _, format := range formats() {
		for _, v := range samples() {
			if typ, body, err := format.AppendValue(nil, v); err == nil {
				values = append(values, encoded{format, typ, body, texts(v.Elements)})
			}
		}
	}
	long := strings.Repeat("0123456789", 30)
	zipmap := "\x02\x03foo\x03\x02bar..\x05hello\xfe\x2c\x01\x00\x00\x01" + long + ".\xff"
	values = append(values,
		encoded{rdb.Format{Version: 6}, rdb.TypeHashZipmap, append(binary.BigEndian.AppendUint32([]byte{0x80}, uint32(len(zipmap))), zipmap...), []string{"foo", "bar", "hello", long}},
		// "0", then references to it: 11 times 264 bytes, and 94 more.
		encoded{rdb.Format{Version: 6}, rdb.TypeString, []byte("\xc3\x26\x4b\xb7\x000" + strings.Repeat("\xe0\xff\x00", 11) + "\xe0\x55\x00"), []string{strings.Repeat("0", 1+11*264+94)}},
	)
	tried := 0
	for _, v := range values {
		decoded, err := rdb.DecodeValue(v.format, v.typ, v.body)
		if err != nil {
			t.Errorf("%s: %v", v.typ, err)
			continue
		}
		if got := texts(decoded.Elements); !slices.Equal(got, v.want) {
			t.Errorf("%s of %s, decoded: %.200q, want %.200q", v.typ, v.format, got, v.want)
		}
		whole := new(rdb.Reader)
		whole.Reset(v.body)
		for name, r := range map[string]*rdb.Reader{"whole": whole, "in pieces": rdb.NewReader(bytes.NewReader(v.body), nil, 1)} {
			got, known := readTexts(r, v.typ)
			if !known {
				continue
			}
			tried++
			if r.End(); r.Err() != nil || !slices.Equal(got, v.want) {
				t.Errorf("%s of %s, %s: %.200q (%v), want %.200q", v.typ, v.format, name, got, r.Err(), v.want)
			}
			// Cut short anywhere it is an error.
			for n := 0; n < len(v.body); n += 1 + len(v.body)/100 {
				r := rdb.NewReader(bytes.NewReader(v.body[:n]), nil, 1)
				readTexts(r, v.typ)
				if err := r.Err(); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%s of %s, %d of %d bytes: error %v", v.typ, v.format, n, len(v.body), err)
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("%d values were tried", tried)
	}
}

// What the servers refuse is refused: entries that end or begin otherwise than
// their neighbours say, and headers that say something else.
func TestReaderRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		typ  rdb.Type
		body string
	}{
		"a listpack of another size":         {rdb.TypeSetListpack, "\x09\x08\x00\x00\x00\x01\x00\x05\x01\xff"},
		"a listpack without an end mark":     {rdb.TypeSetListpack, "\x09\x09\x00\x00\x00\x01\x00\x05\x01\xfe"},
		"a listpack's wrong count":           {rdb.TypeSetListpack, "\x09\x09\x00\x00\x00\x02\x00\x05\x01\xff"},
		"an entry's wrong size":              {rdb.TypeSetListpack, "\x09\x09\x00\x00\x00\x01\x00\x05\x02\xff"},
		"an entry beyond the end":            {rdb.TypeSetListpack, "\x09\x09\x00\x00\x00\x01\x00\x85\x01\xff"},
		"an integer beyond the end":          {rdb.TypeSetListpack, "\x09\x09\x00\x00\x00\x01\x00\xf4\x01\xff"},
		"no kind of entry":                   {rdb.TypeSetListpack, "\x09\x09\x00\x00\x00\x01\x00\xf5\x01\xff"},
		"an integer for a listpack":          {rdb.TypeSetListpack, "\xc0\x05"},
		"a ziplist's wrong last entry":       {rdb.TypeHashZiplist, "\x0d\x0d\x00\x00\x00\x0b\x00\x00\x00\x01\x00\x00\xf2\xff"},
		"a ziplist's wrong previous entry":   {rdb.TypeHashZiplist, "\x0d\x0d\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x02\xf2\xff"},
		"an intset that does not ascend":     {rdb.TypeSetIntset, "\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x05\x00\x05\x00"},
		"an intset with another width":       {rdb.TypeSetIntset, "\x0c\x03\x00\x00\x00\x02\x00\x00\x00\x05\x00\x05\x00"},
		"a zipmap's name without a value":    {rdb.TypeHashZipmap, "\x06\x01\x03foo\xff"},
		"an LZF string beyond its beginning": {rdb.TypeString, "\xc3\x04\x06\x00a\x60\x05"},
		"an LZF string that ends too early":  {rdb.TypeString, "\xc3\x04\x07\x00a\x60\x00"},
		"an LZF string that goes on":         {rdb.TypeString, "\xc3\x04\x05\x00a\x60\x00"},
		"a length that is none":              {rdb.TypeString, "\x82abc"},
	} {
		t.Run(name, func(t *testing.T) {
			whole := new(rdb.Reader)
			whole.Reset([]byte(test.body))
			for _, r := range []*rdb.Reader{whole, rdb.NewReader(strings.NewReader(test.body), nil, 1)} {
				readTexts(r, test.typ)
				r.End()
				if syntax := new(rdb.SyntaxError); !errors.As(r.Err(), &syntax) {
					t.Errorf("error %v", r.Err())
				}
			}
		})
	}
}
