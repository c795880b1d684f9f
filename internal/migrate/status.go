package migrate

import "time"

// Phase is where a migration stands.
type Phase string

// The phases, in order, and the side exits.
const (
	Planned    Phase = "planned"
	Copying    Phase = "copying"
	Following  Phase = "following"
	Switching  Phase = "switching" // a cutover or a rollback is under way
	Switched   Phase = "switched"
	Completed  Phase = "completed"
	Aborted    Phase = "aborted"     // only before the switch
	RolledBack Phase = "rolled-back" // only after it; a new cutover is possible
	Failed     Phase = "failed"      // with the reason and the next step
)

// Ended tells whether nothing of the migration runs any more.
func (p Phase) Ended() bool { return p == Completed || p == Aborted || p == Failed }

// Status is a snapshot of a migration, the same for the live view, the API,
// status --json and the metrics. It holds no password.
type Status struct {
	Name       string          `json:"name"`
	Phase      Phase           `json:"phase"`
	Ready      bool            `json:"ready"`                // a cutover (or rollback) now would succeed within its limits
	NotReady   string          `json:"not_ready,omitempty"`  // why it would not
	Completing bool            `json:"completing,omitempty"` // a complete was begun, and is carried through
	Running    bool            `json:"running"`              // false when read from the journal of a dead run
	PID        int             `json:"pid,omitempty"`
	Engine     string          `json:"engine"`
	Source     ServerStatus    `json:"source"`
	Target     ServerStatus    `json:"target"`
	Copy       CopyStatus      `json:"copy"`
	Links      []LinkStatus    `json:"links"`
	Spool      SpoolStatus     `json:"spool"`
	Dropped    []DroppedStatus `json:"dropped"`            // by feature; empty if nothing was left out
	DBMap      []string        `json:"db_map,omitempty"`   // where the source's dbs go, as --db-map
	ShardBy    string          `json:"shard_by,omitempty"` // by what rule several sources have their keys
	Cutover    CutoverStatus   `json:"cutover"`
	Verify     VerifyStatus    `json:"verify"`
	NextSteps  []string        `json:"next_steps"`
	Emergency  []string        `json:"emergency,omitempty"` // redis-cli lines for when godwit is gone for good
	Events     []Event         `json:"events"`              // the last ones, oldest first
	Error      string          `json:"error,omitempty"`
	Hint       string          `json:"hint,omitempty"`
	StartedAt  time.Time       `json:"started_at"`
	At         time.Time       `json:"at"`
}

// ServerStatus is one end as it was last seen.
type ServerStatus struct {
	URL         string `json:"url"` // without the password
	Version     string `json:"version"`
	Role        string `json:"role"` // primary or replica, empty when it cannot be reached
	Keys        int64  `json:"keys"`
	UsedMemory  int64  `json:"used_memory"` // bytes
	Unreachable string `json:"unreachable,omitempty"`
}

// CopyStatus is the progress of the snapshot.
type CopyStatus struct {
	Keys           int64   `json:"keys"`        // loaded by the target so far
	TotalKeys      int64   `json:"total_keys"`  // at the source when the copy began
	Bytes          int64   `json:"bytes"`       // of the snapshot, received so far
	TotalBytes     int64   `json:"total_bytes"` // 0 while unknown (a diskless snapshot does not say)
	KeysPerSecond  float64 `json:"keys_per_second"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	ETASeconds     float64 `json:"eta_seconds"` // -1 while unknown
	Fraction       float64 `json:"fraction"`    // 0 to 1
	Seconds        float64 `json:"seconds"`     // since the copy began, or what it took
	FullResyncs    int     `json:"full_resyncs"`
}

// LinkStatus is data flowing from one source shard to one target shard.
type LinkStatus struct {
	Source       string  `json:"source"`
	Target       string  `json:"target"`
	State        string  `json:"state"` // waiting, attaching, copying, loading, streaming, broken
	Reason       string  `json:"reason,omitempty"`
	ReplID       string  `json:"replid"`
	SourceOffset int64   `json:"source_offset"`
	TargetOffset int64   `json:"target_offset"`
	LagBytes     int64   `json:"lag_bytes"`
	LagMS        int64   `json:"lag_ms"`
	BytesPerSec  float64 `json:"bytes_per_second"`
}

// SpoolStatus is what was read from the source and not yet taken by the target.
type SpoolStatus struct {
	MemoryBytes int64 `json:"memory_bytes"`
	MemoryLimit int64 `json:"memory_limit"`
	DiskBytes   int64 `json:"disk_bytes"`
	DiskLimit   int64 `json:"disk_limit"`
	Full        bool  `json:"full"` // the source is being slowed down
}

// DroppedStatus is what --drop has left out of one feature, because a server does
// not have it. The counts are exact while godwit runs and over its restarts. After a
// kill Stream is a lower bound in two cases: within a switch, by what the second
// before it left out, and where very many of them still waited for a slow server.
type DroppedStatus struct {
	Feature string `json:"feature"`
	Server  string `json:"server"` // address of the one that does not have it
	Count   int64  `json:"count"`  // both together
	Copy    int64  `json:"copy"`   // keys, or function libraries, of the last full copy
	Stream  int64  `json:"stream"` // commands since then
}

// CutoverStatus is the last switch, in either direction.
type CutoverStatus struct {
	Direction    string       `json:"direction,omitempty"` // cutover or rollback
	WriteStallMS float64      `json:"write_stall_ms"`
	Steps        []StepStatus `json:"steps"`
	Switches     int          `json:"switches"` // cutovers and rollbacks done
	At           time.Time    `json:"at"`       // when the last one was committed
}

// StepStatus is one step of a switch: what is sent to whom, and how it went.
type StepStatus struct {
	Name    string  `json:"name"`
	Server  string  `json:"server"`
	Command string  `json:"command"`
	State   string  `json:"state"` // planned, running, done, failed, skipped
	TookMS  float64 `json:"took_ms"`
	Error   string  `json:"error,omitempty"`
}

// VerifyState is how the last comparison of both sides ended.
type VerifyState string

// The states of a comparison. But for the first two they are the results of
// package verify.
const (
	VerifyNever     VerifyState = "never"
	VerifyRunning   VerifyState = "running"
	VerifyEqual     VerifyState = "equal"
	VerifyDifferent VerifyState = "different"
	VerifyUnknown   VerifyState = "unknown" // it could not tell: Error says why
)

// VerifyStatus is the comparison under way, or the last one.
type VerifyStatus struct {
	State VerifyState `json:"state"`
	// Required tells that a cutover waits for an equal result: --verify before-cutover.
	Required bool `json:"required"`
	// Verified tells that everything was found equal and nothing has happened since
	// that could have changed it: bytes of the stream change both sides alike, a full
	// resync or a switch do not.
	Verified bool `json:"verified"`
	// Partial tells that only some keys were compared: a sample, a pattern, some dbs.
	Partial bool   `json:"partial,omitempty"`
	Stale   string `json:"stale,omitempty"` // what has happened since that the result does not account for
	ID      string `json:"id,omitempty"`    // of its report
	Stage   string `json:"stage,omitempty"` // while it runs
	Method  string `json:"method,omitempty"`
	Why     string `json:"why,omitempty"`    // why not by snapshots
	Source  string `json:"source,omitempty"` // address of the side that is right: the primary at that time
	Target  string `json:"target,omitempty"` // address of the side that is compared with it

	SourceKeys     int64            `json:"source_keys"` // compared so far
	SourceBytes    int64            `json:"source_bytes"`
	TargetKeys     int64            `json:"target_keys"`
	TargetBytes    int64            `json:"target_bytes"`
	KeysPerSecond  float64          `json:"keys_per_second"`  // of the slower side
	BytesPerSecond float64          `json:"bytes_per_second"` // likewise
	Differing      int64            `json:"differing"`        // keys; while it runs, those that may still settle included, and at its end without those that were repaired
	Differences    map[string]int64 `json:"differences"`      // by kind as they were found, once it has ended; empty if there are none
	Settled        int64            `json:"settled"`          // seemed to differ, and were equal in the end
	Repaired       map[string]int64 `json:"repaired"`         // by what became of them; empty without --repair

	ReplID  string    `json:"replid,omitempty"` // of the source, and
	Offset  int64     `json:"offset"`           // at which of its offsets the result holds; 0 for none
	HeldMS  float64   `json:"held_ms"`          // the longest that the target's feed was held
	Began   time.Time `json:"began,omitzero"`
	At      time.Time `json:"at,omitzero"` // when it ended
	Seconds float64   `json:"seconds"`     // it took so far
	Error   string    `json:"error,omitempty"`
	Hint    string    `json:"hint,omitempty"`
}

// Event is one line of a migration's history.
type Event struct {
	At    time.Time `json:"at"`
	Level string    `json:"level"` // info, warn, error
	Text  string    `json:"text"`
}
