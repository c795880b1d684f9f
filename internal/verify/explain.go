package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/refresh"
)

// explainLimit is the size of a payload up to which a value is taken apart to show
// where it differs, in bytes.
const explainLimit = 32 << 20

// explainer reads the values of samples.
type explainer struct {
	pair *pair
	crc  *rdb.CRC64
}

func (r *run) newExplainer() *explainer {
	return &explainer{pair: r.newReaders().pair(), crc: rdb.NewCRC64()}
}

func (e *explainer) close() { e.pair.close() }

// explain says in a difference where its two values first differ, as they are by
// now, with an excerpt of each.
func (e *explainer) explain(ctx context.Context, d *Difference) error {
	db, targetDB := d.DB, d.TargetDB
	if d.Server != "" {
		db = e.pair.target.side.dbOf(d)
		targetDB = db
	}
	source, err := e.look(ctx, e.pair.source, db, d.Key)
	if err != nil {
		return err
	}
	target, err := e.look(ctx, e.pair.target, targetDB, d.Key)
	if err != nil {
		return err
	}
	c, err := e.contrast(ctx, d, source, target)
	if err != nil {
		return err
	}
	if d.Kind != Twice && d.Server == "" { // which say already where it is
		d.Detail = c.detail
	}
	for _, side := range []struct {
		found   *Found
		excerpt string
	}{{d.Source, c.source}, {d.Target, c.target}} {
		if side.found != nil {
			side.found.Excerpt = side.excerpt
		}
	}
	return nil
}

// sample is a key as one side has it now.
type sample struct {
	state keyState
	value *rdb.Value // nil where it is not there, or too large
	bytes int64      // of a payload that is too large
}

func (e *explainer) look(ctx context.Context, r *reader, db int, key []byte) (sample, error) {
	keys := [][]byte{key}
	sizes, err := r.sizes(ctx, db, keys)
	if err != nil {
		return sample{}, err
	}
	if sizes[0] > explainLimit {
		state, err := r.look(ctx, db, keys, sizes)
		if err != nil {
			return sample{}, err
		}
		return sample{state: state[0], bytes: sizes[0]}, nil
	}
	values, err := r.values(ctx, db, keys)
	if err != nil {
		return sample{}, err
	}
	v := &values[0]
	if !v.Exists() || v.TooLarge > 0 {
		return sample{bytes: v.TooLarge, state: keyState{there: v.Exists()}}, nil
	}
	var s sample
	if s.value, err = e.decode(v); err != nil {
		return sample{}, err
	}
	s.state, err = r.sum(ctx, v, r.now())
	return s, err
}

// decode takes a payload apart; the source of a library is like a string.
func (e *explainer) decode(v *refresh.Value) (*rdb.Value, error) {
	if v.DB == libraries {
		return &rdb.Value{Kind: rdb.StringValue, Elements: []rdb.Element{{Value: append([]byte(nil), v.Payload...)}}}, nil
	}
	f, body, err := rdb.OpenDump(v.Payload, e.crc)
	if err != nil {
		return nil, err
	}
	if rdb.Opcode(body[0]) == rdb.OpcodeKeyMeta && f.HasOpcode(rdb.OpcodeKeyMeta, f) {
		return nil, errors.New("a key with metadata of modules")
	}
	return rdb.DecodeValue(f, rdb.Type(body[0]), body[1:])
}

// contrast says where the two sides of a difference differ now.
func (e *explainer) contrast(ctx context.Context, d *Difference, source, target sample) (contrast, error) {
	kind := e.pair.differ(source.state, target.state, e.pair.now())
	if kind == "" && d.Kind != OtherDB && d.Kind != Twice {
		return contrast{detail: "equal by now"}, nil
	}
	byNow := ""
	if kind != d.Kind && d.Kind != OtherDB && d.Kind != Unstable {
		byNow = "by now "
	}
	switch {
	case d.Kind == Twice:
		return contrast{"", source.excerpt(), target.excerpt()}, nil
	case d.Kind == OtherDB:
		return contrast{fmt.Sprintf("the target has it in db %d", d.TargetDB), source.excerpt(), target.excerpt()}, nil
	case kind == Missing:
		return contrast{byNow + "only the source has it", source.excerpt(), ""}, nil
	case kind == Extra:
		return contrast{byNow + "only the target has it", "", target.excerpt()}, nil
	case kind == Type:
		return contrast{
			fmt.Sprintf("%sa %s at the source, a %s at the target", byNow, source.state.Type, target.state.Type), source.excerpt(), target.excerpt(),
		}, nil
	case kind == TTL && source.state.ExpireAt != target.state.ExpireAt:
		return contrast{byNow + ttlDetail(source.state.ExpireAt, target.state.ExpireAt), expiry(source.state.ExpireAt), expiry(target.state.ExpireAt)}, nil
	case source.value == nil || target.value == nil:
		if source.state.Type == "string" {
			return e.contrastLarge(ctx, d)
		}
		return contrast{detail: byNow + "too large to show where it differs: " + source.excerpt()}, nil
	case d.DB == libraries:
		return contrastText(wholeOf(source.value), wholeOf(target.value)), nil
	}
	c := contrastValues(source.value, target.value)
	c.detail = byNow + c.detail
	return c, nil
}

// excerpt is the beginning of a value, cut.
func (s sample) excerpt() string {
	switch {
	case !s.state.there:
		return ""
	case s.value == nil:
		return fmt.Sprintf("a %s of %d bytes", s.state.Type, s.bytes)
	}
	return summary(s.value)
}

// ttlDetail says by how much two expiry times differ.
func ttlDetail(source, target int64) string {
	switch {
	case source == rdb.None:
		return "never expires at the source"
	case target == rdb.None:
		return "never expires at the target"
	case target > source:
		return fmt.Sprintf("expires %v later at the target", milliseconds(target-source))
	}
	return fmt.Sprintf("expires %v earlier at the target", milliseconds(source-target))
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// expiry is when something expires, as people write it, to the millisecond.
func expiry(at int64) string {
	if at == rdb.None {
		return "never expires"
	}
	return "expires " + time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z")
}

// contrastLarge finds where two large strings differ, a piece at a time.
func (e *explainer) contrastLarge(ctx context.Context, d *Difference) (contrast, error) {
	for at := int64(0); ; at += pieceBytes {
		source, err := e.piece(ctx, e.pair.source, d.DB, d.Key, at)
		if err != nil {
			return contrast{}, err
		}
		target, err := e.piece(ctx, e.pair.target, d.TargetDB, d.Key, at)
		if err != nil {
			return contrast{}, err
		}
		if string(source) != string(target) {
			return contrastBytes(source, target, at), nil
		}
		if len(source) == 0 {
			return contrast{detail: "equal by now"}, nil
		}
	}
}

func (e *explainer) piece(ctx context.Context, r *reader, db int, key []byte, at int64) ([]byte, error) {
	var piece []byte
	err := r.eachShard(ctx, db, [][]byte{key}, func(c *refresh.Conn, db int, keys [][]byte, _ []int) error {
		replies, err := ask(ctx, c, db, words("GETRANGE", keys[0], at, at+pieceBytes-1))
		if got := text(replies[0]); len(got) > 0 {
			piece = got
		}
		return err
	})
	return piece, err
}
