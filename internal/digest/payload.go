package digest

import "godwit/internal/rdb"

// Payloads digests what DUMP gives, one payload after another, and allocates
// nothing for it. It is not safe for concurrent use.
type Payloads struct {
	d   digester
	r   rdb.Reader
	crc *rdb.CRC64
}

// NewPayloads prepares to digest payloads.
func NewPayloads(o Options) *Payloads {
	return &Payloads{d: newDigester(o), crc: rdb.NewCRC64()}
}

// Expire sets Options.Expired for the payloads to come.
func (p *Payloads) Expire(at int64) { p.d.expired = at }

// Sum digests a payload. Errors are those of rdb.OpenDump, or a *rdb.SyntaxError.
func (p *Payloads) Sum(payload []byte) (Value, error) {
	f, body, err := rdb.OpenDump(payload, p.crc)
	if err != nil {
		return Value{}, err
	}
	p.r.Reset(body)
	metadata := uint64(0)
	code := p.r.Byte()
	if rdb.Opcode(code) == rdb.OpcodeKeyMeta && hasMetadata(f) {
		metadata = p.d.readMetadata(&p.r)
		code = p.r.Byte()
	}
	t := rdb.Type(code)
	if t.Kind() == 0 || !f.HasType(t, f) {
		p.r.Failf("%s does not have the type %s", f, t)
	} else {
		p.d.read(&p.r, f, t)
	}
	p.r.End()
	v := p.d.value()
	v.Sum += metadata
	if err := p.r.Err(); err != nil {
		return Value{}, err
	}
	return v, nil
}
