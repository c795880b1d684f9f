package apply

import (
	"context"
	"crypto/rand"

	"godwit/internal/server"
)

// ProgressAt is the progress of an engine whose target has everything that its sources
// have said up to these places, one each, and nothing after that.
func ProgressAt(ctx context.Context, name string, target server.Endpoint, at []Stand) (Progress, error) {
	now, err := readShards(ctx, target)
	if err != nil {
		return Progress{}, err
	}
	ids, err := now.identities(ctx)
	if err != nil {
		return Progress{}, err
	}
	return now.progressAt(name, at, ids), nil
}

// progressAt is ProgressAt for shards that are known.
func (s *shards) progressAt(name string, at []Stand, ids []identity) Progress {
	p := Progress{Owner: rand.Text()}
	for i, stand := range at {
		p.Sources = append(p.Sources, SourceProgress{
			ReplID: stand.ReplID, Generation: 1, Had: []Had{{Slots: allSlots(), At: stand.Offset, DB: stand.DB, Sound: stand.Offset, SoundDB: stand.DB}},
			Lanes: s.lanes(sourceName(name, i), 1, ids), Seen: s.jobs(),
		})
	}
	return p
}

// lanes are those of a generation that begins now.
func (s *shards) lanes(name string, generation int, ids []identity) []LaneProgress {
	lanes := make([]LaneProgress, len(s.primaries))
	for i := range s.primaries {
		ranges := s.ranges(i)
		// Of the last slot: who moves slots, takes the first ones (redis-cli --cluster reshard).
		of := ranges[len(ranges)-1].Last
		lanes[i] = LaneProgress{Key: checkpointKey(name, generation, i, of), Slots: ranges, Shard: ids[i]}
	}
	return lanes
}
