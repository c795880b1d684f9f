package digest

import (
	"bytes"

	"godwit/internal/rdb"
)

// Summer digests a value of which the parts are read one after another, by SSCAN,
// HSCAN, ZSCAN, LRANGE, GETRANGE or XRANGE, or by a rdb.Decoder. Each part must
// come once: the servers' SCAN commands may return one more often. Those of a list
// and of a string come in their order. It is not safe for concurrent use.
type Summer struct {
	d      digester
	text   longText
	hll    []byte // a string that may be a HyperLogLog, as far as it has come
	pieces bool   // the string comes in pieces
}

var _ rdb.Handler = (*Summer)(nil)

// NewSummer prepares to digest values.
func NewSummer(o Options) *Summer {
	return &Summer{d: newDigester(o)}
}

// Begin begins with another value.
func (s *Summer) Begin(kind rdb.ValueKind) {
	s.d.begin(kind)
	s.pieces = false
}

// Value is the digest of all the parts since Begin.
func (s *Summer) Value() Value {
	if s.pieces {
		s.pieces = false
		s.d.whole(s.textSum())
	}
	return s.d.value()
}

// StringPart takes the next bytes of a string.
func (s *Summer) StringPart(p []byte) {
	if !s.pieces {
		s.pieces = true
		s.text.begin(&s.d.hasher)
		s.hll = s.hll[:0]
	}
	if room := hllHeader + hllDense + 1 - len(s.hll); room > 0 && likeHyperLogLogStart(s.hll) {
		s.hll = append(s.hll, p[:min(room, len(p))]...)
	}
	s.text.add(p)
}

func (s *Summer) textSum() uint64 {
	if likeHyperLogLog(s.hll) {
		if sum, ok := s.d.hyperLogLog(s.hll); ok {
			return sum
		}
	}
	return s.text.sum()
}

// Element takes a string as a whole, an element of a list, a member of a set or a
// sorted set, or a field of a hash with its value.
func (s *Summer) Element(e rdb.Element) error {
	switch s.d.kind {
	case rdb.StringValue:
		s.d.string(rdb.Text{Bytes: e.Value})
	case rdb.ListValue:
		s.d.element(s.d.text(e.Value))
	case rdb.SetValue:
		s.d.member(s.d.text(e.Value))
	case rdb.HashValue:
		field := s.d.text(e.Field)
		s.d.pair(field, s.d.text(e.Value))
		s.d.expires(field, e.ExpireAt)
	case rdb.ZsetValue:
		s.d.scored(s.d.text(e.Value), e.Score)
	}
	return nil
}

// Entry takes an entry of a stream.
func (s *Summer) Entry(e rdb.StreamEntry) error {
	var names, values chain
	for i := 0; i+1 < len(e.Fields); i += 2 {
		names.add(&s.d.hasher, s.d.text(e.Fields[i]))
		values.add(&s.d.hasher, s.d.text(e.Fields[i+1]))
	}
	s.d.entry(e.ID, names, values)
	return nil
}

// Stream takes what a stream has beside its entries.
func (s *Summer) Stream(v *rdb.Stream) error {
	for _, g := range v.Groups {
		sum := group{name: s.d.text(g.Name), lastID: g.LastID, entriesRead: g.EntriesRead}
		for _, p := range g.Pending {
			s.d.pending(&sum, p)
		}
		for _, c := range g.Consumers {
			name := s.d.text(c.Name)
			for _, id := range c.Pending {
				s.d.delivered(&sum, name, id)
			}
			s.d.consumer(&sum, name, uint64(len(c.Pending)))
		}
		s.d.group(sum)
	}
	s.d.state(streamState{
		length: v.Length, lastID: v.LastID, maxDeletedID: v.MaxDeletedID, entriesAdded: v.EntriesAdded, idmp: v.IDMP,
	})
	return nil
}

// Module takes the value of a module, as it is saved.
func (s *Summer) Module(m rdb.ModuleData) error {
	var r rdb.Reader
	r.Reset(m.Data)
	s.d.moduleData(&r, m.ID)
	r.End()
	return r.Err()
}

// likeHyperLogLogStart tells whether a string may be a HyperLogLog by its first bytes.
func likeHyperLogLogStart(p []byte) bool {
	return bytes.HasPrefix([]byte(hllMagic), p[:min(len(p), len(hllMagic))])
}
