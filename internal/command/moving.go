package command

import (
	"bytes"

	"godwit/internal/slot"
)

// Move is what a command that is placed as Moving says of slots that change their
// owner. Between the beginning and the end of an import the stream of the new owner
// has the keys of these slots, and each write that the old owner gets meanwhile, which
// is in the old one's stream as well. Keys of a slot that either of them deletes as it
// is not (any more) its owner come as UNLINK or as TRIMSLOTS: the keys are not gone.
type Move struct {
	Event  MoveEvent
	Import bool    // it is the new owner that says so
	Task   string  // its name, on either side; "" of TRIMSLOTS and SETSLOT
	Slots  []Range // what it says of them: nothing at the end of an import of Valkey
}

// Range is from First to Last slot.
type Range struct{ First, Last uint16 }

// MoveEvent is what has happened.
type MoveEvent uint8

// The events of a Move.
const (
	MoveGoesOn MoveEvent = iota // or is of no consequence to the keys
	MoveBegins
	MoveEnds    // the new owner serves the slots
	MoveFails   // the old owner goes on serving them
	MoveDeletes // TRIMSLOTS: this shard deletes what it has of slots that it does not serve
)

// Move is for a command that is placed as Moving. The error is a *PlaceError.
func (p *Placer) Move(args [][]byte) (Move, error) {
	c, err := p.find(args)
	if err != nil {
		return Move{}, err
	}
	switch {
	case c.name == "TRIMSLOTS" && len(args) > 3 && is(args[1], "RANGES"): // count first last …
		slots, err := c.ranges(args[3:])
		return Move{Event: MoveDeletes, Slots: slots}, err
	case c.name == "CLUSTER" && len(args) > 2 && is(args[1], "SYNCSLOTS") && is(args[2], "CONF"):
		return c.confOfRedis(args[3:])
	case c.name == "CLUSTER" && len(args) > 2 && is(args[1], "SYNCSLOTS"):
		return c.syncOfValkey(args[2:])
	case c.name == "CLUSTER" && len(args) > 2 && is(args[1], "SETSLOT"):
		return Move{}, nil // its keys come one by one, as RESTORE-ASKING and DEL
	}
	return Move{}, c.malformed("it says nothing of slots")
}

// syncOfValkey: ESTABLISH SOURCE node NAME task SLOTSRANGE first last …, and FINISH
// STATE state NAME task MESSAGE text (Valkey 9.1). Only the new owner propagates it.
func (c *placement) syncOfValkey(args [][]byte) (Move, error) {
	m := Move{Import: true}
	state := ""
	for i := 1; i+1 < len(args); i += 2 {
		switch {
		case is(args[i], "NAME"):
			m.Task = string(args[i+1])
		case is(args[i], "STATE"):
			state = string(args[i+1])
		case is(args[i], "SLOTSRANGE"):
			var err error
			m.Slots, err = c.ranges(args[i+1:])
			m.Event = MoveBegins
			return m, err
		}
	}
	switch {
	case is(args[0], "FINISH") && state == "SUCCESS":
		m.Event = MoveEnds
	case is(args[0], "FINISH"):
		m.Event = MoveFails
	case is(args[0], "ESTABLISH"):
		return Move{}, c.malformed("it begins to import no slots")
	}
	return m, nil
}

// confOfRedis: ASM-TASK task:source:destination:import|migrate:state:first-last …, as
// often as the state changes, or SLOT-INFO, which is about sizes (Redis 8.6).
func (c *placement) confOfRedis(args [][]byte) (Move, error) {
	if len(args) != 2 || !is(args[0], "ASM-TASK") {
		return Move{}, nil
	}
	fields := bytes.Split(args[1], []byte(":"))
	if len(fields) != 6 {
		return Move{}, c.malformed("%s is no task", printable(args[1]))
	}
	m := Move{Task: string(fields[0]), Import: string(fields[3]) == "import"}
	switch string(fields[4]) {
	case "connecting", "wait-rdbchannel":
		m.Event = MoveBegins
	case "completed":
		m.Event = MoveEnds
	case "failed", "canceled":
		m.Event = MoveFails
	}
	var bounds [][]byte
	for _, r := range bytes.Fields(fields[5]) {
		bounds = append(bounds, bytes.SplitN(r, []byte("-"), 2)...)
	}
	var err error
	m.Slots, err = c.ranges(bounds)
	return m, err
}

func (c *placement) ranges(bounds [][]byte) ([]Range, error) {
	var all []Range
	for i := 0; i+1 < len(bounds); i += 2 {
		first, ok1 := integer(bounds[i])
		last, ok2 := integer(bounds[i+1])
		if !ok1 || !ok2 || first < 0 || first > last || last >= slot.Count {
			return nil, c.malformed("%s to %s are no slots", printable(bounds[i]), printable(bounds[i+1]))
		}
		all = append(all, Range{uint16(first), uint16(last)})
	}
	if len(all) == 0 || len(bounds)%2 != 0 {
		return nil, c.malformed("its slots do not come in pairs")
	}
	return all, nil
}
