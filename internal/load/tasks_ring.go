package load

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"godwit/internal/shards"
)

// ringTokens is how many tokens a ring has.
const ringTokens = 5

// ring pushes tokens onto a list once, and moves them between two lists from then on.
type ring struct {
	outcomes
	id       int
	together bool
	lists    [2]string
}

func (t *ring) name() string { return apart("RPOPLPUSH", t.together) }

func (t *ring) next(time.Duration) write {
	n := t.outcomes.next()
	one, two := t.lists[0], t.lists[1]
	switch {
	case n < ringTokens:
		return newWrite(one, "LPUSH", one, strconv.FormatInt(n, 10))
	case n%3 == 0:
		return newWrite(two, "RPOPLPUSH", two, one)
	case n%6 == 1:
		return newWrite(one, "LMOVE", one, two, "RIGHT", "RIGHT") // 6.2
	default:
		return newWrite(one, "RPOPLPUSH", one, two)
	}
}

func (t *ring) end(is outcome, _ reply) { t.outcomes.end(is) }

// rings: RPOPLPUSH and LMOVE between two lists of the writer's own, for ever: no token
// is lost, none doubled. Which list it is in the comparison of two deployments tells.
func rings(together bool) work {
	return work{
		start: func(prefix string, id int) task {
			key := place(prefix, id, together, "ring")
			return &ring{id: id, together: together, lists: [2]string{key("one"), key("two")}}
		},
		check: func(ctx context.Context, a *audit, tasks []task) error {
			for _, t := range tasks {
				if err := t.(*ring).check(ctx, a); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (t *ring) check(ctx context.Context, a *audit) error {
	replies, err := a.ask(ctx, shards.Command{"LRANGE", t.lists[0], 0, -1}, shards.Command{"LRANGE", t.lists[1], 0, -1})
	if err != nil {
		return err
	}
	found := make(map[string]int64)
	for _, r := range replies {
		list, _ := r.([]any)
		for _, element := range list {
			found[fmt.Sprint(element)]++
		}
	}
	for n := range int64(ringTokens) {
		name := strconv.FormatInt(n, 10)
		low, high := int64(0), int64(0)
		switch t.of(n) {
		case acked:
			low, high = 1, 1
		case unknown:
			high = 1
		case refused, never:
		}
		a.number(t.lists[0]+" and the other list: token "+name, found[name], low, high)
		delete(found, name)
	}
	for name, times := range found {
		a.doubled(times, "%s or the other list holds %.20q, never pushed", t.lists[0], name)
	}
	moves, _ := t.count(ringTokens, 1)
	a.report.Found += moves // nothing tells them from one another
	return nil
}
