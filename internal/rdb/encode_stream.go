package rdb

import "bytes"

// Limits of a stream's node, the defaults of the servers.
const (
	maxNodeEntries = 100
	maxNodeBytes   = 4096
)

// streamType is the newest type of streams that the format has, 0 if none.
func (f Format) streamType() Type {
	for _, t := range []Type{TypeStreamListpacks4, TypeStreamListpacks3, TypeStreamListpacks2, TypeStreamListpacks} {
		if f.HasType(t, Format{Family: Redis, Version: newestRedis}) {
			return t
		}
	}
	return 0
}

func (f Format) appendStream(dst []byte, entries []StreamEntry, s *Stream) (Type, []byte, error) {
	t := f.streamType()
	if t == 0 {
		return 0, dst, &NoEqualError{What: FeatureStream, To: f}
	}
	if t != TypeStreamListpacks4 && s.IDMP != nil && len(s.IDMP.Producers) > 0 {
		return 0, dst, &NoEqualError{What: FeatureStreamIDMP, To: f}
	}
	nodes := 0
	var body []byte
	for len(entries) > 0 {
		var n int
		body, n = appendStreamNode(body, entries)
		entries = entries[n:]
		nodes++
	}
	dst = append(appendLength(dst, uint64(nodes)), body...)
	return t, appendStreamState(dst, t, s), nil
}

// appendStreamNode saves the first of the entries in a node, as many as fit.
func appendStreamNode(dst []byte, entries []StreamEntry) ([]byte, int) {
	n, size := 0, 0
	for n < len(entries) && n < maxNodeEntries && (n == 0 || size < maxNodeBytes) {
		for _, f := range entries[n].Fields {
			size += len(f)
		}
		n++
	}
	master := entries[0]
	var w listpackWriter
	w.reset()
	w.addInteger(int64(n))
	w.addInteger(0)
	w.addInteger(int64(len(master.Fields) / 2))
	for i := 0; i < len(master.Fields); i += 2 {
		w.add(master.Fields[i])
	}
	w.addInteger(0)
	for _, e := range entries[:n] {
		same := sameFields(e.Fields, master.Fields)
		flags, pieces := int64(0), int64(3+1+len(e.Fields))
		if same {
			flags, pieces = entrySameFields, int64(3+len(e.Fields)/2)
		}
		w.addInteger(flags)
		w.addInteger(int64(e.ID.Ms - master.ID.Ms)) // a difference, modulo 2^64
		w.addInteger(int64(e.ID.Seq - master.ID.Seq))
		if !same {
			w.addInteger(int64(len(e.Fields) / 2))
		}
		for i, f := range e.Fields {
			if !same || i%2 == 1 {
				w.add(f)
			}
		}
		w.addInteger(pieces)
	}
	dst = appendString(dst, appendRawStreamID(nil, master.ID))
	return appendString(dst, w.finish()), n
}

// sameFields tells whether two entries have the same names in the same order.
func sameFields(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i += 2 {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// appendStreamState saves what comes after the nodes, as type t has it.
func appendStreamState(dst []byte, t Type, s *Stream) []byte {
	dst = appendStreamID(appendLength(dst, s.Length), s.LastID)
	if t != TypeStreamListpacks {
		dst = appendStreamID(appendStreamID(dst, s.FirstID), s.MaxDeletedID)
		dst = appendLength(dst, s.EntriesAdded)
	}
	dst = appendLength(dst, uint64(len(s.Groups)))
	for _, g := range s.Groups {
		dst = appendStreamGroup(dst, t, g)
	}
	if t == TypeStreamListpacks4 {
		dst = appendStreamIDMP(dst, s.IDMP)
	}
	return dst
}

func appendStreamGroup(dst []byte, t Type, g StreamGroup) []byte {
	dst = appendStreamID(appendString(dst, g.Name), g.LastID)
	if t != TypeStreamListpacks {
		dst = appendLength(dst, uint64(g.EntriesRead)) // None is saved so
	}
	dst = appendLength(dst, uint64(len(g.Pending)))
	for _, p := range g.Pending {
		dst = appendMillisecondTime(appendRawStreamID(dst, p.ID), p.DeliveredAt)
		dst = appendLength(dst, p.Deliveries)
	}
	dst = appendLength(dst, uint64(len(g.Consumers)))
	for _, c := range g.Consumers {
		dst = appendMillisecondTime(appendString(dst, c.Name), c.SeenAt)
		if t != TypeStreamListpacks && t != TypeStreamListpacks2 {
			dst = appendMillisecondTime(dst, c.ActiveAt)
		}
		dst = appendLength(dst, uint64(len(c.Pending)))
		for _, id := range c.Pending {
			dst = appendRawStreamID(dst, id)
		}
	}
	return dst
}

// Defaults of stream-idmp-duration, in seconds, and stream-idmp-maxsize.
const (
	idmpDuration = 100
	idmpMaxSize  = 100
)

func appendStreamIDMP(dst []byte, m *StreamIDMP) []byte {
	if m == nil {
		m = &StreamIDMP{Duration: idmpDuration, MaxSize: idmpMaxSize}
	}
	dst = appendLength(appendLength(dst, m.Duration), m.MaxSize)
	dst = appendLength(dst, uint64(len(m.Producers)))
	for _, p := range m.Producers {
		dst = appendLength(appendString(dst, p.Name), uint64(len(p.IDs)))
		for _, id := range p.IDs {
			dst = appendStreamID(appendString(dst, id.ID), id.Entry)
		}
	}
	return appendLength(appendLength(dst, m.Added), m.Duplicates)
}
