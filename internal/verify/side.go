package verify

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"godwit/internal/command"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// side is one of the two deployments, and what has been read of it.
type side struct {
	Side
	role   string // source or target
	shards []*shard
	crc    [256]uint16

	keys, bytes atomic.Int64
}

// shard is one of a side's servers.
type shard struct {
	side   *side
	number int // in Side.Shards
	node   topology.Node
	client *server.Client
}

// clientName is what CLIENT LIST shows.
const clientName = "godwit-verify"

func newSide(role string, s Side) *side { return &side{Side: s, role: role, crc: slotTable()} }

// look connects to the shards.
func (s *side) look(ctx context.Context) error {
	s.shards = make([]*shard, len(s.Shards))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConnecting)
	for i, endpoint := range s.Shards {
		group.Go(func() error {
			client, err := server.Dial(ctx, endpoint, clientName)
			if err != nil {
				return fmt.Errorf("the %s: %w", s.role, err)
			}
			s.shards[i] = &shard{side: s, number: i, client: client}
			if s.shards[i].node, err = topology.Inspect(ctx, client); err != nil {
				return fmt.Errorf("the %s: %w", s.role, err)
			}
			s.shards[i].node.Commands = command.Learnt{} // the largest part, and of no use here
			return nil
		})
	}
	return group.Wait()
}

// maxConnecting is how many shards are looked at together.
const maxConnecting = 8

func (s *side) close() {
	for _, shard := range s.shards {
		if shard != nil {
			_ = shard.client.Close() // nothing was left unsent
		}
	}
}

// read is how much has been read of the side.
func (s *side) read() Read { return Read{Keys: s.keys.Load(), Bytes: s.bytes.Load()} }

// count adds to it.
func (s *side) count(r Read) {
	s.keys.Add(r.Keys)
	s.bytes.Add(r.Bytes)
}

// reset begins to count anew.
func (s *side) reset() {
	s.keys.Store(0)
	s.bytes.Store(0)
}

// owns tells whether a key counts from that shard: while slots move, and after
// it, others may have it too. Libraries, which belong to no slot and are on every
// shard, count from the first.
func (s *side) owns(shard, db int, key []byte) bool {
	switch {
	case s.Slots == nil:
		return true
	case db == libraries:
		return shard == 0
	default:
		return s.Slots(s.slot(key)) == shard
	}
}

// libraries is the db of function libraries.
const libraries = -1

// slot is the hash slot of a key: CRC16 (XMODEM) of what is in its first braces,
// if there is something in them (cluster.c keyHashSlot).
func (s *side) slot(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if end := bytes.IndexByte(key[open+1:], '}'); end > 0 {
			key = key[open+1 : open+1+end]
		}
	}
	var crc uint16
	for _, b := range key {
		crc = crc<<8 ^ s.crc[byte(crc>>8)^b]
	}
	return crc % slots
}

const slots = 16384

func slotTable() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8 //nolint:gosec // below 256
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}
