package rdb

import (
	"bytes"
	"errors"
	"io"
)

// ConverterOptions say what a snapshot is to become.
type ConverterOptions struct {
	To         Format
	Transcoder TranscoderOptions
	CRC        *CRC64 // to share its tables
	NoChecksum bool   // write 0 in place of the checksum; that of the source is always verified
	BufferSize int    // of the Scanner, bytes; default 256 KiB
	// Dropped, if not nil, is told of each thing that is left out, as it is counted.
	Dropped func(LeftOut)
}

// LeftOut is something that was left out because the target has no equal for it.
type LeftOut struct {
	Feature Feature
	DB      int
	Key     []byte // valid during the call; nil for what belongs to no key
	Detail  string // the name of a module or a library, for instance; may be empty
}

// Converter turns a snapshot into one of another format. What both formats have
// passes through as it is.
type Converter struct {
	options   ConverterOptions
	scanner   *Scanner
	writer    *Writer
	dest      io.Writer
	transcode *Transcoder
	rewritten int64
	db        int    // of the present key
	name      []byte // of the present key
	keyed     bool   // there is one
	value     []byte
}

// NewConverter prepares to read a snapshot from r and to write it to w.
func NewConverter(w io.Writer, r io.Reader, o ConverterOptions) *Converter {
	if o.CRC == nil {
		o.CRC = NewCRC64()
	}
	return &Converter{
		options: o,
		dest:    w,
		scanner: NewScanner(r, ScannerOptions{CRC: o.CRC, BufferSize: o.BufferSize}),
	}
}

// Keys is how many keys have been read.
func (c *Converter) Keys() int64 { return c.scanner.Keys() }

// Rewritten is how many keys have got another encoding.
func (c *Converter) Rewritten() int64 { return c.rewritten }

// Dropped counts what was left out, by feature.
func (c *Converter) Dropped() map[Feature]int64 {
	if c.transcode == nil {
		return nil
	}
	return c.transcode.Dropped()
}

// Buffered is what has been read after the end of the snapshot.
func (c *Converter) Buffered() []byte { return c.scanner.Buffered() }

// Run converts the whole snapshot. Errors are those of Scanner.Next, of the
// writer, or a *NoEqualError that names the key. What was written when it fails
// has no end, so that no server takes it for a snapshot.
func (c *Converter) Run() error {
	for {
		span, err := c.scanner.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.span(span)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Converter) span(s *Span) error {
	switch s.Kind {
	case KindHeader:
		o := c.options.Transcoder
		o.Dropped = c.leftOut
		c.transcode = NewTranscoder(c.scanner.Format(), c.options.To, o)
		c.scanner.Single(c.transcode.Touches())
		c.writer = NewWriter(c.dest, c.options.To, WriterOptions{CRC: c.options.CRC, NoChecksum: c.options.NoChecksum})
		return nil
	case KindKey:
		return c.key(s)
	case KindOpcode:
		return c.opcode(s)
	case KindEnd:
		return c.writer.End()
	default:
		_, err := c.writer.Write(s.Bytes)
		return err
	}
}

// key writes a key that cannot pass as it is.
func (c *Converter) key(s *Span) error {
	c.db, c.keyed = s.DB, true
	defer func() { c.keyed = false }()
	c.name = append(c.name[:0], s.Key...) // the span may be gone by the time of an error
	if err := c.rewrite(s); err != nil {
		return withKey(err, c.db, c.name)
	}
	return nil
}

// leftOut passes on what the transcoder tells, with the key.
func (c *Converter) leftOut(f Feature, detail string) {
	if c.options.Dropped == nil {
		return
	}
	left := LeftOut{Feature: f, Detail: detail}
	if c.keyed {
		left.DB, left.Key = c.db, c.name
	}
	c.options.Dropped(left)
}

// withKey completes a *NoEqualError.
func withKey(err error, db int, key []byte) error {
	var noEqual *NoEqualError
	if errors.As(err, &noEqual) {
		noEqual.DB, noEqual.Key = db, bytes.Clone(key)
	}
	return err
}

func (c *Converter) rewrite(s *Span) error {
	t := c.transcode
	newType, feature, ok := t.Type(s.Type)
	detail := ""
	if s.Type == TypeModule2 {
		id := s.ModuleID()
		feature, detail, ok = id.feature(), id.Name(), ok && t.CheckModule(id) == nil
	}
	if !ok {
		if err := t.noEqual(feature, detail); err != nil {
			return err
		}
		return c.skip(s)
	}
	keepsMetadata := t.to.HasOpcode(OpcodeKeyMeta, t.from)
	if s.Attributes.Metadata && !keepsMetadata {
		if err := t.noEqual(FeatureKeyMetadata, ""); err != nil {
			return err
		}
	}
	if s.Attributes.Metadata && keepsMetadata {
		return c.pass(s) // both formats are the same, and the type is a module's
	}
	if !t.to.HasType(s.Type, t.from) {
		c.rewritten++
	}
	if err := c.writer.Key(s.Key, s.Attributes, newType); err != nil {
		return err
	}
	if s.More {
		return t.CopyValue(c.writer, s.Type, c.scanner.Value())
	}
	var err error
	if _, c.value, err = t.AppendValue(c.value[:0], s.Type, s.Value()); err != nil {
		return err
	}
	_, err = c.writer.Write(c.value)
	return err
}

// opcode writes an element that cannot pass as it is and is no key.
func (c *Converter) opcode(s *Span) error {
	t := c.transcode
	var err error
	switch s.Opcode {
	case OpcodeModuleAux:
		if id := s.ModuleID(); !t.to.HasOpcode(OpcodeModuleAux, t.from) || t.CheckModule(id) != nil {
			err = t.noEqual(id.feature(), id.Name())
			break
		}
		return c.pass(s)
	case OpcodeFunction2:
		err = t.noEqual(FeatureFunction, s.LibraryName())
	case OpcodeSlotImport:
		err = t.noEqual(FeatureSlotImport, "")
	default: // OpcodeAux, OpcodeResizeDB, OpcodeSlotInfo: hints, and nothing is lost without
	}
	if err != nil {
		return err
	}
	return c.skip(s)
}

// pass writes an element as it is.
func (c *Converter) pass(s *Span) error {
	for {
		if _, err := c.writer.Write(s.Bytes); err != nil || !s.More {
			return err
		}
		var err error
		if s, err = c.scanner.Next(); err != nil {
			return err
		}
	}
}

// skip leaves an element out.
func (c *Converter) skip(s *Span) error {
	for s.More {
		var err error
		if s, err = c.scanner.Next(); err != nil {
			return err
		}
	}
	return nil
}
