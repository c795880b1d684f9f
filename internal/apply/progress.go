package apply

import (
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// Progress is what must outlive a crash. It is saved before what it announces is
// done.
type Progress struct {
	// Owner is in each checkpoint, and names the copy that it counts from. What an
	// earlier copy has left is not taken for this one's.
	Owner   string           `json:"owner"`
	Sources []SourceProgress `json:"sources"`
	// Shards are the sources, and Slots says from which of them the commands of each slot
	// are taken, where the source is a cluster.
	Shards []ShardProgress `json:"shards,omitempty"`
	Slots  []SlotsOf       `json:"slots,omitempty"`
	// Settings are what was changed at the target, to be put back in the end.
	Settings []Setting `json:"settings,omitempty"`
	// Refuted is set once a key was met that is not where Config.Proves says.
	Refuted *Refutation `json:"refuted,omitempty"`
}

// SlotsOf says so of some slots.
type SlotsOf struct {
	Slots  []topology.SlotRange `json:"slots"`
	Source int                  `json:"source"`          // index of it, -1 as long as they are unsettled
	Until  int64                `json:"until,omitempty"` // see slotTable
}

// SourceProgress is that of one source.
type SourceProgress struct {
	ReplID     string         `json:"replid"` // of the stream that offsets count in; empty until the copy is whole
	Generation int            `json:"generation"`
	Begun      bool           `json:"begun"` // every lane has its checkpoint
	Lanes      []LaneProgress `json:"lanes"`
	Had        []Had          `json:"had"` // where the slots stood when the generation began
	// Ahead are the keys that are ahead, see ahead.go, as long as the checkpoints of the
	// generation have not been written.
	Ahead []AheadKey `json:"ahead,omitempty"`
	// Seen are the atomic moves of slots of the target that were seen to, see arrivals.
	Seen []string `json:"seen,omitempty"`
	// Renew are slots whose keys are to be carried by value once more, see renew.go.
	Renew []topology.SlotRange `json:"renew,omitempty"`
	// Renewed are those that have been: all of it was on its way once the stream had been
	// carried to RenewedTo.
	Renewed   []topology.SlotRange `json:"renewed,omitempty"`
	RenewedTo int64                `json:"renewed_to,omitempty"`
}

// AheadKey is a key that is ahead up to an offset.
type AheadKey struct {
	Name []byte `json:"name"` // see carrier.name: of any bytes
	At   int64  `json:"at"`
}

// ShardProgress is what is known of a source that is a shard of a cluster.
type ShardProgress struct {
	Nodes []string `json:"nodes"`           // IDs of its nodes, its primary first
	Ended bool     `json:"ended,omitempty"` // it is none any more
}

// LaneProgress is that of the slots which had one shard when the generation began.
// Wherever they and the checkpoint have gone since: a slot has had what it had when
// the generation began, and what the checkpoint says.
type LaneProgress struct {
	Key   string               `json:"key"`
	Slots []topology.SlotRange `json:"slots"`
	Shard identity             `json:"shard"` // who had them last
}

// Had says how much of the source's stream some slots have had.
type Had struct {
	Slots []topology.SlotRange `json:"slots"`
	At    int64                `json:"at"`
	DB    int                  `json:"db,omitempty"` // that is selected there
	// Sound is up to where they are known to be right, see sound.go.
	Sound   int64 `json:"sound"`
	SoundDB int   `json:"sound_db,omitempty"` // that is selected there
	// Until is up to where they may have had commands beside these, see strayed.
	Until int64 `json:"until,omitempty"`
	// InDoubt tells that a part of the command after it was carried out, too.
	InDoubt bool `json:"in_doubt,omitempty"`
}

// copied tells whether every source's snapshot is on the target as a whole.
func (p Progress) copied() bool {
	return p.Owner != "" && len(p.Sources) > 0 // it is saved when all of them are
}

// allSlots is the range of all.
func allSlots() []topology.SlotRange { return []topology.SlotRange{{First: 0, Last: slot.Count - 1}} }

// rangesOf are the slots for which f holds.
func rangesOf(f func(of uint16) bool) []topology.SlotRange {
	var ranges []topology.SlotRange
	for of := range uint16(slot.Count) {
		switch last := len(ranges) - 1; {
		case !f(of):
		case last >= 0 && ranges[last].Last+1 == of:
			ranges[last].Last = of
		default:
			ranges = append(ranges, topology.SlotRange{First: of, Last: of})
		}
	}
	return ranges
}

// each calls f for every slot of ranges.
func each(ranges []topology.SlotRange, f func(of uint16)) {
	for _, r := range ranges {
		for of := int(r.First); of <= int(r.Last); of++ {
			f(uint16(of))
		}
	}
}

// saveError says that progress could not be saved.
type saveError struct{ err error }

func (e *saveError) Error() string { return "saving how far it has come: " + e.err.Error() }
func (e *saveError) Unwrap() error { return e.err }
