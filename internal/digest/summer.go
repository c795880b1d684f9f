package digest

import "godwit/internal/rdb"

// Summer digests a value of which the parts are read one after another, by SSCAN,
// HSCAN, ZSCAN, LRANGE, GETRANGE or XRANGE, or by a rdb.Decoder. Each part must
// come once: the servers' SCAN commands may return one more often. Those of a list
// and of a string come in their order. It is not safe for concurrent use.
type Summer struct {
	d      digester
	pieces bool // the value is a string that comes in pieces
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
		s.d.endString()
	}
	return s.d.value()
}

// StringPart takes the next bytes of a string.
func (s *Summer) StringPart(p []byte) {
	if !s.pieces {
		s.pieces = true
		s.d.beginString()
	}
	s.d.stringPart(p)
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
		s.d.pair(field, s.d.text(e.Value), e.ExpireAt)
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
	state := streamState{length: v.Length, lastID: v.LastID, maxDeletedID: v.MaxDeletedID, entriesAdded: v.EntriesAdded}
	if v.IDMP != nil {
		state.idmp = *v.IDMP
	}
	s.d.state(state)
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
