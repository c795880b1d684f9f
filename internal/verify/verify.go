// Package verify compares two deployments while both are being written to,
// exactly and without false alarms, and makes the target equal to the source
// where it is not.
//
// Where both ends can be replicated from, two snapshots are compared, taken at the
// same offset if the target is fed by godwit (Feed): the sums of all keys in each
// bucket are the same, or the bucket is looked at again, key by key, in a second
// pair of snapshots. Where one cannot, both are scanned. What was not seen at one
// and the same offset is looked at again until it has settled.
package verify

import (
	"context"
	"strings"
	"time"

	"godwit/internal/hold"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
)

// Kind is in what way a key differs.
type Kind string

// The kinds of differences.
const (
	Missing  Kind = "missing"  // the source has it, the target does not
	Extra    Kind = "extra"    // the target has it, the source does not
	OtherDB  Kind = "db"       // the same key and value, in another db
	Type     Kind = "type"     // another type
	Changed  Kind = "value"    // another value of the same type
	TTL      Kind = "ttl"      // the same value that expires at another time, the key or a field of it
	Twice    Kind = "twice"    // several servers of the source have it, whatever the target has
	Unstable Kind = "unstable" // written so often that no two looks were alike
)

// Kinds are all of them, in the order of tables.
func Kinds() []Kind { return []Kind{Missing, Extra, OtherDB, Type, Changed, TTL, Twice, Unstable} }

// Difference is one key that is not the same on both sides.
type Difference struct {
	Kind Kind `json:"kind"`
	// DB is of the source, or of the target for an extra key; -1 for a function library. Where
	// the keys have other names on the side with a Route, it goes by those of the other; a key
	// of that side that belongs to none of these has -2 for its db 0, -3 for 1, ….
	DB  int    `json:"db"`
	Key Binary `json:"key"` // as it is
	// Server is the address of the target's server that has an Extra key which by the rule (see
	// Side) is another's, whatever that one has. It is "" elsewhere.
	Server string `json:"server,omitempty"`
	// TargetDB is where the target has a key of the kind OtherDB, and else DB.
	TargetDB int    `json:"target_db"`
	Source   *Found `json:"source,omitempty"` // nil where it is not there
	Target   *Found `json:"target,omitempty"`
	// Detail says where the two first differ; only samples have it. Of the kind Twice it
	// says which servers have the key, and where Server is given that it is not the key's.
	Detail string `json:"detail,omitempty"`
	// Repair is what became of it: "", Repaired, Deleted, Kept, Gone, or Failed with
	// ": " and why.
	Repair string `json:"repair,omitempty"`
}

// What becomes of a difference.
const (
	Repaired = "repaired" // and found equal after it
	Deleted  = "deleted"  // an extra key
	Kept     = "kept"     // an extra key that may not be deleted
	Gone     = "gone"     // equal by the time it was to be repaired
	Failed   = "failed"
)

// outcome is what became of a difference, without why.
func outcome(repair string) string {
	what, _, _ := strings.Cut(repair, ":")
	return what
}

// Found is a key as one side has it.
type Found struct {
	Type     string `json:"type"`
	ExpireAt int64  `json:"expire_at"` // milliseconds since 1970, -1 if never
	Sum      uint64 `json:"-"`         // of its value
	TTLs     uint64 `json:"-"`         // of its fields' expiry times
	// Excerpt is a cut part of the value around the place where they differ; only
	// samples have it.
	Excerpt string `json:"excerpt,omitempty"`
}

// Method is how the two sides are read.
type Method string

// The methods.
const (
	Automatic Method = ""         // Snapshot where it is possible
	Snapshot  Method = "snapshot" // by PSYNC on both sides
	Scan      Method = "scan"     // by SCAN and DUMP
)

// Side is one of the two deployments.
type Side struct {
	Name   string            // URL without the password, for messages
	Shards []server.Endpoint // its primaries: one, those of a cluster, or servers among which clients have divided their keys
	// Slots tells which of Shards serves a hash slot; nil where they are not of a cluster.
	Slots func(slot uint16) int
	// Rule appends which of Shards has each of some keys, where they are the target and clients
	// have divided their keys among them by a rule that is known; nil elsewhere.
	Rule func(ctx context.Context, dst []int, keys [][]byte) ([]int, error)
	// Route is by which the other side's keys have their names and dbs here: of one side at
	// most.
	Route route.Route
}

// Feed is what feeds the target from one shard of the source, and can stop at an
// offset: a link of a running migration. Offsets are the source's.
type Feed interface {
	// Trail has the target fed late from now on, each byte not before it has been
	// here for a while, so that Stop comes in time. Only one at a time; it is
	// hold.ErrHeld where there is one.
	Trail(ctx context.Context) (Hold, error)
}

// Hold is a feed that is held back. Nothing but Release ends it, a lost connection
// and the end of the feed excepted: then Stop fails, and Err tells.
type Hold interface {
	// Stop gives the target the stream up to exactly that offset and no more. It
	// returns once the target, every shard of it, has applied that, with where it
	// stands, and *hold.PassedError where the target has got more already.
	Stop(ctx context.Context, offset int64) (hold.Stand, error)
	// Err is why the target is fed again, nil while it is held.
	Err() error
	// Release feeds the target again. It may be called more than once.
	Release()
	// Held is for how long the target has stood where it was stopped, or been without
	// bytes that were there for it; Trail's delay not included.
	Held() time.Duration
}

// Options say what is compared and how.
type Options struct {
	Method      Method
	Sample      float64       // share of the keys, 0 to 1, chosen by their names; 0 for all
	Keys        string        // only keys that match, by Redis' own glob; "" for all
	DBs         []int         // only these; nil for all
	MaxRate     int64         // bytes read per second and side; 0 without a limit
	MaxDuration time.Duration // after which it gives up; 0 without a limit
	Samples     int           // differences of each kind whose values are shown
	Repair      bool          // make the target equal where it differs
	DeleteExtra bool          // with Repair: delete what only the target has
	Drop        map[rdb.Feature]bool
	Dir         string // for its journal and what does not fit in memory
}

// Config of a comparison.
type Config struct {
	Source, Target Side
	Feeds          []Feed // of each of the source's shards; nil where godwit does not feed the target
	// Unlock has the target take writes while its feed is held, for a repair, until
	// lock is called, once all of them were answered, or the hold is released, which
	// ends those that are still on their way; nil where the target takes them anyway
	// and nothing need end them.
	Unlock  func(ctx context.Context) (lock func(context.Context) error, err error)
	Options Options
	// Progress is told what is going on, some times a second; it must not block.
	Progress func(Progress)
}

// Progress is what a comparison is at.
type Progress struct {
	Stage  string // one of the constants Stage…
	Source Read
	Target Read
	// Differences found so far, those that may still settle included.
	Differences int64
}

// Read is what has been read of a side.
type Read struct {
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
}

// Result is the verdict of a comparison.
type Result string

// The results.
const (
	Equal     Result = "equal"
	Different Result = "different"
	Unknown   Result = "unknown" // it could not tell: Report.Error says why
)

// Report is what a comparison found. Its differences are in the journal.
type Report struct {
	ID      string        `json:"id"`
	Result  Result        `json:"result"`
	Method  Method        `json:"method"`
	Why     string        `json:"why,omitempty"` // why not by snapshots
	Source  string        `json:"source"`
	Target  string        `json:"target"`
	Scope   Scope         `json:"scope,omitzero"`
	ReplID  string        `json:"replid,omitempty"` // of the source, and
	Offset  int64         `json:"offset,omitempty"` // at which of its offsets the result holds; 0 where the sides have none in common, or the source has several
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"` // while it was under way
	Held    time.Duration `json:"held_ns"` // the longest that the target's feed was held
	// SourceRead and TargetRead are what was compared.
	SourceRead  Read             `json:"source_read"`
	TargetRead  Read             `json:"target_read"`
	Counts      map[Kind]int64   `json:"counts"`
	ByDB        map[int]DBCounts `json:"by_db"`
	Samples     []Difference     `json:"samples"`
	Settled     int64            `json:"settled"`  // seemed to differ, and were equal in the end
	Repaired    map[string]int64 `json:"repaired"` // by what became of them, see Difference.Repair
	Error       string           `json:"error,omitempty"`
	Hint        string           `json:"hint,omitempty"`
	Interrupted bool             `json:"interrupted,omitempty"` // it can be gone on with
}

// clear has it be of nothing found.
func (r *Report) clear() {
	r.Counts, r.ByDB, r.Samples = make(map[Kind]int64), make(map[int]DBCounts), []Difference{}
	r.Settled, r.Repaired = 0, make(map[string]int64)
}

// DBCounts are the differences in one db, by kind.
type DBCounts map[Kind]int64
