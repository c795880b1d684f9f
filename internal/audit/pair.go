package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// pair is a connection to either server, both with the same db selected.
type pair struct {
	a, b         *side
	connA, connB *redis.Conn
	db           int
	options      Options
}

func openPair(ctx context.Context, a, b *side, db int, o Options) (pair, error) {
	p := pair{a: a, b: b, db: db, options: o}
	var err error
	if p.connA, err = a.open(ctx, db); err != nil {
		return pair{}, err
	}
	if p.connB, err = b.open(ctx, db); err != nil {
		_ = p.connA.Close() // the first error is the one that tells
		return pair{}, err
	}
	return p, nil
}

func (p pair) close() {
	_ = p.connA.Close() // every reply has been read
	_ = p.connB.Close()
}

// ask sends commands to both servers at the same time.
func (p pair) ask(ctx context.Context, toA, toB []command) (fromA, fromB []any, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		fromA, err = ask(ctx, p.connA, toA)
		return p.named(p.a, err)
	})
	group.Go(func() (err error) {
		fromB, err = ask(ctx, p.connB, toB)
		return p.named(p.b, err)
	})
	return fromA, fromB, group.Wait()
}

func (p pair) askSame(ctx context.Context, commands []command) (fromA, fromB []any, err error) {
	return p.ask(ctx, commands, commands)
}

func (p pair) named(s *side, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.client.Endpoint().Address, err)
}

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
		inA, err = p.a.headers(groupCtx, p.connA, keys)
		return p.named(p.a, err)
	})
	group.Go(func() (err error) {
		inB, err = p.b.headers(groupCtx, p.connB, keys)
		return p.named(p.b, err)
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

func (s *side) headers(ctx context.Context, conn *redis.Conn, keys []string) ([]header, error) {
	ttl := "PEXPIRETIME"
	if !s.pexpiretime {
		ttl = "PTTL"
	}
	commands := make([]command, 0, 3*len(keys)+2)
	for _, key := range keys {
		commands = append(commands, command{"TYPE", key}, command{ttl, key}, command{"MEMORY", "USAGE", key})
	}
	// Only the times of before and after bound when a PTTL was answered.
	commands = append([]command{{"TIME"}}, append(commands, command{"TIME"})...)
	replies, err := ask(ctx, conn, commands)
	if err != nil {
		return nil, err
	}
	before, after := milliseconds(replies[0]), milliseconds(replies[len(replies)-1])
	headers := make([]header, len(keys))
	for i := range keys {
		reply := replies[1+3*i:]
		h := header{typ: text(reply[0]), memory: number(reply[2])}
		at := number(reply[1])
		switch {
		case at < 0:
			h.expiry = expiry{never, never}
		case s.pexpiretime:
			h.expiry = expiry{at, at}
		default:
			h.expiry = expiry{before + at, after + at}
		}
		headers[i] = h
	}
	return headers, nil
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
