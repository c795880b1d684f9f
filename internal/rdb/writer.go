package rdb

import (
	"encoding/binary"
	"io"
)

// WriterOptions tune a Writer. The zero value writes a checksum.
type WriterOptions struct {
	CRC        *CRC64 // to share its tables
	NoChecksum bool   // write 0, which the servers take for "not checked"
}

// Writer writes a snapshot. The first error of the underlying writer is returned
// by every call from then on.
type Writer struct {
	w   io.Writer
	f   Format
	crc *CRC64
	sum uint64
	buf []byte
	err error
}

// writerBuffer is how many bytes are written at once, more or less.
const writerBuffer = 64 << 10

// NewWriter begins a snapshot of that format, with its header.
func NewWriter(w io.Writer, f Format, o WriterOptions) *Writer {
	out := &Writer{w: w, f: f, crc: o.CRC, buf: make([]byte, 0, writerBuffer+4<<10)}
	switch {
	case o.NoChecksum:
		out.crc = nil
	case out.crc == nil:
		out.crc = NewCRC64()
	}
	out.buf = append(out.buf, f.String()...)
	return out
}

// Write adds elements, or parts of one, that are encoded already.
func (w *Writer) Write(p []byte) (int, error) {
	if len(p) < writerBuffer {
		w.buf = append(w.buf, p...)
		return len(p), w.spill()
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	w.write(p)
	return len(p), w.err
}

// Aux adds a field such as "redis-ver".
func (w *Writer) Aux(name, value string) error {
	w.buf = appendString(append(w.buf, byte(OpcodeAux)), []byte(name))
	w.buf = appendString(w.buf, []byte(value))
	return w.spill()
}

// SelectDB says which db the following keys belong to.
func (w *Writer) SelectDB(db int) error {
	w.buf = appendLength(append(w.buf, byte(OpcodeSelectDB)), uint64(db))
	return w.spill()
}

// ResizeDB tells how many keys the db has, and how many of them expire. It is a
// hint only.
func (w *Writer) ResizeDB(keys, expiring uint64) error {
	w.buf = appendLength(append(w.buf, byte(OpcodeResizeDB)), keys)
	w.buf = appendLength(w.buf, expiring)
	return w.spill()
}

// Function adds a library. The error is a *NoEqualError if the format has none.
func (w *Writer) Function(source []byte) error {
	if !w.f.HasOpcode(OpcodeFunction2, w.f) {
		return &NoEqualError{What: FeatureFunction, To: w.f}
	}
	w.buf = appendString(append(w.buf, byte(OpcodeFunction2)), source)
	return w.spill()
}

// Key adds a key up to its value, which is to be written next. Attributes that
// the format does not have, hints for eviction, are left out.
func (w *Writer) Key(key []byte, a Attributes, t Type) error {
	if a.ExpireAt != None {
		w.buf = appendMillisecondTime(append(w.buf, byte(OpcodeExpireTimeMS)), a.ExpireAt)
	}
	if a.Idle >= 0 && w.f.HasOpcode(OpcodeIdle, w.f) {
		w.buf = appendLength(append(w.buf, byte(OpcodeIdle)), uint64(a.Idle))
	}
	if a.Freq >= 0 && w.f.HasOpcode(OpcodeFreq, w.f) {
		w.buf = append(w.buf, byte(OpcodeFreq), byte(a.Freq))
	}
	w.buf = appendString(append(w.buf, byte(t)), key)
	return w.spill()
}

// Value adds a key with its value.
func (w *Writer) Value(key []byte, a Attributes, v *Value) error {
	t, encoded, err := w.f.AppendValue(nil, v)
	if err != nil {
		return err
	}
	if err := w.Key(key, a, t); err != nil {
		return err
	}
	_, err = w.Write(encoded)
	return err
}

// End finishes the snapshot. It does not close the underlying writer.
func (w *Writer) End() error {
	w.buf = append(w.buf, byte(OpcodeEOF))
	if err := w.flush(); err != nil {
		return err
	}
	sum := w.sum
	_, w.err = w.w.Write(binary.LittleEndian.AppendUint64(nil, sum))
	return w.err
}

func (w *Writer) spill() error {
	if len(w.buf) < writerBuffer {
		return w.err
	}
	return w.flush()
}

func (w *Writer) flush() error {
	w.write(w.buf)
	w.buf = w.buf[:0]
	return w.err
}

func (w *Writer) write(p []byte) {
	if w.err != nil {
		return
	}
	if w.crc != nil {
		w.sum = w.crc.Update(w.sum, p)
	}
	_, w.err = w.w.Write(p)
}
