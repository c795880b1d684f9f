package migrate

import (
	"context"
	"errors"
	"time"

	"godwit/internal/verify"
)

// VerifyOptions say what of a running migration is compared, and how. Zero values
// compare everything, by the fastest method that is possible.
type VerifyOptions struct {
	Method      verify.Method `json:"method,omitempty"`
	Sample      float64       `json:"sample,omitempty"` // share of the keys, 0 to 1, chosen by their names; 0 for all
	Keys        string        `json:"keys,omitempty"`   // only keys that match, by Redis' own glob
	DBs         []int         `json:"dbs,omitempty"`    // only these; nil for all
	MaxRate     int64         `json:"max_rate,omitempty"`
	MaxDuration time.Duration `json:"max_duration_ns,omitempty"`
	Samples     int           `json:"samples,omitempty"` // differences of each kind whose values are shown
	Repair      bool          `json:"repair,omitempty"`  // make the replica equal where it differs
	DeleteExtra bool          `json:"delete_extra,omitempty"`
}

// Verify compares the primary with the replica of a running migration, in its
// present direction: before the cutover the target is compared with the source,
// after it the source with the target. It ends with ctx, and as soon as a switch,
// a complete or an abort begins: that never waits for it. The report's Result is
// verify.Unknown where it could not tell, and Error says why; an error of Verify's
// own says that it did not begin, with a hint.
func (m *Migration) Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error) {
	return nil, errors.ErrUnsupported
}
