package rdb

import (
	"encoding/binary"
	"slices"
	"strconv"
)

// Sample is a small valid value, with which a server can be asked whether it loads
// values of the type.
type Sample struct {
	Type  Type
	Value []byte // what follows the type in a DUMP payload
}

const (
	takenForGranted = 9             // types up to this version, that of Redis 6.0, every server loads
	sampleTTL       = 4102444800000 // of a field: the year 2100, in milliseconds
)

// Samples has one of each type that the format has and version 9 has not, by the
// types' numbers. There is none of modules' types: only the module knows its values.
func (f Format) Samples() []Sample {
	f.Refused = Set{}
	found := make(map[Type][]byte)
	for version := takenForGranted + 1; version <= f.Version; version++ {
		// Each version writes the newest types that it has.
		of := Format{Family: f.Family, Version: version}
		for _, v := range sampleValues() {
			if t, body, err := of.AppendValue(nil, &v); err == nil && of.Known() {
				found[t] = body
			}
		}
	}
	// These are read from snapshots and never made.
	packed := packedSample()
	for t, body := range map[Type][]byte{
		TypeHashMetadataPreGA:   appendString(appendString(appendLength(appendLength(nil, 1), sampleTTL), []byte("f")), []byte("v")),
		TypeHashListpackExPreGA: packed,
		TypeHashListpackEx:      slices.Concat(binary.LittleEndian.AppendUint64(nil, sampleTTL), packed),
	} {
		if f.Family == Redis {
			found[t] = body
		}
	}
	var samples []Sample
	for code := range 256 {
		t := Type(code)
		if body, ok := found[t]; ok && f.HasType(t, f) && !(Format{Family: f.Family, Version: takenForGranted}).HasType(t, f) {
			samples = append(samples, Sample{Type: t, Value: body})
		}
	}
	return samples
}

// sampleValues are encoded in as many ways as there are.
func sampleValues() []Value {
	one := Element{Field: []byte("f"), Value: []byte("v"), Score: 1.5, ExpireAt: None}
	expiring := one
	expiring.ExpireAt = sampleTTL
	stream := Value{
		Kind:    StreamValue,
		Entries: []StreamEntry{{ID: StreamID{Ms: 1}, Fields: [][]byte{[]byte("f"), []byte("v")}}},
		Stream:  Stream{Length: 1, LastID: StreamID{Ms: 1}, FirstID: StreamID{Ms: 1}, EntriesAdded: 1},
	}
	values := []Value{stream, {Kind: HashValue, Elements: []Element{expiring}}}
	for _, kind := range []ValueKind{ListValue, SetValue, HashValue, ZsetValue} {
		values = append(values, Value{Kind: kind, Elements: []Element{one}})
	}
	return values
}

// packedSample is a hash whose field has a TTL, in a listpack of triples.
func packedSample() []byte {
	var w listpackWriter
	w.reset()
	for _, text := range []string{"f", "v", strconv.Itoa(sampleTTL)} {
		w.add([]byte(text))
	}
	return appendString(nil, w.finish())
}

// Dump is the sample as a payload of DUMP, in that format.
func (s Sample) Dump(f Format, c *CRC64) []byte {
	return AppendDumpFooter(append([]byte{byte(s.Type)}, s.Value...), 0, f, c)
}
