package verify

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// comparers is how many batches are compared at the same time. One keeps a server
	// busy for about half of the time, as it also waits for the other side's and for
	// us; and it rests after each batch for as long as that took. So a scan takes a
	// server's clients about a quarter of its time, however long it may last.
	comparers = 1
	// batchKeys is how many keys a batch has at most.
	batchKeys = 512
	// A SCAN looks at that many places of the hash table: the more, the fewer of
	// those it finds count. The most takes a server about 2 ms.
	minCount, maxCount = 64, 8192
	// settleEvery is after how long suspects are settled, fewer than a wave too.
	settleEvery = 250 * time.Millisecond
	// checkpointEvery is how much of a scan a kill may cost.
	checkpointEvery = time.Second
)

// scan compares by SCAN and DUMP: each key of the source with the target's, then
// each key of the target, whether the source has it. What seems to differ is
// settled meanwhile. It goes on from the checkpoint of an earlier run. It promises
// what SCAN does: a key is compared if it is there from the beginning to the end.
func (r *run) scan(ctx context.Context) error {
	r.enter(StageScan)
	s, err := r.newScan()
	if err != nil {
		return err
	}
	err = s.all(ctx)
	s.close()
	if err != nil {
		// What was found since the last checkpoint need not be found again. If it
		// cannot be written, that is not why the scan has ended.
		_ = s.ledger.checkpoint()
	}
	return err
}

// scanning is a scan.
type scanning struct {
	run    *run
	ledger *ledger
	pairs  []*pair // one for each comparer
	// settlings are those that no wave uses.
	settlings chan *settling
	scanner   *pair // for SCAN itself
	number    int   // of the next batch
}

func (r *run) newScan() (*scanning, error) {
	var state scanState
	goesOn, err := r.resume(&state)
	if err != nil {
		return nil, err
	}
	if servers := r.runIDs(); !slices.Equal(servers, state.Servers) {
		state = scanState{Servers: servers}
		if goesOn {
			if err := r.anew(); err != nil {
				return nil, err
			}
		}
	}
	from, names := r.newReaders(), newNamed(r.digest)
	err = EachDifference(r.cfg.Options.Dir, func(d Difference) error {
		names.add(r.target.dbOf(&d), d.Key)
		if d.Kind == OtherDB {
			names.add(d.TargetDB, d.Key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := &scanning{run: r, ledger: newLedger(r, state), scanner: from.pair(), settlings: make(chan *settling, r.waves())}
	for range comparers {
		s.pairs = append(s.pairs, from.pair())
	}
	for range r.waves() {
		s.settlings <- r.newSettling(from, names, s.ledger.settled)
	}
	return s, nil
}

// runIDs are those of the shards of both sides, as they were at the beginning.
func (r *run) runIDs() []string {
	var ids []string
	for _, s := range []*side{r.source, r.target} {
		for _, shard := range s.shards {
			ids = append(ids, shard.node.RunID)
		}
	}
	return ids
}

func (s *scanning) close() {
	s.scanner.close()
	for _, p := range s.pairs {
		p.close()
	}
	for range cap(s.settlings) {
		(<-s.settlings).close()
	}
}

func (s *scanning) all(ctx context.Context) error {
	if err := s.ledger.checkpoint(); err != nil {
		return err
	}
	if err := s.libraries(ctx); err != nil {
		return err
	}
	// One after the other: that a key is in another db is known before it is extra.
	for _, target := range []bool{false, true} {
		if err := s.pass(ctx, target); err != nil {
			return err
		}
	}
	return s.ledger.checkpoint()
}

// libraries compares function libraries, of which there are a few.
func (s *scanning) libraries(ctx context.Context) error {
	if s.ledger.state.Libraries || !s.run.keeps(libraries, nil) {
		return nil
	}
	p := s.scanner
	names := make(map[string]bool)
	for _, r := range []*reader{p.source, p.target} {
		if err := r.libraries(ctx, names); err != nil {
			return err
		}
	}
	var suspects []suspect
	for name := range names {
		key := [][]byte{[]byte(name)}
		source, target, err := p.look(ctx, libraries, key)
		if err != nil {
			return err
		}
		if p.differ(source[0], target[0], p.now()) != "" {
			suspects = append(suspects, suspect{DB: libraries, Key: key[0]})
		}
	}
	s.ledger.librariesDone(suspects)
	return nil
}

// pass scans all of one side.
func (s *scanning) pass(ctx context.Context, target bool) error {
	scanned := s.scanner.source
	if target {
		scanned = s.scanner.target
	}
	dbs, err := scanned.ownDBs(ctx)
	if err != nil {
		return err
	}
	for _, p := range s.pairs {
		if err := p.setClocks(ctx); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	batches := make(chan *batch)
	group.Go(func() error {
		defer close(batches)
		for shard := range scanned.side.Shards {
			for _, db := range dbs {
				if err := s.line(ctx, scanned, s.ledger.lineOf(target, shard, db), batches); err != nil {
					return err
				}
			}
		}
		return nil
	})
	compared := make(chan struct{})
	var comparing sync.WaitGroup
	comparing.Add(len(s.pairs))
	for _, p := range s.pairs {
		group.Go(func() error {
			defer comparing.Done()
			return s.compareAll(ctx, p, batches)
		})
	}
	group.Go(func() error { comparing.Wait(); close(compared); return nil })
	settled := make(chan struct{})
	group.Go(func() error { defer close(settled); return s.settleAll(ctx, compared) })
	group.Go(func() error { return s.checkpoints(ctx, settled) })
	return group.Wait()
}

// line scans one db of one server.
func (s *scanning) line(ctx context.Context, r *reader, line *line, batches chan<- *batch) error {
	if line.Done {
		return nil
	}
	if lacks, err := r.lacksAt(ctx, line.Shard, line.DB); lacks || err != nil {
		return err // another server of a divided side has the db
	}
	c, err := r.conn(ctx, r.conns, line.Shard)
	if err != nil {
		return err
	}
	info, err := infoOf(ctx, c, "server")
	if err != nil {
		return err
	}
	runID := info["run_id"]
	cursor, count := s.ledger.at(line, runID), batchKeys
	pattern := r.filter.keys
	if r.side.Route.Maps() {
		pattern = "" // it is for the names that they have at the source
	}
	for {
		if err := s.ledger.awaitRoom(ctx); err != nil {
			return err
		}
		next, found, err := c.Scan(ctx, line.DB, cursor, pattern, count)
		if err != nil {
			return err
		}
		groups, err := s.groups(ctx, r, line, found)
		if err != nil {
			return err
		}
		kept := 0
		var read []*batch
		for _, g := range groups {
			kept += len(g.keys)
			for keys := range slices.Chunk(g.keys, batchKeys) {
				read = append(read, &batch{line: line, runID: runID, db: g.db, keys: keys, cursor: next})
			}
		}
		if len(read) == 0 {
			read = append(read, &batch{line: line, runID: runID, cursor: next})
		}
		read[len(read)-1].whole = true
		for _, b := range read {
			b.number = s.number
			s.number++
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case batches <- b:
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
		switch {
		case kept < batchKeys/2:
			count = min(2*count, maxCount)
		case kept > 2*batchKeys:
			count = max(count/2, minCount)
		}
	}
}

// compareAll compares batches until there are no more.
func (s *scanning) compareAll(ctx context.Context, p *pair, batches <-chan *batch) error {
	for b := range batches {
		compare := p.compare
		if b.line.Target {
			compare = p.findExtra
		}
		began := time.Now()
		if len(b.keys) > 0 {
			if err := compare(ctx, b); err != nil {
				return err
			}
		}
		s.ledger.finish(b)
		if err := pause(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// settleAll settles suspects until all have been compared, and none is left.
func (s *scanning) settleAll(ctx context.Context, compared <-chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cap(s.settlings))
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for last := false; !last && ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-compared:
			last = true
		}
		for wave := s.ledger.take(waveKeys); len(wave) > 0 && ctx.Err() == nil; wave = s.ledger.take(waveKeys) {
			group.Go(func() error {
				settling := <-s.settlings
				defer func() { s.settlings <- settling }()
				return settling.wave(ctx, wave)
			})
		}
	}
	return group.Wait()
}

// checkpoints writes one now and then until all have settled.
func (s *scanning) checkpoints(ctx context.Context, settled <-chan struct{}) error {
	ticker := time.NewTicker(checkpointEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-settled:
			return nil
		case <-ticker.C:
			if err := s.ledger.checkpoint(); err != nil {
				return err
			}
		}
	}
}

// compare reads a batch of the source's keys on both sides.
func (p *pair) compare(ctx context.Context, b *batch) error {
	sizes, err := p.sizes(ctx, b.db, b.keys)
	if err != nil {
		return err
	}
	var small, large [][]byte
	var smallSizes, largeSizes []int64
	for i, key := range b.keys {
		if sizes[i] > p.source.large {
			large, largeSizes = append(large, key), append(largeSizes, sizes[i])
		} else {
			small, smallSizes = append(small, key), append(smallSizes, sizes[i])
		}
	}
	source, target, err := p.lookSized(ctx, b.db, small, smallSizes)
	if err != nil {
		return err
	}
	now := p.now()
	for i, key := range small {
		if source[i].torn || target[i].torn || p.differ(source[i], target[i], now) != "" {
			b.suspects = append(b.suspects, suspect{DB: b.db, Key: key})
		}
		b.source.count(source[i])
		b.target.count(target[i])
	}
	for i, key := range large {
		if err := p.compareLarge(ctx, b, key, largeSizes[i:i+1]); err != nil {
			return err
		}
	}
	b.source.Bytes, b.target.Bytes = p.source.taken(), p.target.taken()
	return nil
}

// compareLarge reads a key piece by piece: equal is what did not change meanwhile.
func (p *pair) compareLarge(ctx context.Context, b *batch, key []byte, sizes []int64) error {
	seen, unchanged, err := p.lookWatched(ctx, b.db, [][]byte{key}, sizes, 0)
	if err != nil {
		return err
	}
	source, target := seen.source[0], seen.target[0]
	b.source.count(source)
	b.target.count(target)
	if !unchanged || source.torn || target.torn || p.differ(source, target, p.now()) != "" {
		b.suspects = append(b.suspects, suspect{DB: b.db, Key: key})
	}
	return nil
}

// findExtra looks for a batch of the target's keys at the source.
func (p *pair) findExtra(ctx context.Context, b *batch) error {
	there, err := p.source.exist(ctx, b.db, b.keys)
	if err != nil {
		return err
	}
	for i, key := range b.keys {
		if !there[i] {
			b.suspects = append(b.suspects, suspect{DB: b.db, Key: key})
		}
	}
	return nil
}

// count counts a key that is there.
func (r *Read) count(s keyState) {
	if s.there {
		r.Keys++
	}
}
