package rdb

import (
	"encoding/binary"
	"math"
	"strconv"
)

// Pack reads the entries of a listpack, a ziplist or a zipmap in place. It checks
// what the servers check with sanitize-dump-payload yes.
type Pack struct {
	in     Reader // of the string
	own    []byte // its buffer if the string comes in pieces
	kind   packKind
	end    int64 // where in the string the end mark is
	ended  bool  // it has been read
	count  int   // of entries read
	header int   // how many there are, by the header, countUnknown if it does not tell
	tail   int64 // where the last entry of a ziplist begins, by the header
	last   int64 // where the entry before begins, of a ziplist
	late   int   // what follows the text of the entry before, and has not been looked at

	// The entries of a listpack that is in memory as a whole, and where in them the
	// next one is: those that are small are read without a detour.
	small []byte
	at    int
}

type packKind uint8

const (
	listpackKind packKind = iota
	ziplistKind
	zipmapKind
)

// Listpack reads the beginning of a string that holds a listpack.
func (r *Reader) Listpack() *Pack {
	p, size := r.packed(listpackKind, listpackHeader)
	if p.in.err != nil {
		return p
	}
	head := p.in.buf[p.in.at:]
	if uint64(binary.LittleEndian.Uint32(head)) != size {
		p.Failf("a listpack of another size than its %d bytes", size)
		return p
	}
	p.header = int(binary.LittleEndian.Uint16(head[4:]))
	p.in.at += listpackHeader
	if p.in.src == nil {
		p.small, p.at = p.in.buf[:p.end], p.in.at
	}
	return p
}

// Ziplist reads the beginning of a string that holds a ziplist.
func (r *Reader) Ziplist() *Pack {
	p, size := r.packed(ziplistKind, ziplistHeader)
	if p.in.err != nil {
		return p
	}
	head := p.in.buf[p.in.at:]
	if uint64(binary.LittleEndian.Uint32(head)) != size {
		p.Failf("a ziplist of another size than its %d bytes", size)
		return p
	}
	p.tail = int64(binary.LittleEndian.Uint32(head[4:]))
	p.header = int(binary.LittleEndian.Uint16(head[8:]))
	p.in.at += ziplistHeader
	return p
}

// Zipmap reads the beginning of a string that holds a zipmap. Its entries are
// names and values in turn.
func (r *Reader) Zipmap() *Pack {
	p, _ := r.packed(zipmapKind, 1)
	if p.header = countUnknown; p.in.err != nil {
		return p
	}
	if pairs := p.in.Byte(); pairs < zipmapLarge {
		p.header = 2 * int(pairs)
	}
	return p
}

// packed reads a string and has the pack read what is in it, beginning with a
// header of that many bytes.
func (r *Reader) packed(kind packKind, header int) (*Pack, uint64) {
	if r.pack == nil {
		r.pack = new(Pack)
	}
	p := r.pack
	size := r.within(&p.in, &p.own)
	p.kind, p.end, p.ended = kind, int64(size)-1, false
	p.count, p.last, p.late, p.small, p.at = 0, 0, 0, nil, 0
	p.in.need(header + 1)
	return p, size
}

// within reads the beginning of a string whose bytes in is to read, and returns
// its size. own is in's buffer if it needs one.
func (r *Reader) within(in *Reader, own *[]byte) (size uint64) {
	in.at, in.base, in.rest = 0, 0, 0
	in.parent, in.origin, in.err = r, r.Offset(), nil
	if b, ok := r.plain(); ok {
		in.buf, in.src = b, nil
		return uint64(len(b))
	}
	h, ok := r.stringHead()
	switch {
	case !ok:
		in.buf, in.src, in.err = nil, nil, r.err
		return 0
	case h.code == encPlain && r.fits(h):
		t := r.bytes(h.size)
		in.buf, in.src, in.err = t.Bytes, nil, r.err
		return h.size
	case h.code == encLZF && r.fits(h):
		in.buf, in.src = r.decompress(h), nil
		in.err = r.err
		return h.want
	case h.code == encLZF:
		if r.lzf == nil {
			r.lzf = new(lzfStream)
		}
		r.lzf.begin(r, h)
		in.src = r.lzf
	case h.code == encPlain:
		r.rest = h.size
		in.src = pieces{r}
	default:
		r.Fail(&SyntaxError{Offset: h.start, Reason: "an integer for a packed value"})
		in.buf, in.src, in.err = nil, nil, r.err
		return 0
	}
	if in.size = r.innerSize(); cap(*own) != in.size {
		*own = make([]byte, 0, in.size)
	}
	in.buf = (*own)[:0]
	return h.want
}

// Next returns the next entry, ok false after the last one and after an error.
func (p *Pack) Next() (t Text, ok bool) {
	if at := p.at; at < len(p.small)-1 {
		switch first := p.small[at]; {
		case first < 0x80: // 7 bits
			if p.small[at+1] == 1 {
				p.at = at + 2
				p.count++
				return Text{Integer: int64(first), IsInt: true}, true
			}
		case first < 0xc0: // up to 63 bytes of text
			end := at + 1 + int(first&0x3f)
			if end < len(p.small) && p.small[end] == byte(end-at) {
				p.at = end + 1
				p.count++
				return Text{Bytes: p.small[at+1 : end]}, true
			}
		}
	}
	if p.small == nil {
		return p.any()
	}
	p.in.at = p.at
	t, ok = p.any()
	p.at = p.in.at
	return t, ok
}

// any reads an entry of any kind.
func (p *Pack) any() (t Text, ok bool) {
	in := &p.in
	if len(in.buf)-in.at < atOnce && in.src != nil {
		in.try(atOnce)
	}
	if p.late > 0 && !p.endLate() {
		return t, false
	}
	left := p.end - in.base - int64(in.at)
	if left <= 0 || in.err != nil {
		p.finish()
		return t, false
	}
	b := in.buf[in.at:]
	if int64(len(b)) > left {
		b = b[:left] // without the end mark
	}
	p.count++
	switch p.kind {
	case listpackKind:
		return p.listEntry(b)
	case ziplistKind:
		return p.zipEntry(b)
	default:
		return p.mapEntry(b)
	}
}

// Integer returns the next entry, which must be an integer.
func (p *Pack) Integer() int64 {
	if at := p.at; at < len(p.small)-1 && p.small[at] < 0x80 && p.small[at+1] == 1 {
		p.at = at + 2
		p.count++
		return int64(p.small[at])
	}
	return p.integer()
}

func (p *Pack) integer() int64 {
	t, _ := p.Next()
	if !t.IsInt {
		p.Failf("an integer is missing")
	}
	return t.Integer
}

// Score returns the next entry as a score.
func (p *Pack) Score() float64 {
	t, ok := p.Next()
	switch {
	case !ok:
		p.Odd()
		return 0
	case t.IsInt:
		return float64(t.Integer)
	case t.Large():
		p.Failf("a score of more bytes than a score has")
		return 0
	default:
		return p.in.score(t.Bytes)
	}
}

// scores remembers those with an exponent that were parsed last: near the limits
// of what a float64 can be, parsing takes a microsecond.
type scores [64]struct {
	text  [24]byte // what "%.17g" makes has no more
	score float64
}

// score parses a score.
func (r *Reader) score(text []byte) float64 {
	if n := len(text); n > len(r.scores[0].text) || n < 5 || text[n-5] != 'e' { // e-300
		return r.parseScore(text)
	}
	if r.scores == nil {
		r.scores = new(scores)
	}
	var padded [24]byte
	copy(padded[:], text)
	h := binary.LittleEndian.Uint64(padded[:]) ^ binary.LittleEndian.Uint64(padded[8:])<<1 ^ binary.LittleEndian.Uint64(padded[16:])
	known := &r.scores[h*0x9e3779b97f4a7c15>>58]
	if known.text == padded {
		return known.score
	}
	score := r.parseScore(text)
	if r.err == nil {
		known.text, known.score = padded, score
	}
	return score
}

func (r *Reader) parseScore(text []byte) float64 {
	score, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(score) {
		r.Failf("%.40q is no score", text)
		return 0
	}
	return score
}

// FieldTTL returns the next entry as the time at which a field expires.
func (p *Pack) FieldTTL() int64 {
	t, ok := p.Next()
	if !ok {
		p.Odd()
		return None
	}
	switch {
	case !t.IsInt || t.Integer < 0 || t.Integer > maxFieldTTL:
		p.Failf("a field's TTL is none")
		return None
	case t.Integer == 0:
		return None
	default:
		return t.Integer
	}
}

// More tells whether there is another entry, which is left to be read.
func (p *Pack) More() bool {
	if p.small != nil {
		return p.at < len(p.small)
	}
	if p.late > 0 && !p.endLate() {
		return false
	}
	return p.in.err == nil && p.in.base+int64(p.in.at) < p.end
}

// Left is how many more entries there may be: each has two bytes.
func (p *Pack) Left() int64 {
	if p.small != nil {
		return int64(len(p.small)-p.at) / 2
	}
	return (p.end - p.in.base - int64(p.in.at)) / 2
}

// Failf fails with a *SyntaxError at the beginning of the string.
func (p *Pack) Failf(format string, args ...any) {
	p.in.Failf(format, args...)
	p.at = len(p.small)
}

// End fails unless all entries have been read.
func (p *Pack) End() {
	if _, ok := p.Next(); ok {
		p.Failf("there are more entries than there should be")
	}
}

// finish looks at the end mark and compares the header with what was found.
func (p *Pack) finish() {
	if p.in.err != nil || p.ended {
		return
	}
	p.ended = true
	mark, what := byte(listpackEnd), "listpack" // the other end marks are the same
	switch p.kind {
	case ziplistKind:
		what = "ziplist"
		if p.count > 0 && p.tail != p.last {
			p.Failf("a ziplist's last entry is at byte %d, not %d", p.last, p.tail)
		}
	case zipmapKind:
		what = "zipmap"
		if p.count%2 != 0 {
			p.Odd()
		}
	}
	if got := p.in.Byte(); p.in.err == nil && got != mark {
		p.Failf("byte %#x ends no %s", got, what)
	}
	if p.header != countUnknown && p.header != p.count {
		p.Failf("a %s has %d entries, not %d", what, p.count, p.header)
	}
	p.in.End()
}

// whole returns the next n bytes, of which some are in b, if they fit into the
// buffer.
func (p *Pack) whole(b []byte, n uint64) ([]byte, bool) {
	if n <= uint64(len(b)) {
		return b[:n], true
	}
	if p.in.src == nil || n > uint64(p.in.size) || !p.in.need(int(n)) {
		return nil, false
	}
	return p.in.buf[p.in.at : p.in.at+int(n)], true
}

// large returns a text that comes in pieces.
func (p *Pack) large(head, body uint64) (Text, bool) {
	if p.in.err != nil {
		return Text{}, false
	}
	p.in.at += int(head)
	p.in.rest = body
	return Text{Bytes: p.in.piece(), more: &p.in}, true
}

// endLate looks at what follows a large text.
func (p *Pack) endLate() bool {
	if p.in.rest > 0 {
		p.Failf("an entry has not been read to its end") // a mistake of the caller
		return false
	}
	late := p.late
	p.late = 0
	if p.kind == zipmapKind {
		return p.unused(late)
	}
	var own [maxBacklen]byte
	back := appendBacklen(own[:0], uint64(late))
	if !p.in.need(len(back)) {
		return false
	}
	if string(p.in.buf[p.in.at:p.in.at+len(back)]) != string(back) {
		p.malformed(errListpack)
		return false
	}
	p.in.at += len(back)
	return true
}

// malformed fails.
func (p *Pack) malformed(err error) (Text, bool) {
	p.Failf("%v", err)
	return Text{}, false
}

// Odd fails because an entry has no partner.
func (p *Pack) Odd() { p.Failf("an entry without its partner") }

// Err is the first error there was.
func (p *Pack) Err() error { return p.in.err }
