package command

import (
	"fmt"

	"godwit/internal/slot"
)

// Placing is how a command's effect gets to a cluster, where each slot is on a
// shard of its own.
type Placing uint8

// The placings. The zero value is none of them.
const (
	undecided Placing = iota // it depends on the slots of the keys

	// OneSlot is a command all of whose keys are of one slot: it is sent as it is.
	OneSlot
	// Parts is a command with keys of several slots that does the same when it is
	// taken apart by Split.
	Parts
	// ByValue is a command with keys of several slots that no cluster runs: its
	// effect is carried by the values of the keys that it wrote, AppendWritten.
	ByValue
	// Everywhere is a command about no key in particular, for every shard.
	Everywhere
	// Once is a command for exactly one shard, whichever it is.
	Once
	// Dbs is a command that concerns another db than the selected one, see Beyond.
	Dbs
	// WholeSlot is a command about all keys of one slot, whatever their names.
	WholeSlot
	// Moving is what a cluster's primary says of slots that change their owner, see
	// Move: where the source is a cluster, two streams have the same keys then.
	Moving
	// NoData is what changes no data.
	NoData
)

func (p Placing) String() string {
	switch p {
	case OneSlot:
		return "one slot"
	case Parts:
		return "in parts"
	case ByValue:
		return "by value"
	case Everywhere:
		return "everywhere"
	case Once:
		return "once"
	case Dbs:
		return "dbs"
	case WholeSlot:
		return "a whole slot"
	case Moving:
		return "moving slots"
	case NoData:
		return "no data"
	default:
		return fmt.Sprintf("Placing(%d)", uint8(p))
	}
}

// PlaceError says that it is not known which keys a command of the stream has, so
// that there is no telling which shard it is for.
type PlaceError struct {
	Command string // in capitals
	Reason  string
	Hint    string
}

func (e *PlaceError) Error() string {
	return fmt.Sprintf("%s: cannot be placed in a cluster: %s", e.Command, e.Reason)
}

// HintText is what the user can do about it.
func (e *PlaceError) HintText() string { return e.Hint }

// Placer knows how each command of one source's stream is carried to a cluster. It
// rests on a table of every command that may be propagated by the servers that are
// known, whichever of them has it, so that what a Rewriter has made of a command can
// be placed too. What is not in the table has its keys where the source's own COMMAND
// says, if it tells all of them. A Placer is not safe for concurrent use.
type Placer struct {
	table table[placement]
	none  placement // of a newline

	positions []int    // scratch
	order     []uint64 // scratch of Split: slots and positions
	part      [][]byte // scratch of Split
	digits    []byte   // scratch of Split
}

// NewPlacer is for the stream of a source.
func NewPlacer(source Capabilities) *Placer {
	all := placements()
	for name, command := range source.Learnt.commands {
		_, known := all[name]
		// A subcommand has its container's name in front, as its entry has the position.
		if !known && !command.movable && command.keys.First > 0 && command.keys.Step > 0 {
			all[name] = ofKeys(inRange(command.keys.First, command.keys.Last, command.keys.Step), reads|writes)
		}
	}
	for name, p := range all {
		p.name = name
		all[name] = p
	}
	return &Placer{table: newTable(all), none: without(NoData)}
}

// Place says how a command gets to a cluster, and with OneSlot and WholeSlot, which
// slot it is of. The arguments are only read. The error is a *PlaceError.
func (p *Placer) Place(args [][]byte) (Placing, uint16, error) {
	c, err := p.find(args)
	if err != nil {
		return undecided, 0, err
	}
	if c.special != nil {
		if placing, of, err := c.special(c, args); placing != undecided || err != nil {
			return placing, of, err
		}
	}
	if c.only > 0 && len(args) > c.only {
		return OneSlot, slot.Of(args[c.only]), nil
	}
	if c.keys.first == 0 {
		return c.always, 0, nil
	}
	if p.positions, err = c.keys.append(p.positions[:0], c, args); err != nil {
		return undecided, 0, err
	}
	if c.always != undecided { // MOVE
		return c.always, 0, nil
	}
	first := slot.Of(args[p.positions[0]])
	for _, i := range p.positions[1:] {
		if slot.Of(args[i]) != first {
			return c.apart, 0, nil
		}
	}
	return OneSlot, first, nil
}

// find looks a command up.
func (p *Placer) find(args [][]byte) (*placement, error) {
	if len(args) == 0 { // a newline, which servers send as keepalive
		return &p.none, nil
	}
	if c := p.table.find(args[0]); c != nil {
		return c, nil
	}
	return nil, &PlaceError{
		Command: string(upper(nil, args[0][:min(len(args[0]), maxName)])),
		Reason:  "which keys it has is not known",
		Hint:    "let no client use this command as long as the migration runs; a module's data is not carried to a cluster by its commands",
	}
}
