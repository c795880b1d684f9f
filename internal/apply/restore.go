package apply

import (
	"fmt"
	"strconv"

	"godwit/internal/rdb"
)

// restorer says the keys of a snapshot as commands that make them.
type restorer struct {
	crc    *rdb.CRC64
	to     rdb.Format
	coder  *rdb.Transcoder // for types that the target does not load; nil until the source's format is known
	pass   rdb.Set         // types that it loads as they are
	body   []byte          // scratch: a payload
	digits []byte          // scratch
	large  []byte          // a value that came in several spans
}

// begin is called when the format of the snapshot is known.
func (r *restorer) begin(from rdb.Format, o rdb.TranscoderOptions) {
	r.coder = rdb.NewTranscoder(from, r.to, o)
	touches := r.coder.Touches()
	r.pass = rdb.AllCodes()
	for i := range r.pass {
		r.pass[i] &^= touches[i]
	}
}

// restore appends RESTORE for a key with its value.
func (r *restorer) restore(dst []byte, s *rdb.Span, value []byte) ([]byte, error) {
	r.body = append(r.body[:0], byte(s.Type))
	if r.pass.HasType(s.Type) {
		r.body = append(r.body, value...)
	} else {
		if s.Type == rdb.TypeModule2 {
			if err := r.coder.CheckModule(s.ModuleID()); err != nil {
				return dst, err
			}
		}
		t, body, err := r.coder.AppendValue(r.body, s.Type, value)
		if err != nil {
			return dst, fmt.Errorf("db %d, key %.200q: %w", s.DB, s.Key, err)
		}
		r.body = body
		r.body[0] = byte(t)
	}
	r.body = rdb.AppendDumpFooter(r.body, 0, r.to, r.crc)
	ttl := max(s.Attributes.ExpireAt, 0)
	args := 6
	if s.Attributes.Idle >= 0 || s.Attributes.Freq >= 0 {
		args = 8
	}
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(args), 10)
	dst = append(dst, "\r\n$7\r\nRESTORE\r\n"...)
	dst = appendBulk(dst, s.Key)
	dst = r.number(dst, ttl)
	dst = appendBulk(dst, r.body)
	dst = append(dst, "$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n"...)
	switch {
	case s.Attributes.Idle >= 0:
		dst = append(dst, "$8\r\nIDLETIME\r\n"...)
		dst = r.number(dst, s.Attributes.Idle)
	case s.Attributes.Freq >= 0:
		dst = append(dst, "$4\r\nFREQ\r\n"...)
		dst = r.number(dst, int64(s.Attributes.Freq))
	}
	return dst, nil
}

func (r *restorer) number(dst []byte, n int64) []byte {
	r.digits = strconv.AppendInt(r.digits[:0], n, 10)
	return appendBulk(dst, r.digits)
}
