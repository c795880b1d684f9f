package traffic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// maker makes commands of one kind.
type maker struct {
	command string // that the server must have
	weight  int    // how often it is drawn, beside the others
	make    func(g *generator)
	feature Feature // without which it has no use; "" for none
}

// generator makes commands one after the other. What it makes does not depend
// on replies.
type generator struct {
	*rand.Rand
	capability
	options Options
	queue   [][]any // made and not sent yet

	makers  []maker
	deck    []int // of indexes into makers, those still to be drawn
	db      int   // index into options.DBs of the selected db
	inMulti bool
	flushed bool // FLUSHALL has been sent

	samples map[string][]string // DUMP payloads by kind of key
	ids     map[string][]string // of stream entries by key, the newest last
	nextID  int64
}

func newGenerator(s capability, o Options) *generator {
	g := &generator{
		Rand:       rand.New(rand.NewPCG(o.Seed, 0)), //nolint:gosec // test data, not secrets
		capability: s,
		options:    o,
		ids:        make(map[string][]string),
		// Far above the time, so that an entry added as "*" stays below the next one;
		// and growing faster than they are used, so that those of a later run are
		// higher. Redis 6.0 lets XSETID go back to below a deleted entry, others do not.
		nextID: o.Now.UnixMicro(),
	}
	all := slices.Concat(stringMakers(), bitMakers(), listMakers(), setMakers(), hashMakers(), sortedSetMakers(),
		geoMakers(), streamMakers(), groupMakers(), vectorMakers(), expiryMakers(), keyMakers(), dbMakers(), scriptMakers())
	for _, m := range all {
		if s.has(m.command) && (m.feature == "" || g.may(m.feature)) {
			g.makers = append(g.makers, m)
		}
	}
	return g
}

// may tells whether the server has a feature that is not to be left out.
func (g *generator) may(f Feature) bool {
	return g.holds(f) && !slices.Contains(g.options.Without, f)
}

// next makes what one maker does. They are drawn from a deck that holds each of
// them as often as its weight says, so that none is left to chance.
func (g *generator) next() {
	if len(g.deck) == 0 {
		for i, m := range g.makers {
			for range m.weight {
				g.deck = append(g.deck, i)
			}
		}
		g.Shuffle(len(g.deck), func(i, j int) { g.deck[i], g.deck[j] = g.deck[j], g.deck[i] })
	}
	m := g.makers[g.deck[len(g.deck)-1]]
	g.deck = g.deck[:len(g.deck)-1]
	if !g.inMulti && g.chance(8) {
		g.selectDB()
	}
	m.make(g)
}

// do makes one command.
func (g *generator) do(args ...any) { g.queue = append(g.queue, args) }

// selectDB goes on in any of the dbs.
func (g *generator) selectDB() {
	g.db = g.IntN(len(g.options.DBs))
	g.do("SELECT", g.options.DBs[g.db])
}

// chance is true once in n times.
func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

// oneOf gives one of several.
func (g *generator) oneOf(words ...string) string { return words[g.IntN(len(words))] }

// maybe adds one of several words, or none, to a command.
func (g *generator) maybe(args []any, words ...string) []any {
	if g.chance(2) {
		return args
	}
	return append(args, g.oneOf(words...))
}

// The kinds of keys: keys of one kind are of one type, and hold values that the
// same commands can work on.
const (
	kindString = "string"
	kindNumber = "number"
	kindFloat  = "float"
	kindBits   = "bits"
	kindHLL    = "hyperloglog"
	kindList   = "list"
	kindSet    = "set"
	kindHash   = "hash"
	kindZset   = "zset"
	kindLex    = "lex" // a sorted set with one score for all members
	kindGeo    = "geo"
	kindStream = "stream"
	kindVector = "vector"
)

// kinds are those that the server can hold and the options want.
func (g *generator) kinds() []string {
	all := []string{
		kindString, kindNumber, kindFloat, kindBits, kindHLL, kindList, kindSet, kindHash, kindZset, kindLex, kindGeo, kindStream,
	}
	if g.may(VectorSet) {
		all = append(all, kindVector)
	}
	return all
}

// keysPerKind is few, so that commands meet what earlier ones have left.
const keysPerKind = 10

// key names a key. Once in a while it is one of another kind, as it happens to
// applications.
func (g *generator) key(kind string) string {
	if g.chance(150) {
		if other := g.kinds()[g.IntN(len(g.kinds()))]; other != kindLex {
			kind = other
		}
	}
	return g.keyOf(kind)
}

func (g *generator) keyOf(kind string) string {
	return g.name(kind, g.IntN(keysPerKind))
}

func (g *generator) name(kind string, n int) string {
	name := g.options.Prefix + kind + ":" + strconv.Itoa(n)
	if n%4 == 3 {
		name += "\x00\xff\r\n {tag}"
	}
	return name
}

// anyKey names a key of any kind, and says which.
func (g *generator) anyKey() (key, kind string) {
	kind = g.kinds()[g.IntN(len(g.kinds()))]
	return g.keyOf(kind), kind
}

// several gives n to m things.
func several[T any](g *generator, n, m int, one func() T) []any {
	list := make([]any, n+g.IntN(m-n+1))
	for i := range list {
		list[i] = one()
	}
	return list
}

// with puts a command together.
func with(args []any, more ...any) []any { return append(slices.Clone(args), more...) }

// value is any string.
func (g *generator) value() string {
	switch g.IntN(12) {
	case 0:
		return ""
	case 1:
		return g.bytes(1 + g.IntN(80))
	case 2:
		return g.integer()
	case 3:
		return g.text(200 + g.IntN(2000))
	default:
		return g.text(1 + g.IntN(60))
	}
}

// integer is of 64 bits, and often the largest or the smallest.
func (g *generator) integer() string {
	switch g.IntN(6) {
	case 0:
		return "9223372036854775807"
	case 1:
		return "-9223372036854775808"
	default:
		return strconv.FormatInt(g.Int64()>>g.IntN(64)*int64(1-2*g.IntN(2)), 10)
	}
}

// small is an integer that can be added many times.
func (g *generator) small() int { return g.IntN(2001) - 1000 }

// decimal is a number with a fraction.
func (g *generator) decimal() string {
	return g.oneOf("0.1", "-3.25", "1e3", "2.5e-7", "100", "-0.333333333333333333", strconv.FormatFloat(g.Float64()*1e6, 'g', -1, 64))
}

// member is one of not very many, so that elements are met again.
func (g *generator) member() string {
	switch n := g.IntN(40); n {
	case 0:
		return ""
	case 1:
		return "\x00\xff\r\n"
	case 2:
		return g.text(100)
	case 3:
		return g.integer()
	default:
		return fmt.Sprintf("member:%d", n)
	}
}

// score is of any size; sums and products of it are mostly exact.
func (g *generator) score() string {
	switch g.IntN(10) {
	case 0:
		return g.oneOf("inf", "-inf", "+inf")
	case 1:
		return g.oneOf("1.7976931348623157e308", "-1.7976931348623157e+308", "5e-324", "-0", "9007199254740993", "0.1", "0.30000000000000004")
	default:
		return strconv.FormatFloat(float64(g.IntN(200_000)-100_000)/64, 'g', -1, 64)
	}
}

func (g *generator) text(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		if i >= 32 && i%32 < 24 {
			b[i] = b[i-32] // large ones can be compressed
			continue
		}
		b[i] = alphabet[g.IntN(len(alphabet))]
	}
	return string(b)
}

func (g *generator) bytes(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.UintN(256))
	}
	return string(b)
}

// seconds is a TTL between two hours and 30 days.
func (g *generator) seconds() int64 { return 7200 + g.Int64N(30*24*3600) }

// expiry are the words that give a key or a field a TTL: one that is long, or
// one that is over at once.
func (g *generator) expiry() []any {
	now, ttl := g.options.Now, time.Duration(g.seconds())*time.Second
	forms := 2
	if g.since(6, 2) {
		forms = 4
	}
	switch form := g.IntN(forms); {
	case g.chance(20):
		return []any{"PX", 1}
	case form == 0:
		return []any{"EX", g.seconds()}
	case form == 1:
		return []any{"PX", ttl.Milliseconds() + g.Int64N(1000)}
	case form == 2:
		return []any{"EXAT", now.Add(ttl).Unix()}
	default:
		return []any{"PXAT", now.Add(ttl).UnixMilli()}
	}
}
