package load

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"godwit/internal/shards"
)

// raiser raises numbers within a value that all writers share, by one or by half of
// one (both are exact as floats): attempt n that of steps[n % len(steps)].
type raiser struct {
	outcomes
	id    int
	kind  string
	key   string
	steps []raise
	own   []bounds // of the steps that are the writer's own
}

// raise is one of them.
type raise struct {
	command []string // without the key, which comes second
	member  string
	float   bool
	own     bool
}

func (t *raiser) name() string { return t.kind }

func (t *raiser) step() (int, raise) {
	i := int((t.attempts - 1) % int64(len(t.steps)))
	return i, t.steps[i]
}

func (t *raiser) next(time.Duration) write {
	t.outcomes.next()
	_, step := t.step()
	args := append([]string{step.command[0], t.key}, step.command[1:]...)
	return newWrite(t.key, args...)
}

func (t *raiser) end(is outcome, r reply) {
	t.outcomes.end(is)
	i, step := t.step()
	if !step.own {
		return
	}
	value := r.integer
	if r.text != "" {
		value = step.times(r.text)
	}
	t.own[i].end(is, value)
}

// times is how often it was done, by the number.
func (r raise) times(text string) int64 {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return -1
	}
	if r.float {
		number *= 2
	}
	return int64(number)
}

func newRaiser(id int, kind, key string, steps ...raise) *raiser {
	return &raiser{id: id, kind: kind, key: key, steps: steps, own: make([]bounds, len(steps))}
}

// fields: HINCRBY and HINCRBYFLOAT of fields, the writer's own and shared ones.
func fields() work {
	return work{
		start: func(prefix string, id int) task {
			own := strconv.Itoa(id)
			return newRaiser(id, "HINCRBY", prefix+"fields",
				raise{command: []string{"HINCRBY", "all", "1"}, member: "all"},
				raise{command: []string{"HINCRBY", own, "1"}, member: own, own: true},
				raise{command: []string{"HINCRBYFLOAT", "all:float", "0.5"}, member: "all:float", float: true},
				raise{command: []string{"HINCRBYFLOAT", own + ":float", "0.5"}, member: own + ":float", float: true, own: true},
			)
		},
		check: func(ctx context.Context, a *audit, tasks []task) error { return checkRaisers(ctx, a, tasks, "HGET") },
	}
}

// scores: ZINCRBY of a member of its own and of one that is shared.
func scores() work {
	return work{
		start: func(prefix string, id int) task {
			own := strconv.Itoa(id)
			return newRaiser(id, "ZINCRBY", prefix+"scores",
				raise{command: []string{"ZINCRBY", "1", "all"}, member: "all"},
				raise{command: []string{"ZINCRBY", "0.5", own}, member: own, float: true, own: true},
			)
		},
		check: func(ctx context.Context, a *audit, tasks []task) error { return checkRaisers(ctx, a, tasks, "ZSCORE") },
	}
}

func checkRaisers(ctx context.Context, a *audit, tasks []task, read string) error {
	first := tasks[0].(*raiser)
	for i, step := range first.steps {
		var low, high int64
		for _, t := range tasks {
			t := t.(*raiser)
			acks, unknowns := t.count(int64(i), int64(len(t.steps)))
			if !step.own {
				low, high = low+acks, high+acks+unknowns
				continue
			}
			what := t.key + " " + t.steps[i].member
			a.replied(what, t.own[i])
			if err := a.member(ctx, read, t.key, t.steps[i], t.own[i].low, t.own[i].high); err != nil {
				return err
			}
		}
		if !step.own {
			if err := a.member(ctx, read, first.key, step, low, high); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *audit) member(ctx context.Context, read, key string, step raise, low, high int64) error {
	text, err := a.askText(ctx, read, key, step.member)
	if err != nil {
		return err
	}
	var found int64
	if text != "" {
		found = step.times(text)
	}
	a.number(key+" "+step.member, found, low, high)
	return nil
}

// place names keys that have one slot, or several.
func place(prefix string, id int, together bool, name string) func(suffix string) string {
	tag := fmt.Sprintf("%s%d:%s:", prefix, id, name)
	if together {
		tag = "{" + tag + "}"
	}
	return func(suffix string) string { return tag + suffix }
}

// apart says it in the name of a task.
func apart(name string, together bool) string {
	if together {
		return name
	}
	return name + " across slots"
}

// pair raises two counters in one transaction.
type pair struct {
	outcomes
	together bool
	one, two string
	bounds   bounds
}

func (t *pair) name() string { return apart("MULTI INCR", t.together) }

func (t *pair) next(time.Duration) write {
	t.outcomes.next()
	w := write{key: []byte(t.one), replies: 4}
	for _, command := range [][]string{{"MULTI"}, {"INCR", t.one}, {"INCR", t.two}, {"EXEC"}} {
		w.wire = append(w.wire, encode(command...)...)
	}
	return w
}

func (t *pair) end(is outcome, r reply) {
	t.outcomes.end(is)
	var value int64
	if len(r.elements) == 2 {
		value = r.elements[0].integer
	}
	t.bounds.end(is, value)
}

// pairs: MULTI, INCR of two keys, EXEC: both or none.
func pairs(together bool) work {
	return work{
		start: func(prefix string, id int) task {
			key := place(prefix, id, together, "pair")
			return &pair{together: together, one: key("one"), two: key("two")}
		},
		check: func(ctx context.Context, a *audit, tasks []task) error {
			for _, t := range tasks {
				if err := t.(*pair).check(ctx, a); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (t *pair) check(ctx context.Context, a *audit) error {
	replies, err := a.ask(ctx, shards.Command{"GET", t.one}, shards.Command{"GET", t.two})
	if err != nil {
		return err
	}
	var found [2]int64
	for i, r := range replies {
		text, _ := r.(string)
		if text != "" {
			if found[i], err = strconv.ParseInt(text, 10, 64); err != nil {
				return err
			}
		}
	}
	a.replied(t.one, t.bounds)
	a.number(t.one, found[0], t.bounds.low, t.bounds.high)
	if found[0] != found[1] {
		a.lost(1, "%s is %d, and %s, raised in the same transactions, %d", t.one, found[0], t.two, found[1])
	}
	return nil
}
