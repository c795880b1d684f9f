package topology

import (
	"fmt"
	"strings"
)

// MoveKind is how slots get from one primary to another.
type MoveKind string

// The kinds of moves.
const (
	// MoveByKeys is SETSLOT MIGRATING and IMPORTING, then MIGRATE key by key: until it
	// ends each key is at one of the two, and clients find it by ASK.
	MoveByKeys MoveKind = "by keys"
	// MoveAtomic is CLUSTER MIGRATESLOTS (Valkey from 9.0 on) or CLUSTER MIGRATION
	// IMPORT (Redis from 8.4 on): the source serves all keys until the slots change
	// hands at once.
	MoveAtomic MoveKind = "atomic"
)

// Move is a set of slots on its way from one primary to another.
type Move struct {
	Kind  MoveKind    `json:"kind"`
	Slots []SlotRange `json:"slots"`
	From  string      `json:"from"` // node ID
	To    string      `json:"to"`   // node ID
	// Job is the ID of an atomic move, the same at both ends.
	Job string `json:"job,omitempty"`
	// State of an atomic move is the server's own word, of the end that exports if
	// both tell. Of a move by keys it is "migrating" or "importing" where only one of
	// the two nodes marks the slots, as redis-cli does for a moment and after it was
	// killed, and empty else.
	State string `json:"state,omitempty"`
}

// ended tells whether an atomic move in that state is over, and whether the slots have
// arrived (Valkey's cluster_migrateslots.c, Redis' cluster_asm.c; they spell it
// differently).
func ended(state string) (over, arrived bool) {
	switch state {
	case "success", "completed":
		return true, true
	case "failed", "cancelled", "canceled":
		return true, false
	}
	return false, false
}

// parseJobs reads CLUSTER GETSLOTMIGRATIONS of Valkey or CLUSTER MIGRATION STATUS ALL
// of Redis, both lists of names and values: moves under way, and slots that have arrived.
func parseJobs(reply any) (moves, arrived []Move, err error) {
	jobs, ok := reply.([]any)
	if !ok {
		return nil, nil, fmt.Errorf("%v is no list", reply)
	}
	for _, job := range jobs {
		fields, ok := job.([]any)
		if !ok || len(fields)%2 != 0 {
			return nil, nil, fmt.Errorf("%v is no list of names and values", job)
		}
		text := make(map[string]string, len(fields)/2)
		for i := 0; i < len(fields); i += 2 {
			text[fmt.Sprint(fields[i])] = fmt.Sprint(fields[i+1])
		}
		over, there := ended(text["state"])
		if over && !there {
			continue
		}
		// Valkey's names and Redis'; no server has both.
		m := Move{
			Kind: MoveAtomic, State: text["state"],
			Job:  text["name"] + text["id"],
			From: text["source_node"] + text["source"],
			To:   text["target_node"] + text["dest"],
		}
		if m.To == "" && m.From == "" {
			continue // a replica, which knows of its primary's
		}
		for word := range strings.FieldsSeq(text["slot_ranges"] + " " + text["slots"]) {
			r, err := parseSlots(word)
			if err != nil {
				return nil, nil, fmt.Errorf("job %s: %w", m.Job, err)
			}
			m.Slots = append(m.Slots, r)
		}
		if there {
			arrived = append(arrived, m)
		} else {
			moves = append(moves, m)
		}
	}
	return moves, arrived, nil
}
