package apply

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/reserved"
	"godwit/internal/slot"
)

// errCopyAgain says that the target, or the source, has lost what it takes to go on.
var errCopyAgain = errors.New("it has to be copied again")

// standing is where the slots of the target stand.
type standing struct {
	had   []past
	mark  [slot.Count]uint16 // of had
	ahead map[string]int64   // keys that were carried by value, see carrier
	lanes []checkpoint
	// claim is the owner that the checkpoints name now: batches of an earlier claim
	// that are still on their way do not count any more.
	claim string
	// sealed tells that a checkpoint takes no batch any more: the next generation was
	// about to begin.
	sealed bool
}

// past is where a slot stands, and up to where it is known to be sound.
type past struct {
	mark
	sound mark
	until int64 // up to there it may have had commands beside, see strayed; 0 for none
}

// checkpoint is where a shard says that it stands.
type checkpoint struct {
	at   mark
	safe mark // up to there it is sound
}

// stand finds out where the slots stand, by the checkpoints of the present generation.
func (l *Link) stand(ctx context.Context, now *shards) (*standing, error) {
	p := l.progress()
	s := &standing{ahead: map[string]int64{}, claim: l.owner + claimed + rand.Text()}
	for _, key := range p.Ahead {
		s.ahead[string(key.Name)] = key.At
	}
	base := [slot.Count]past{}
	for _, h := range p.Had {
		m := past{mark{at: h.At, db: h.DB}, mark{at: h.Sound, db: h.SoundDB}, h.Until}
		if h.InDoubt {
			m.more = 1
		}
		each(h.Slots, func(of uint16) { base[of] = m })
	}
	known := map[past]uint16{}
	for _, lane := range p.Lanes {
		at, err := l.checkpoint(ctx, now, p, lane, s)
		if err != nil {
			return nil, err
		}
		s.lanes = append(s.lanes, *at)
		// Slots that have come equally far share a mark.
		clear(known)
		each(lane.Slots, func(of uint16) {
			m := past{mark: at.at, sound: at.safe}
			if b := base[of]; b.at > m.at || b.at == m.at && m.more == 0 {
				m = b
				if m.sound.at > m.at {
					m.sound = mark{at: m.at, db: m.db}
				}
			} else if b.until > m.at {
				m.until = b.until
			}
			i, ok := known[m]
			if !ok {
				i = uint16(len(s.had))
				s.had, known[m] = append(s.had, m), i
			}
			s.mark[of] = i
		})
	}
	return s, nil
}

// checkpoint reads that of a lane.
func (l *Link) checkpoint(ctx context.Context, now *shards, p SourceProgress, lane LaneProgress, s *standing) (*checkpoint, error) {
	where := now.primaries[now.of[slot.Of([]byte(lane.Key))]]
	c, err := dial(ctx, where)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	fields, err := c.do("EVAL", claimScript, "1", lane.Key, l.owner, claimed, s.claim)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for i := 0; i+1 < len(fields); i += 2 {
		got[string(fields[i])] = string(fields[i+1])
	}
	owner, _, _ := strings.Cut(got["owner"], claimed)
	switch owner {
	case l.owner:
	case l.owner + sealed:
		s.sealed = true
	default:
		if !p.Begun {
			return &checkpoint{}, nil
		}
		return nil, fmt.Errorf("%s has lost data: the checkpoint %s is not there: %w", where.Address, lane.Key, errCopyAgain)
	}
	at, err1 := strconv.ParseInt(got["at"], 10, 64)
	more, err2 := strconv.Atoi(got["more"])
	db, err3 := strconv.Atoi(got["db"])
	safe := mark{}
	_, err4 := fmt.Sscan(got["safe"], &safe.at, &safe.db)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("%s: the checkpoint %s: %w", where.Address, lane.Key, err)
	}
	for name, offset := range got {
		if key, ok := strings.CutPrefix(name, aheadField); ok {
			n, err := strconv.ParseInt(offset, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: the checkpoint %s: %w", where.Address, lane.Key, err)
			}
			s.ahead[key] = max(s.ahead[key], n)
		}
	}
	return &checkpoint{mark{at: at, more: more, db: db}, safe}, nil
}

const (
	// sealed is added to the owner of a checkpoint that takes no batch any more.
	sealed = "/sealed"
	// claimed stands between the owner and the name of a claim.
	claimed = "#"
)

// claimScript gives a checkpoint a new claim, unless it is sealed or another copy's, and
// says what is in it.
const claimScript = `
local was = redis.call('HGET', KEYS[1], 'owner')
if was and (was == ARGV[1] or string.sub(was, 1, #ARGV[1] + 1) == ARGV[1] .. ARGV[2]) then redis.call('HSET', KEYS[1], 'owner', ARGV[3]) end
return redis.call('HGETALL', KEYS[1])`

// seal has the checkpoints take no more batches: one may still be on its way, on a
// connection that was given up.
func (l *Link) seal(ctx context.Context, now *shards, p SourceProgress) error {
	if !p.Begun {
		return nil // none was sent
	}
	for _, lane := range p.Lanes {
		c, err := dial(ctx, now.primaries[now.of[slot.Of([]byte(lane.Key))]])
		if err != nil {
			return err
		}
		_, err = c.do("EVAL", sealScript, "1", lane.Key, l.owner, claimed, l.owner+sealed)
		_ = c.Close() // nothing was left unsent
		if err != nil {
			return err
		}
	}
	return nil
}

const sealScript = `
local was = redis.call('HGET', KEYS[1], 'owner')
if was and (was == ARGV[1] or string.sub(was, 1, #ARGV[1] + 1) == ARGV[1] .. ARGV[2]) then redis.call('HSET', KEYS[1], 'owner', ARGV[3]) end`

// regroup begins a generation whose lanes are the shards as they are now.
func (l *Link) regroup(ctx context.Context, now *shards) error {
	before := l.progress()
	if err := l.seal(ctx, now, before); err != nil {
		return err
	}
	s, err := l.stand(ctx, now)
	if err != nil {
		return err
	}
	ids, err := now.identities(ctx)
	if err == nil && before.Begun {
		err = l.strayed(ctx, now, before.Lanes, ids, s)
	}
	if err != nil {
		return err
	}
	next := SourceProgress{
		ReplID: before.ReplID, Generation: before.Generation + 1, Seen: before.Seen,
		Renew: before.Renew, Renewed: before.Renewed, RenewedTo: before.RenewedTo,
	}
	for _, name := range slices.Sorted(maps.Keys(s.ahead)) {
		next.Ahead = append(next.Ahead, AheadKey{[]byte(name), s.ahead[name]})
	}
	if moved := now.moved(before.Lanes, ids); l.slots == nil {
		next.Renew = union(next.Renew, moved)
	} else if err := l.unsettle(moved); err != nil {
		return err
	}
	for i, m := range s.had {
		next.Had = append(next.Had, Had{
			Slots: rangesOf(func(of uint16) bool { return int(s.mark[of]) == i }),
			At:    m.at, DB: m.db, Sound: m.sound.at, SoundDB: m.sound.db, Until: m.until, InDoubt: m.more != 0,
		})
	}
	next.Lanes = now.lanes(l.name, next.Generation, ids)
	if err := l.save(next); err != nil {
		return err
	}
	if err := l.found(ctx, now, next, s); err != nil {
		return err
	}
	for _, old := range before.Lanes {
		l.forget(ctx, now, old.Key)
	}
	return nil
}

// found writes the checkpoints of a generation that has none yet, and notes that.
func (l *Link) found(ctx context.Context, now *shards, p SourceProgress, s *standing) error {
	ids, err := now.identities(ctx)
	if err != nil {
		return err
	}
	for _, lane := range p.Lanes {
		i := now.of[lane.Slots[0].First]
		if ids[i].RunID != lane.Shard.RunID {
			return fmt.Errorf("%s was started again meanwhile: %w", now.primaries[i].Address, errCopyAgain)
		}
		least := s.had[s.mark[lane.Slots[0].First]]
		safe := least.sound
		each(lane.Slots, func(of uint16) {
			m := s.had[s.mark[of]]
			if m.sound.at < safe.at {
				safe = m.sound
			}
			if m.at < least.at {
				least = m
			}
		})
		if safe.at > least.at {
			safe = least.mark
		}
		fields := []string{
			"HSET", lane.Key, "owner", l.owner, "at", strconv.FormatInt(least.at, 10), "more", "0", "db", strconv.Itoa(least.db),
			"safe", safe.text(),
		}
		for _, name := range slices.Sorted(maps.Keys(s.ahead)) {
			_, key, _ := strings.Cut(name, ":")
			if now.of[slot.Of([]byte(key))] == i {
				fields = append(fields, aheadField+name, strconv.FormatInt(s.ahead[name], 10))
			}
		}
		c, err := dial(ctx, now.primaries[i])
		if err != nil {
			return err
		}
		// An earlier run may have left one by this name, with keys that are ahead by the
		// offsets of another source.
		if _, err = c.do("DEL", lane.Key); err == nil {
			_, err = c.do(fields...)
		}
		_ = c.Close() // nothing was left unsent
		if err != nil {
			return err
		}
	}
	p.Begun, p.Ahead = true, nil
	return l.save(p)
}

// forget deletes a checkpoint that is not needed any more. One that stays does no harm.
func (l *Link) forget(ctx context.Context, now *shards, key string) {
	c, err := dial(ctx, now.primaries[now.of[slot.Of([]byte(key))]])
	if err != nil {
		return
	}
	_, _ = c.do("DEL", key)
	_ = c.Close()
}

// checkpointKey is the name of a lane's checkpoint, which is of one of its slots.
func checkpointKey(name string, generation, lane int, of uint16) string {
	return reserved.Checkpoint(name, generation, lane, of)
}

// checkpointPrefix is what the names of checkpoints begin with.
const checkpointPrefix = "godwit:"
