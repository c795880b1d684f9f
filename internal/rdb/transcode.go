package rdb

import "io"

// TranscoderOptions say what a Transcoder may do beyond rewriting exactly.
type TranscoderOptions struct {
	// Drop has the features that may be left out where the target has no equal:
	// of a hash with field TTLs the TTLs, of a stream its producers, of others
	// the whole key, library or opcode.
	Drop []Feature

	// Module tells whether the target can load data of that module; nil means
	// that it can load none. Vector sets are data of a module named "vectorset".
	Module func(ModuleID) bool

	// Dropped, if not nil, is told of each thing that is left out, as it is counted;
	// detail may be the name of a module or a library.
	Dropped func(f Feature, detail string)
}

// Transcoder rewrites values of one format for servers that load another. Values
// that both know are left as they are. It is not safe for concurrent use.
type Transcoder struct {
	from, to Format
	drop     map[Feature]bool
	module   func(ModuleID) bool
	dropped  map[Feature]int64
	told     func(Feature, string) // never nil

	d    Decoder
	out  output
	zl   ziplistWriter
	list elementWriter
	hash hashWriter
}

// NewTranscoder prepares to rewrite values of format from for servers that load to.
func NewTranscoder(from, to Format, o TranscoderOptions) *Transcoder {
	t := &Transcoder{from: from, to: to, module: o.Module, drop: make(map[Feature]bool), dropped: make(map[Feature]int64)}
	if t.told = o.Dropped; t.told == nil {
		t.told = func(Feature, string) {}
	}
	for _, f := range o.Drop {
		t.drop[f] = true
	}
	return t
}

// Dropped counts what was left out: keys, libraries or opcodes by feature. The
// map is the transcoder's own.
func (t *Transcoder) Dropped() map[Feature]int64 { return t.dropped }

// Touches is the set of types and opcodes that cannot pass without a look.
func (t *Transcoder) Touches() Set {
	var s Set
	for code := range 256 {
		if layoutOf(t.from, byte(code)) != "" && !t.to.HasType(Type(code), t.from) {
			s.AddType(Type(code))
		}
	}
	s.AddType(TypeModule2)
	s.AddOpcode(OpcodeModuleAux)
	return s
}

// noEqual counts a feature that may be dropped, and is the error otherwise.
func (t *Transcoder) noEqual(what Feature, detail string) error {
	if !t.drop[what] {
		return &NoEqualError{What: what, To: t.to, Detail: detail}
	}
	t.dropped[what]++
	t.told(what, detail)
	return nil
}

// Type is what values of a type become. ok is false if the target has nothing
// like it, in which case feature says what it lacks.
func (t *Transcoder) Type(old Type) (newType Type, feature Feature, ok bool) {
	if t.to.HasType(old, t.from) {
		return old, "", true
	}
	switch old {
	case TypeListQuicklist, TypeListQuicklist2:
		if t.to.HasType(TypeListQuicklist, t.to) {
			return TypeListQuicklist, "", true
		}
		return TypeList, "", true
	case TypeSetListpack:
		return TypeSet, "", true
	case TypeHashListpack:
		return TypeHashZiplist, "", true
	case TypeZsetListpack:
		return TypeZsetZiplist, "", true
	case TypeZset2:
		return TypeZset, "", true
	case TypeStreamListpacks, TypeStreamListpacks2, TypeStreamListpacks3, TypeStreamListpacks4:
		newType := t.to.streamType()
		return newType, FeatureStream, newType != 0
	case TypeModule2:
		return 0, FeatureModule, false
	}
	switch { // what is left are hashes with field TTLs
	case t.to.HasType(TypeHash2, Format{Family: Valkey, Version: valkeyVersion}):
		return TypeHash2, "", true
	case t.to.HasType(TypeHashMetadata, t.to):
		return TypeHashMetadata, "", true
	default:
		return TypeHash, "", true
	}
}

// AppendValue appends a value as the target loads it, and says which type that
// is. Errors are a *SyntaxError or, where the target has no equal and the options
// do not allow to drop it, a *NoEqualError. A key that is dropped as a whole is
// a *NoEqualError here too.
func (t *Transcoder) AppendValue(dst []byte, old Type, value []byte) (Type, []byte, error) {
	newType, feature, ok := t.Type(old)
	if !ok {
		return 0, dst, &NoEqualError{What: feature, To: t.to}
	}
	t.d.r.Reset(value)
	if old == TypeModule2 {
		id := t.d.r.Length()
		if t.d.r.err != nil {
			return 0, dst, t.d.r.err
		}
		if err := t.CheckModule(ModuleID(id)); err != nil {
			return 0, dst, err
		}
	}
	if t.to.HasType(old, t.from) {
		return old, append(dst, value...), nil
	}
	t.out = output{buf: dst}
	if err := t.rewrite(newType, old); err != nil {
		return 0, dst, err
	}
	return newType, t.out.buf, nil
}

// CopyValue is AppendValue for a value that comes, and goes, in pieces: those of
// a list, hash or stream. Its type becomes what Type says. Data of a module is not
// checked here: see CheckModule. What was written when it fails is no whole value.
func (t *Transcoder) CopyValue(w io.Writer, old Type, r io.Reader) error {
	newType, feature, ok := t.Type(old)
	switch {
	case !ok:
		return &NoEqualError{What: feature, To: t.to}
	case t.to.HasType(old, t.from):
		_, err := io.Copy(w, r)
		return err
	}
	t.d.openReader(r)
	defer t.d.closeReader()
	t.out = output{w: w}
	if err := t.rewrite(newType, old); err != nil {
		return err
	}
	return t.out.flush()
}

// CheckModule is a *NoEqualError if the target cannot load data of that module.
// Redis 8.6 saves more of a vector set than 8.0 reads and calls both version 0,
// so it must not go to an older format.
func (t *Transcoder) CheckModule(id ModuleID) error {
	tooNew := id.Name() == vectorSet && t.from.Version > t.to.Version
	if t.module != nil && t.module(id) && !tooNew {
		return nil
	}
	return &NoEqualError{What: id.feature(), To: t.to, Detail: id.Name()}
}

// output takes what is written, in memory or, if there is a writer, in pieces.
type output struct {
	buf []byte
	w   io.Writer
}

// spill writes when enough has come together. It is called between elements.
func (o *output) spill() error {
	if o.w == nil || len(o.buf) < writerBuffer {
		return nil
	}
	return o.flush()
}

func (o *output) flush() error {
	_, err := o.w.Write(o.buf)
	o.buf = o.buf[:0]
	return err
}

// rewrite reads a value of the old type and writes it as the new one.
func (t *Transcoder) rewrite(newType, old Type) error {
	d, out := &t.d, &t.out
	switch newType {
	case TypeListQuicklist:
		t.quicklist(out, d)
	case TypeStreamListpacks, TypeStreamListpacks2, TypeStreamListpacks3:
		t.stream(out, newType, old, d)
	case TypeHashZiplist, TypeZsetZiplist:
		t.ziplist(out, d)
	case TypeHash, TypeHash2, TypeHashMetadata:
		t.expiringHash(out, newType, old, d)
	case TypeList, TypeSet, TypeZset:
		t.elements(out, newType, old, d)
	default:
		d.r.Failf("%s cannot become %s", old, newType)
	}
	d.r.End()
	return d.r.err
}
