package rdb

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// Up to these limits, the defaults of the servers, small values are packed.
const (
	maxPackedEntries = 128 // of a hash, set or zset
	maxPackedBytes   = 64  // of one of their strings
	maxIntsetEntries = 512
	maxListNode      = 8 << 10 // bytes
)

// AppendValue appends the value in the newest encoding that the format has, and
// says which one that is. The error is a *NoEqualError.
func (f Format) AppendValue(dst []byte, v *Value) (Type, []byte, error) {
	switch v.Kind {
	case StringValue:
		if len(v.Elements) == 1 {
			return TypeString, appendString(dst, v.Elements[0].Value), nil
		}
	case ListValue:
		t, dst := f.appendList(dst, v.Elements)
		return t, dst, nil
	case SetValue:
		t, dst := f.appendSet(dst, v.Elements)
		return t, dst, nil
	case HashValue:
		return f.appendHash(dst, v.Elements)
	case ZsetValue:
		t, dst := f.appendZset(dst, v.Elements)
		return t, dst, nil
	case StreamValue:
		return f.appendStream(dst, v.Entries, &v.Stream)
	case ModuleValue:
		if f.HasType(TypeModule2, f) {
			return TypeModule2, append(appendLength(dst, uint64(v.Module.ID)), v.Module.Data...), nil
		}
		return 0, dst, &NoEqualError{What: v.Module.ID.feature(), To: f, Detail: v.Module.ID.Name()}
	}
	return 0, dst, &SyntaxError{Reason: "a value of no kind"}
}

func (f Format) appendList(dst []byte, elements []Element) (Type, []byte) {
	switch {
	case f.HasType(TypeListQuicklist2, f):
		return TypeListQuicklist2, appendQuicklist2(dst, elements)
	case f.HasType(TypeListQuicklist, f):
		return TypeListQuicklist, appendQuicklist(dst, elements)
	}
	dst = appendLength(dst, uint64(len(elements)))
	for _, e := range elements {
		dst = appendString(dst, e.Value)
	}
	return TypeList, dst
}

// listNodes divides elements into nodes: as many as fit, at least one.
func listNodes(elements []Element) (nodes [][]Element) {
	size, start := 0, 0
	for i, e := range elements {
		const overhead = 10 // at most, of a small element
		if size += len(e.Value) + overhead; size > maxListNode && i > start {
			nodes = append(nodes, elements[start:i])
			size, start = len(e.Value)+overhead, i
		}
	}
	return append(nodes, elements[start:])
}

func appendQuicklist2(dst []byte, elements []Element) []byte {
	nodes := listNodes(elements)
	dst = appendLength(dst, uint64(len(nodes)))
	var w listpackWriter
	for _, node := range nodes {
		if len(node) == 1 && len(node[0].Value) > maxListNode {
			dst = appendString(append(dst, QuicklistNodePlain), node[0].Value)
			continue
		}
		w.reset()
		for _, e := range node {
			w.add(e.Value)
		}
		dst = appendString(append(dst, QuicklistNodePacked), w.finish())
	}
	return dst
}

func appendQuicklist(dst []byte, elements []Element) []byte {
	nodes := listNodes(elements)
	dst = appendLength(dst, uint64(len(nodes)))
	var w ziplistWriter
	for _, node := range nodes {
		w.reset()
		for _, e := range node {
			w.add(Text{Bytes: e.Value})
		}
		dst = appendString(dst, w.finish())
	}
	return dst
}

func (f Format) appendSet(dst []byte, members []Element) (Type, []byte) {
	if numbers, ok := integers(members); ok {
		return TypeSetIntset, appendString(dst, newIntset(numbers))
	}
	if f.HasType(TypeSetListpack, f) && packable(members) {
		var w listpackWriter
		w.reset()
		for _, m := range members {
			w.add(m.Value)
		}
		return TypeSetListpack, appendString(dst, w.finish())
	}
	dst = appendLength(dst, uint64(len(members)))
	for _, m := range members {
		dst = appendString(dst, m.Value)
	}
	return TypeSet, dst
}

// integers gives a set's members in their order, if they are few and all integers.
func integers(members []Element) ([]int64, bool) {
	if len(members) == 0 || len(members) > maxIntsetEntries {
		return nil, false
	}
	numbers := make([]int64, 0, len(members))
	for _, m := range members {
		n, ok := ParseInteger(m.Value)
		if !ok {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, true
}

func packable(elements []Element) bool {
	if len(elements) > maxPackedEntries {
		return false
	}
	return !slices.ContainsFunc(elements, func(e Element) bool {
		return len(e.Value) > maxPackedBytes || len(e.Field) > maxPackedBytes
	})
}

// appendPairs saves pairs in a listpack or a ziplist.
func appendPairs(dst []byte, packs bool, n int, pair func(i int) (first, second []byte)) []byte {
	var lp listpackWriter
	var zl ziplistWriter
	lp.reset()
	zl.reset()
	for i := range n {
		first, second := pair(i)
		if packs {
			lp.add(first)
			lp.add(second)
		} else {
			zl.add(Text{Bytes: first})
			zl.add(Text{Bytes: second})
		}
	}
	if packs {
		return appendString(dst, lp.finish())
	}
	return appendString(dst, zl.finish())
}

func (f Format) appendHash(dst []byte, fields []Element) (Type, []byte, error) {
	least := int64(math.MaxInt64)
	for _, e := range fields {
		if e.ExpireAt != None {
			least = min(least, e.ExpireAt)
		}
	}
	switch {
	case least != math.MaxInt64:
		return f.appendExpiringHash(dst, fields, max(least, 1))
	case len(fields) > 0 && packable(fields):
		t := TypeHashZiplist
		if f.HasType(TypeHashListpack, f) {
			t = TypeHashListpack
		}
		return t, appendPairs(dst, t == TypeHashListpack, len(fields), func(i int) (first, second []byte) {
			return fields[i].Field, fields[i].Value
		}), nil
	}
	dst = appendLength(dst, uint64(len(fields)))
	for _, e := range fields {
		dst = appendString(appendString(dst, e.Field), e.Value)
	}
	return TypeHash, dst, nil
}

func (f Format) appendExpiringHash(dst []byte, fields []Element, least int64) (Type, []byte, error) {
	if f.HasType(TypeHash2, Format{Family: Valkey, Version: valkeyVersion}) {
		dst = appendLength(dst, uint64(len(fields)))
		for _, e := range fields {
			dst = appendMillisecondTime(appendString(appendString(dst, e.Field), e.Value), e.ExpireAt)
		}
		return TypeHash2, dst, nil
	}
	if !f.HasType(TypeHashMetadata, f) {
		return 0, dst, &NoEqualError{What: FeatureHashFieldTTL, To: f}
	}
	dst = appendLength(appendMillisecondTime(dst, least), uint64(len(fields)))
	for _, e := range fields {
		ttl, err := f.redisTTL(e.ExpireAt)
		if err != nil {
			return 0, dst, err
		}
		if ttl != 0 {
			ttl -= uint64(least) - 1
		}
		dst = appendString(appendString(appendLength(dst, ttl), e.Field), e.Value)
	}
	return TypeHashMetadata, dst, nil
}

// redisTTL is when a field expires as Redis says it: 0 if never, and not after
// maxFieldTTL. What expired in 1970 expires a millisecond later.
func (f Format) redisTTL(expireAt int64) (uint64, error) {
	switch {
	case expireAt == None:
		return 0, nil
	case expireAt > maxFieldTTL:
		return 0, &NoEqualError{What: FeatureHashFieldTTL, To: f, Detail: "a field expires after the year 10889"}
	default:
		return uint64(max(expireAt, 1)), nil
	}
}

func (f Format) appendZset(dst []byte, members []Element) (Type, []byte) {
	if len(members) > 0 && packable(members) {
		t := TypeZsetZiplist
		if f.HasType(TypeZsetListpack, f) {
			t = TypeZsetListpack
		}
		sorted := slices.Clone(members) // packed ones must be
		slices.SortFunc(sorted, func(a, b Element) int {
			return cmp.Or(cmp.Compare(a.Score, b.Score), bytes.Compare(a.Value, b.Value))
		})
		return t, appendPairs(dst, t == TypeZsetListpack, len(sorted), func(i int) (first, second []byte) {
			return sorted[i].Value, appendScore(nil, sorted[i].Score)
		})
	}
	dst = appendLength(dst, uint64(len(members)))
	binaryScores := f.HasType(TypeZset2, f)
	for _, m := range members {
		dst = appendString(dst, m.Value)
		if binaryScores {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(m.Score))
		} else {
			dst = appendTextScore(dst, m.Score)
		}
	}
	if binaryScores {
		return TypeZset2, dst
	}
	return TypeZset, dst
}
