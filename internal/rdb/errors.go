package rdb

import "fmt"

// SyntaxError says where a snapshot or a value is malformed.
type SyntaxError struct {
	Offset int64 // in bytes, from the beginning of the snapshot or of the value
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("rdb: byte %d: %s", e.Offset, e.Reason)
}

// ReadError says how far a snapshot was read when its reader failed. A snapshot
// that ends too early wraps io.ErrUnexpectedEOF.
type ReadError struct {
	Offset int64
	Err    error
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("rdb: byte %d: %v", e.Offset, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// ChecksumError says that a snapshot or a payload was damaged on its way.
type ChecksumError struct {
	Want, Got uint64 // as it says itself, and as it is
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("rdb: checksum is %016x, should be %016x", e.Got, e.Want)
}

// FormatError says that a format is none that this package knows.
type FormatError struct {
	Found string
}

func (e *FormatError) Error() string {
	return "rdb: unknown format " + e.Found
}

// Feature names what one format can hold and another cannot.
type Feature string

// The features that have no equal in some formats.
const (
	FeatureHashFieldTTL Feature = "hash-field-ttl"
	FeatureFunction     Feature = "function"
	FeatureStream       Feature = "stream"
	FeatureStreamIDMP   Feature = "stream-idmp" // the producers that XADD IDMP remembers
	FeatureVectorSet    Feature = "vector-set"
	FeatureModule       Feature = "module" // values and auxiliary data of any other module
	FeatureKeyMetadata  Feature = "key-metadata"
	FeatureSlotImport   Feature = "slot-import" // slots on their way to this server
	FeatureLargeElement Feature = "large-element"
)

// Features are those that may be dropped by name.
func Features() []Feature {
	return []Feature{
		FeatureHashFieldTTL, FeatureFunction, FeatureStream, FeatureStreamIDMP, FeatureVectorSet,
		FeatureModule, FeatureKeyMetadata, FeatureSlotImport,
	}
}

// NoEqualError says that what was found cannot be said in the target's format.
type NoEqualError struct {
	What   Feature
	To     Format
	Detail string // a module's name, for instance; may be empty
	DB     int
	Key    []byte // nil when it belongs to no key, or when the caller knows the key
}

func (e *NoEqualError) Error() string {
	text := "rdb: " + string(e.What)
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	if e.Key != nil {
		text += fmt.Sprintf(" of db %d, key %.200q", e.DB, e.Key)
	}
	return fmt.Sprintf("%s has no equal in %s", text, e.To)
}
