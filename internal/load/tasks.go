package load

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"godwit/internal/shards"
)

// work is a kind of tasks: each writer has one of it.
type work struct {
	start func(prefix string, id int) task
	check func(ctx context.Context, a *audit, tasks []task) error // tasks by writer
}

// works are those of a mix.
func works(m Mix) []work {
	if m == Counters {
		return nil
	}
	list := []work{appends(), entries(), fields(), scores(), ranges(), pairs(true), rings(true), lives(), scenarios(true, 0), scenarios(true, 1)}
	if m == AnySlots {
		list = append(list, pairs(false), rings(false), scenarios(false, 0), scenarios(false, 1))
	}
	return list
}

// chunk is how many numbers of each writer one shared key has: values stay small.
const chunk = 500

// adder adds its number to a key that all writers share: a token for the audit.
type adder struct {
	outcomes
	id    int
	kind  string
	key   string // before the number of the chunk
	build func(key string, id int, n int64) []string
}

func (t *adder) name() string { return t.kind }

func (t *adder) next(time.Duration) write {
	n := t.outcomes.next()
	key := t.key + strconv.FormatInt(n/chunk, 10)
	return newWrite(key, t.build(key, t.id, n)...)
}

func (t *adder) end(is outcome, _ reply) { t.outcomes.end(is) }

// checkAdders reads all that adders share.
func checkAdders(ctx context.Context, a *audit, tasks []task, read func(ctx context.Context, key string, t *tokens) error) error {
	adders := make([]*adder, len(tasks))
	var longest int64
	for i, t := range tasks {
		adders[i] = t.(*adder)
		longest = max(longest, adders[i].attempts)
	}
	outcomes := func(writer int, n int64) outcome {
		if writer < 0 || writer >= len(adders) {
			return never
		}
		return adders[writer].of(n)
	}
	for first := int64(0); first < longest; first += chunk {
		key := adders[0].key + strconv.FormatInt(first/chunk, 10)
		t := a.newTokens(key, "added", outcomes)
		if err := read(ctx, key, t); err != nil {
			return err
		}
		for _, adder := range adders {
			t.missing(adder.id, first, min(first+chunk, adder.attempts))
		}
	}
	return nil
}

// appends: APPEND of unique tokens to strings that all writers share.
func appends() work {
	return work{
		start: func(prefix string, id int) task {
			return &adder{id: id, kind: "APPEND", key: prefix + "text:", build: func(key string, id int, n int64) []string {
				return []string{"APPEND", key, fmt.Sprintf("%d.%d;", id, n)}
			}}
		},
		check: func(ctx context.Context, a *audit, tasks []task) error {
			return checkAdders(ctx, a, tasks, func(ctx context.Context, key string, t *tokens) error {
				text, err := a.askText(ctx, "GET", key)
				for word := range strings.SplitSeq(strings.TrimSuffix(text, ";"), ";") {
					var k token
					if n, _ := fmt.Sscanf(word+";", "%d.%d;", &k.writer, &k.n); word != "" {
						t.see(k, word, n == 2)
					}
				}
				return err
			})
		},
	}
}

// entries: XADD of unique entries to streams that all writers share.
func entries() work {
	return work{
		start: func(prefix string, id int) task {
			return &adder{id: id, kind: "XADD", key: prefix + "stream:", build: func(key string, id int, n int64) []string {
				return []string{"XADD", key, "*", strconv.Itoa(id), strconv.FormatInt(n, 10)}
			}}
		},
		check: func(ctx context.Context, a *audit, tasks []task) error {
			return checkAdders(ctx, a, tasks, func(ctx context.Context, key string, t *tokens) error {
				replies, err := a.ask(ctx, shards.Command{"XRANGE", key, "-", "+"})
				if err != nil {
					return err
				}
				list, _ := replies[0].([]any)
				for _, entry := range list {
					text := fmt.Sprint(entry) // [ID [writer number]]
					var stream string
					var k token
					n, _ := fmt.Sscanf(text, "[%s [%d %d]]", &stream, &k.writer, &k.n)
					t.see(k, text, n == 3)
				}
				return nil
			})
		},
	}
}

// slotsOfOwn is how many pieces of a shared string each writer has.
const (
	slotsOfOwn = 32
	pieceSize  = 12
)

// piece overwrites pieces of a string that all writers share, one after the other.
type piece struct {
	outcomes
	id  int
	key string
}

func (t *piece) name() string { return "SETRANGE" }

func (t *piece) next(time.Duration) write {
	n := t.outcomes.next()
	offset := (int64(t.id)*slotsOfOwn + n%slotsOfOwn) * pieceSize
	return newWrite(t.key, "SETRANGE", t.key, strconv.FormatInt(offset, 10), fmt.Sprintf("%0*d", pieceSize, n))
}

func (t *piece) end(is outcome, _ reply) { t.outcomes.end(is) }

// ranges: SETRANGE of a writer's own pieces of a string that all share. The last
// acknowledged is to be found, or one that is unknown.
func ranges() work {
	return work{
		start: func(prefix string, id int) task { return &piece{id: id, key: prefix + "pieces"} },
		check: func(ctx context.Context, a *audit, tasks []task) error {
			for _, t := range tasks {
				if err := t.(*piece).check(ctx, a); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (t *piece) check(ctx context.Context, a *audit) error {
	for own := range min(slotsOfOwn, t.attempts) {
		at := (int64(t.id)*slotsOfOwn + own) * pieceSize
		text, err := a.askText(ctx, "GETRANGE", t.key, at, at+pieceSize-1)
		if err != nil {
			return err
		}
		found, err := strconv.ParseInt(strings.Trim(text, "\x00"), 10, 64)
		if err != nil || found%slotsOfOwn != own {
			found = -1
		}
		last := int64(-1) // acknowledged
		for n := own; n < t.attempts; n += slotsOfOwn {
			if t.of(n) == acked {
				last = n
			}
		}
		acks, _ := t.count(own, slotsOfOwn)
		a.report.Found += acks
		switch is := t.of(found); {
		case found == last || is == unknown:
		case is == refused || found > last:
			a.doubled(1, "%s holds %.20q at %d, which was never set", t.key, text, at)
		default:
			a.report.Found -= acks
			a.lost(1, "%s holds %.20q at %d, acknowledged %d", t.key, text, at, last)
		}
	}
	return nil
}
