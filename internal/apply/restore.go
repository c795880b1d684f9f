package apply

import (
	"bytes"
	"fmt"
	"strconv"

	"godwit/internal/command"
	"godwit/internal/rdb"
)

// restorer says the keys of a snapshot as commands that make them.
type restorer struct {
	crc    *rdb.CRC64
	to     rdb.Format
	coding rdb.TranscoderOptions
	coder  *rdb.Transcoder // for types that the target does not load; nil until the source's format is known
	pass   rdb.Set         // types that it loads as they are
	body   []byte          // scratch: a payload
	digits []byte          // scratch
	large  bytes.Buffer    // a value that came in several spans
	from   rdb.Format      // the source's, likewise
	later  bool            // times are put off, see file_times.go
	until  bool            // the target knows SET … PXAT
	name   []byte          // scratch: that a key has at the target
}

func newRestorer(crc *rdb.CRC64, target command.Capabilities) *restorer {
	return &restorer{crc: crc, to: target.Format, until: target.Version.AtLeast(6, 2), digits: make([]byte, 0, 20)}
}

// begin is called when the format of the snapshot is known.
func (r *restorer) begin(from rdb.Format, o rdb.TranscoderOptions) {
	r.from, r.coding, r.coder = from, o, rdb.NewTranscoder(from, r.to, o)
	touches := r.coder.Touches()
	r.pass = rdb.AllCodes()
	for i := range r.pass {
		r.pass[i] &^= touches[i]
	}
}

// item is a key of the snapshot, without its value.
type item struct {
	key        []byte // at the target
	db         int
	to         int // db of the target
	t          rdb.Type
	attributes rdb.Attributes
	module     rdb.ModuleID // of TypeModule2
}

func itemOf(s *rdb.Span) item {
	k := item{key: s.Key, db: s.DB, t: s.Type, attributes: s.Attributes}
	if s.Type == rdb.TypeModule2 {
		k.module = s.ModuleID()
	}
	return k
}

// restore appends what makes a key with its value: RESTORE, or SET where that says all
// there is, which costs the target less (docs/benchmarks.md).
func (r *restorer) restore(dst []byte, s *item, value []byte) ([]byte, error) {
	if r.settable(s) {
		if content, ok := rdb.PlainString(value, r.digits[:0]); ok {
			return r.set(dst, s, content), nil
		}
	}
	r.body = append(r.body[:0], byte(s.t))
	switch {
	case r.later && hasFieldTTLs(s.t) && r.becomes(s.t) != rdb.TypeHash:
		var err error
		if r.body, err = appendLaterHash(r.body[:0], r.from, r.to, s.t, value); err != nil {
			return dst, fmt.Errorf("db %d, key %.200q: %w", s.db, s.key, err)
		}
	case r.pass.HasType(s.t):
		r.body = append(r.body, value...)
	default:
		if s.t == rdb.TypeModule2 {
			if err := r.coder.CheckModule(s.module); err != nil {
				return dst, fmt.Errorf("db %d, key %.200q: %w", s.db, s.key, err)
			}
		}
		t, body, err := r.coder.AppendValue(r.body, s.t, value)
		if err != nil {
			return dst, fmt.Errorf("db %d, key %.200q: %w", s.db, s.key, err)
		}
		r.body = body
		r.body[0] = byte(t)
	}
	r.body = rdb.AppendDumpFooter(r.body, 0, r.to, r.crc)
	ttl := max(s.attributes.ExpireAt, 0)
	args := 6
	if s.attributes.Idle >= 0 || s.attributes.Freq >= 0 {
		args = 8
	}
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(args), 10)
	dst = append(dst, "\r\n$7\r\nRESTORE\r\n"...)
	dst = appendBulk(dst, s.key)
	dst = r.number(dst, ttl)
	dst = appendBulk(dst, r.body)
	dst = append(dst, "$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"...)
	switch {
	case s.attributes.Idle >= 0:
		dst = append(dst, "$8\r\nIDLETIME\r\n"...)
		dst = r.number(dst, s.attributes.Idle)
	case s.attributes.Freq >= 0:
		dst = append(dst, "$4\r\nFREQ\r\n"...)
		dst = r.number(dst, int64(s.attributes.Freq))
	}
	return dst, nil
}

// settable tells whether SET says everything about a string but its content.
func (r *restorer) settable(s *item) bool {
	a := &s.attributes
	return s.t == rdb.TypeString && a.Idle < 0 && a.Freq < 0 && !a.Metadata && (a.ExpireAt <= 0 || r.until)
}

// set appends SET.
func (r *restorer) set(dst []byte, s *item, content []byte) []byte {
	if s.attributes.ExpireAt <= 0 {
		dst = append(dst, "*3\r\n$3\r\nSET\r\n"...)
		dst = appendBulk(dst, s.key)
		return appendBulk(dst, content)
	}
	dst = append(dst, "*5\r\n$3\r\nSET\r\n"...)
	dst = appendBulk(dst, s.key)
	dst = appendBulk(dst, content)
	dst = append(dst, "$4\r\nPXAT\r\n"...)
	return r.number(dst, s.attributes.ExpireAt)
}

// becomes is the type that the target is sent for one.
func (r *restorer) becomes(t rdb.Type) rdb.Type {
	t, _, _ = r.coder.Type(t)
	return t
}

func (r *restorer) number(dst []byte, n int64) []byte {
	r.digits = strconv.AppendInt(r.digits[:0], n, 10)
	return appendBulk(dst, r.digits)
}
