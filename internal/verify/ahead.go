package verify

import (
	"bytes"

	"godwit/internal/digest"
	"godwit/internal/refresh"
)

// ahead are keys that a target stopped at an offset has not as the source had them
// there but a little later: what the source had then is what they are compared with.
// It is read only; nil is none.
type ahead map[keyName]refresh.Value

type keyName struct {
	db  int
	key string
}

func newAhead(values []refresh.Value) ahead {
	var a ahead
	for _, v := range values {
		if a == nil {
			a = make(ahead, len(values))
		}
		a[keyName{v.DB, string(v.Key)}] = v
	}
	return a
}

func (a ahead) has(db int, key []byte) bool {
	if len(a) == 0 {
		return false
	}
	_, ok := a[keyName{db, string(key)}]
	return ok
}

// replace puts in what is compared instead.
func (a ahead) replace(values []refresh.Value) {
	for i, v := range values {
		if instead, ok := a[keyName{v.DB, string(v.Key)}]; ok {
			values[i] = instead
		}
	}
}

// values adds values to what is seen, as if they had been in the snapshot.
func (r *reading) values(values []refresh.Value) error {
	sums := &adder{table: r.seen.table}
	defer sums.flush()
	payloads := digest.NewPayloads(r.options)
	for _, v := range values {
		if !v.Exists() {
			continue
		}
		value, err := payloads.Sum(v.Payload)
		if err != nil {
			return valueError(r.run.source, &v, err)
		}
		if !r.options.Counts(value.Type) {
			continue
		}
		entry := &digest.Entry{DB: v.DB, Key: bytes.Clone(v.Key), ExpireAt: v.ExpireAt, Value: value}
		if _, err := r.entry(sums, entry); err != nil {
			return err
		}
		r.run.source.count(Read{Keys: 1, Bytes: int64(len(v.Payload))})
	}
	return nil
}
