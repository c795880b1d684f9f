package verify

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// A key that was not read on both sides at one place of the stream may have been on
// its way from the source to the target. It is looked at again, with growing pauses,
// until one of these is true:
//
//   - It is the same on both sides: it has settled.
//   - It differs, and that is certain (see sight.certain).
//   - Several servers of a divided source have it at two looks in a row: at one a key may
//     be seen twice that a client moves from one of them to another.
//   - It has been looked at settleLooks times: it is unstable.
const (
	settleLooks = 8
	firstPause  = 20 * time.Millisecond
	// waveKeys is how many keys are settled together, in so many waves at the same
	// time.
	waveKeys = 4096
	waves    = 5
)

// suspect is a key that seems to differ.
type suspect struct {
	DB             int      `json:"db"`
	Key            Binary   `json:"key"`
	source, target keyState // when last looked at
	looks          int
	steady         bool // the last two looks were alike
	tries          int  // how often it was tried to be certain of it
}

// difference is what it turns out to be.
func (s *suspect) difference(kind Kind) Difference {
	d := Difference{Kind: kind, DB: s.DB, Key: s.Key, TargetDB: s.DB, Source: s.source.found(), Target: s.target.found()}
	if kind == Twice {
		d.Detail = haveIt(s.source.servers)
	}
	return d
}

// verdict is what has become of a suspect.
type verdict struct {
	// difference is nil if it is none: it has settled, or has been named before.
	difference *Difference
	settled    bool
}

// settle looks at candidates, of any number, until it is known which of them are
// differences. Each of those goes to found, the others to settled.
func (r *run) settle(ctx context.Context, candidates []Difference) error {
	from, names := r.newReaders(), newNamed(r.digest)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.waves())
	for start := 0; start < len(candidates) && ctx.Err() == nil; start += waveKeys {
		var wave []*suspect
		for _, d := range candidates[start:min(start+waveKeys, len(candidates))] {
			wave = append(wave, &suspect{DB: d.DB, Key: d.Key})
			if d.Kind == OtherDB {
				wave = append(wave, &suspect{DB: d.TargetDB, Key: d.Key})
			}
		}
		group.Go(func() error {
			s := r.newSettling(from, names, func(_ *suspect, v verdict) error { return r.conclude(v) })
			defer s.close()
			return s.wave(ctx, wave)
		})
	}
	return group.Wait()
}

// conclude hands on what has become of a key.
func (r *run) conclude(v verdict) error {
	switch {
	case v.difference != nil:
		return r.found(*v.difference)
	case v.settled:
		r.settled(1)
	}
	return nil
}

// waves is how many waves settle at the same time: a feed is held by one.
func (r *run) waves() int {
	if r.cfg.Feeds != nil {
		return 1
	}
	return waves
}

// settling looks at suspects, on connections of its own. It is for one goroutine.
type settling struct {
	run   *run
	pair  *pair
	names *named
	tell  func(*suspect, verdict) error

	// extra are those of the present wave that only the target has, to be named at
	// its end: by then it is known which of them are missing keys of another db.
	extra  []*suspect
	dbs    []int // in which the target has keys
	look   func(context.Context, []*suspect) (sight, error)
	failed error // why the feed could not be held for some of the last look's keys
}

func (r *run) newSettling(from *readers, names *named, tell func(*suspect, verdict) error) *settling {
	return &settling{run: r, pair: from.pair(), names: names, tell: tell}
}

func (s *settling) close() { s.pair.close() }

// prepare finds out how the sides are related.
func (s *settling) prepare(ctx context.Context) error {
	var err error
	if s.dbs, err = s.pair.target.dbs(ctx); err != nil {
		return err
	}
	if err := s.pair.setClocks(ctx); err != nil {
		return err
	}
	switch follows, err := s.follows(ctx); {
	case err != nil:
		return err
	case s.run.cfg.Feeds != nil:
		s.look = s.lookHeld
	case follows:
		s.look = s.lookAtPlaces
	default:
		s.look = s.lookQuietly
	}
	return nil
}

// wave looks at keys until something can be said of each.
func (s *settling) wave(ctx context.Context, left []*suspect) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for look := 0; look < settleLooks && len(left) > 0; look++ {
		if err := pause(ctx, firstPause<<look); err != nil {
			return err
		}
		var rest []*suspect
		s.failed = nil
		for _, group := range groups(left, s.groupSize) {
			undecided, err := s.lookAt(ctx, group)
			if err != nil {
				return err
			}
			rest = append(rest, undecided...)
		}
		left = rest
	}
	if len(left) > 0 && s.failed != nil {
		return s.failed
	}
	for _, key := range left {
		kind := Unstable
		if key.source.twice {
			kind = Twice
		}
		if err := s.name(key, key.difference(kind)); err != nil {
			return err
		}
	}
	for _, key := range s.extra {
		if err := s.name(key, key.difference(Extra)); err != nil {
			return err
		}
	}
	s.extra = s.extra[:0]
	return nil
}

// groupSize is how many keys like this one are looked at together: if one of them
// changes meanwhile, nothing is certain about the others, so it is fewer each time.
func (s *settling) groupSize(key *suspect) int {
	return max(1, waveKeys>>(3*key.tries))
}

// groups are keys of one db each, that were tried as often, as many as size says.
func groups(keys []*suspect, size func(*suspect) int) [][]*suspect {
	type alike struct {
		db, tries int
		steady    bool
	}
	open := make(map[alike][]*suspect)
	var all [][]*suspect
	for _, key := range keys {
		kind := alike{key.DB, key.tries, key.steady}
		open[kind] = append(open[kind], key)
		if len(open[kind]) >= size(key) {
			all = append(all, open[kind])
			delete(open, kind)
		}
	}
	for _, group := range open {
		all = append(all, group)
	}
	return all
}

// lookAt looks at keys and says what can be said. It returns the others.
func (s *settling) lookAt(ctx context.Context, keys []*suspect) ([]*suspect, error) {
	sight, err := s.look(ctx, keys)
	if err != nil {
		return nil, err
	}
	now := s.pair.now()
	var undecided, missing []*suspect
	for i, key := range keys {
		source, target := sight.source[i].at(now), sight.target[i].at(now)
		again := key.source.twice
		key.steady = key.looks > 0 && source.same(key.source) && target.same(key.target)
		key.source, key.target = source, target
		key.looks++
		kind := s.pair.differ(source, target, now)
		switch {
		case source.torn || target.torn:
			undecided = append(undecided, key)
		case kind == "":
			err = s.tell(key, verdict{settled: true})
		case kind == Twice && again:
			err = s.name(key, key.difference(kind))
		case kind == Twice:
			undecided = append(undecided, key)
		case !sight.certain[i]:
			undecided = append(undecided, key)
		case kind == Missing:
			missing = append(missing, key)
		case kind == Extra:
			s.extra = append(s.extra, key)
		default:
			err = s.name(key, key.difference(kind))
		}
		if err != nil {
			return nil, err
		}
	}
	return undecided, s.nameMissing(ctx, missing)
}

// nameMissing says of keys that the target does not have where it has them instead.
func (s *settling) nameMissing(ctx context.Context, keys []*suspect) error {
	elsewhere, err := s.elsewhere(ctx, keys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		d := key.difference(Missing)
		if other, ok := elsewhere[key]; ok && s.names.add(other.DB, key.Key) {
			d.Kind, d.TargetDB, d.Target = OtherDB, other.DB, other.target.found()
		}
		if err := s.name(key, d); err != nil {
			return err
		}
	}
	return nil
}

// name tells a difference, unless the key has been named before.
func (s *settling) name(key *suspect, d Difference) error {
	if !s.names.add(key.DB, key.Key) {
		return s.tell(key, verdict{})
	}
	return s.tell(key, verdict{difference: &d})
}

// elsewhere finds keys that the target does not have in their db, and has in
// another one, where the source does not have them.
func (s *settling) elsewhere(ctx context.Context, keys []*suspect) (map[*suspect]suspect, error) {
	if len(keys) == 0 || len(s.dbs) < 2 {
		return nil, nil
	}
	found := make(map[*suspect]suspect)
	for _, db := range s.dbs {
		var candidates []*suspect
		var names [][]byte
		for _, key := range keys {
			if _, ok := found[key]; !ok && key.DB != db && key.DB != libraries && s.run.keeps(db, key.Key) {
				candidates, names = append(candidates, key), append(names, key.Key)
			}
		}
		there, err := s.pair.target.exist(ctx, db, names)
		if err != nil {
			return nil, err
		}
		for i, key := range candidates {
			if !there[i] {
				continue
			}
			source, target, err := s.pair.look(ctx, db, names[i:i+1])
			if err != nil {
				return nil, err
			}
			if !source[0].there && s.pair.differ(key.source, target[0], s.pair.now()) == "" {
				found[key] = suspect{DB: db, target: target[0]}
			}
		}
	}
	return found, nil
}
