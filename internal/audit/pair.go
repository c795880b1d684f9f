package audit

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/shards"
)

// pair is a session of either side, both with the same db selected.
type pair struct {
	a, b     *side
	atA, atB *shards.Session
	db       int
	options  Options
}

func openPair(ctx context.Context, a, b *side, db int, o Options) (pair, error) {
	p := pair{a: a, b: b, db: db, options: o}
	var err error
	if p.atA, err = a.deployment.Session(ctx, db); err != nil {
		return pair{}, err
	}
	if p.atB, err = b.deployment.Session(ctx, db); err != nil {
		p.atA.Close()
		return pair{}, err
	}
	return p, nil
}

func (p pair) close() {
	p.atA.Close()
	p.atB.Close()
}

// of is the session of one of the two sides.
func (p pair) of(s *side) *shards.Session {
	if s == p.a {
		return p.atA
	}
	return p.atB
}

// ask sends commands to both sides at the same time.
func (p pair) ask(ctx context.Context, toA, toB []command) (fromA, fromB []any, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		fromA, err = p.atA.Ask(ctx, toA)
		return err
	})
	group.Go(func() (err error) {
		fromB, err = p.atB.Ask(ctx, toB)
		return err
	})
	err = group.Wait()
	return fromA, fromB, err
}

func (p pair) askSame(ctx context.Context, commands []command) (fromA, fromB []any, err error) {
	return p.ask(ctx, commands, commands)
}

// place sees that keys which a shard of one side has are there alone, and looks where
// the other side has them. It gives those to be compared: not those that are in another
// shard as well, or belong to another.
func (p pair) place(ctx context.Context, s *side, b batch) (keys []string, found []Difference, err error) {
	session := p.of(s)
	doubled, err := session.Locate(ctx, b.keys)
	if err != nil {
		return nil, nil, err
	}
	twice := make(map[string]bool)
	for _, key := range doubled {
		twice[key] = true
	}
	var strays []string
	for _, key := range b.keys {
		switch owner := session.Owner(key); {
		case owner == b.shard:
			keys = append(keys, key)
		case twice[key]:
			found = append(found, p.difference(key, Twice, "in %s: at %s and %s", s.name, s.address(owner), s.address(b.shard)))
		case s.deployment.IsCluster():
			strays = append(strays, key)
		} // else it was there when it was scanned, and has expired
	}
	exist := make([]command, len(strays))
	for i, key := range strays {
		exist[i] = command{"EXISTS", key}
	}
	there, err := session.Ask(ctx, exist)
	if err != nil {
		return nil, nil, err
	}
	for i, key := range strays {
		if number(there[i]) == 1 {
			found = append(found, p.difference(key, Twice, "in %s: at %s, who serves its slot, and at %s", s.name, s.address(session.Owner(key)), s.address(b.shard)))
		} else {
			found = append(found, p.difference(key, Stray, "in %s: at %s, its slot is served by %s", s.name, s.address(b.shard), s.address(session.Owner(key))))
		}
	}
	other := p.atA
	if s == p.a {
		other = p.atB
	}
	_, err = other.Locate(ctx, keys)
	return keys, found, err
}

func (s *side) address(shard int) string { return s.deployment.Shards()[shard].Endpoint().Address }

func (p pair) difference(key string, kind Kind, format string, args ...any) Difference {
	return Difference{DB: p.db, Key: key, Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// findExtra looks up keys of b in a.
func (p pair) findExtra(ctx context.Context, keys []string) ([]Difference, error) {
	commands := make([]command, len(keys))
	for i, key := range keys {
		commands[i] = command{"EXISTS", key}
	}
	inA, inB, err := p.askSame(ctx, commands)
	if err != nil {
		return nil, err
	}
	var found []Difference
	for i, key := range keys {
		if number(inA[i]) == 0 && number(inB[i]) == 1 {
			found = append(found, p.difference(key, Extra, "not in a"))
		}
	}
	return found, nil
}

// lookAgain sees which of the suspected differences are still there.
func (p pair) lookAgain(ctx context.Context, suspects []Difference) ([]Difference, error) {
	var compare, extra []string
	for i, s := range suspects {
		switch {
		case s.Kind == Extra:
			extra = append(extra, s.Key)
		case i == 0 || suspects[i-1].Key != s.Key: // a key may differ in value and TTL
			compare = append(compare, s.Key)
		}
	}
	found, err := p.compareKeys(ctx, compare)
	if err != nil {
		return nil, err
	}
	more, err := p.findExtra(ctx, extra)
	return append(found, more...), err
}

// compareKeys looks at keys of a. Those that are gone from a by now have expired.
func (p pair) compareKeys(ctx context.Context, keys []string) ([]Difference, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var inA, inB []header
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		inA, err = p.a.headers(groupCtx, p.atA, keys)
		return err
	})
	group.Go(func() (err error) {
		inB, err = p.b.headers(groupCtx, p.atB, keys)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}

	var found []Difference
	same := make([]item, 0, len(keys)) // of the same type: to have their values compared
	for i, key := range keys {
		a, b := inA[i], inB[i]
		switch {
		case a.typ == noType:
			continue
		case b.typ == noType:
			found = append(found, p.difference(key, Missing, "a %s in a", a.typ))
			continue
		case a.typ != b.typ:
			found = append(found, p.difference(key, Type, "%s, %s", a.typ, b.typ))
		default:
			same = append(same, item{key: key, typ: a.typ, memory: max(a.memory, b.memory)})
		}
		if !a.expiry.equal(b.expiry, p.options.TTLTolerance) {
			found = append(found, p.difference(key, TTL, "%v, %v", a.expiry, b.expiry))
		}
	}
	values, err := p.compareValues(ctx, same)
	return byKey(append(found, values...)), err
}

// byKey brings the differences of one key together, the keys in their order.
func byKey(differences []Difference) []Difference {
	if len(differences) < 2 {
		return differences
	}
	groups := make(map[string][]Difference)
	var order []string
	for _, d := range differences {
		if groups[d.Key] == nil {
			order = append(order, d.Key)
		}
		groups[d.Key] = append(groups[d.Key], d)
	}
	sorted := differences[:0:0]
	for _, key := range order {
		sorted = append(sorted, groups[key]...)
	}
	return sorted
}

// noType is what TYPE says of a key that does not exist.
const noType = "none"

// header is what is known of a key before its value is read.
type header struct {
	typ    string
	expiry expiry
	memory int64 // bytes, as the server estimates
}

// milliseconds reads a reply to TIME: seconds and microseconds.
func milliseconds(reply any) int64 {
	parts := array(reply)
	if len(parts) != 2 {
		return 0
	}
	return decimal(parts[0])*1000 + decimal(parts[1])/1000
}

// expiry is when a key expires, in Unix milliseconds: a range where a server
// says only how long that is from now. Both are never for a key that does not.
type expiry struct{ earliest, latest int64 }

const never = -1

func (e expiry) equal(other expiry, tolerance time.Duration) bool {
	if e.earliest == never || other.earliest == never {
		return e == other
	}
	ms := tolerance.Milliseconds()
	return e.earliest-ms <= other.latest && other.earliest-ms <= e.latest
}

func (e expiry) String() string {
	if e.earliest == never {
		return "no expiry"
	}
	at := time.UnixMilli(e.earliest).UTC().Format("2006-01-02T15:04:05.000Z")
	if e.latest > e.earliest {
		at += fmt.Sprintf(" + %d ms", e.latest-e.earliest)
	}
	return at
}
