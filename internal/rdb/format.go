package rdb

import (
	"fmt"
	"strconv"
)

// Family is who gave a format's numbers their meaning. The families agree up to
// version 11, that of Redis 7.2, and part after it.
type Family uint8

// The families of formats.
const (
	Redis Family = iota
	Valkey
	Redict
)

// Format is an RDB format: what a server writes, and the newest that it reads.
// A snapshot's header and a DUMP payload's footer do not tell Redict's version 12
// from that of Redis, which contains it.
type Format struct {
	Family  Family
	Version int // RDB_VERSION of rdb.h

	// Refused has types of the format that this server was found not to load: they
	// are not written for it. It says nothing of what the server writes.
	Refused Set
}

// Versions from which formats differ.
const (
	oldestVersion = 6  // Redis 2.6
	commonVersion = 11 // the last one that is the same in every family
	redictVersion = 12 // Redict 7.3
	newestRedis   = 13 // Redis 8.6
	valkeyVersion = 80 // Valkey 9.0, the first with a header of its own
)

// Known tells whether this package knows the format.
func (f Format) Known() bool {
	switch f.Family {
	case Redis:
		return f.Version >= oldestVersion && f.Version <= newestRedis
	case Valkey:
		return f.Version >= oldestVersion && f.Version <= commonVersion || f.Version == valkeyVersion
	case Redict:
		return f.Version >= oldestVersion && f.Version <= redictVersion
	default:
		return false
	}
}

// String is the header of the format's snapshots.
func (f Format) String() string {
	if f.Family == Valkey && f.Version >= valkeyVersion {
		return fmt.Sprintf("VALKEY%03d", f.Version)
	}
	return fmt.Sprintf("REDIS%04d", f.Version)
}

// HeaderSize is the size of a snapshot's header, in bytes.
const HeaderSize = 9

// ParseHeader reads the HeaderSize bytes that a snapshot begins with. The error
// is a *FormatError.
func ParseHeader(header []byte) (Format, error) {
	var f Format
	text := string(header[:min(len(header), HeaderSize)])
	for _, magic := range []struct {
		prefix string
		family Family
	}{{"REDIS", Redis}, {"VALKEY", Valkey}} {
		if len(text) != HeaderSize || text[:len(magic.prefix)] != magic.prefix {
			continue
		}
		version, err := strconv.ParseUint(text[len(magic.prefix):], 10, 16)
		f = Format{Family: magic.family, Version: int(version)}
		// The header must be the very one of that format: VALKEY011 is not.
		if err == nil && f.Known() && f.String() == text {
			return f, nil
		}
	}
	return Format{}, &FormatError{Found: strconv.Quote(text)}
}

// FormatOf gives the format of a version number as DUMP payloads have it, which
// names no family. The error is a *FormatError.
func FormatOf(version int) (Format, error) {
	f := Format{Family: Redis, Version: version}
	if version >= valkeyVersion {
		f.Family = Valkey
	}
	if !f.Known() {
		return Format{}, &FormatError{Found: fmt.Sprintf("version %d", version)}
	}
	return f, nil
}

// HasType tells whether the format's servers load values of that type with the
// meaning that it has in the format from.
func (f Format) HasType(t Type, from Format) bool {
	return !f.Refused.has(byte(t)) && layoutOf(f, byte(t)) != "" && layoutOf(f, byte(t)) == layoutOf(from, byte(t))
}

// HasOpcode is HasType for an opcode.
func (f Format) HasOpcode(o Opcode, from Format) bool {
	return f.HasType(Type(o), from)
}

// Loads tells whether the format's servers load a snapshot of the format from as
// it is, whatever is in it. Valkey refuses by its number alone what the others took
// for themselves after the families parted (rdb.h RDB_FOREIGN_VERSION_MIN).
func (f Format) Loads(from Format) bool {
	foreign := f.Family == Valkey && from.Family != Valkey && from.Version > commonVersion
	if from.Version > f.Version || foreign {
		return false
	}
	for code := range 256 {
		if layoutOf(from, byte(code)) != "" && !f.HasType(Type(code), from) {
			return false
		}
	}
	return true
}

// Lacks lists what data of the format from may hold and this one cannot. Data of
// modules is not in it unless no module's data can be carried.
func (f Format) Lacks(from Format) []Feature {
	newest, valkey := Format{Family: Redis, Version: newestRedis}, Format{Family: Valkey, Version: valkeyVersion}
	from.Refused = Set{} // it may hold what it refuses to be sent
	var lacking []Feature
	for _, row := range []struct {
		feature Feature
		has     func(Format) bool
	}{
		{FeatureHashFieldTTL, func(f Format) bool { return f.HasType(TypeHash2, valkey) || f.HasType(TypeHashMetadata, newest) }},
		{FeatureFunction, func(f Format) bool { return f.HasOpcode(OpcodeFunction2, newest) }},
		{FeatureStream, func(f Format) bool { return f.streamType() != 0 }},
		{FeatureStreamIDMP, func(f Format) bool { return f.streamType() == TypeStreamListpacks4 }},
		{FeatureVectorSet, func(f Format) bool {
			return f.Family == Redis && f.Version > commonVersion && f.Version >= from.Version
		}},
		{FeatureModule, func(f Format) bool { return f.HasType(TypeModule2, newest) }},
		{FeatureKeyMetadata, func(f Format) bool { return f.HasOpcode(OpcodeKeyMeta, newest) }},
		{FeatureSlotImport, func(f Format) bool { return f.HasOpcode(OpcodeSlotImport, valkey) }},
	} {
		if row.has(from) && !row.has(f) {
			lacking = append(lacking, row.feature)
		}
	}
	return lacking
}
