package load

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/internal/shards"
)

// scenario is a few commands on keys of their own, one after the other, and what the
// keys hold after each of them. $a, $b and $c are the keys, $v is a value that occurs
// once; | is between the commands of a step that is a transaction, MULTI and EXEC apart.
type scenario struct {
	name  string
	steps []step
}

// step is a command, and the keys that there are after it, such as "a=list:1,2 b=set:3":
// see canonical. A step always changes that.
type step struct{ command, after string }

func scenarioKeys() []string { return []string{"a", "b", "c"} }

// play plays scenarios, each group of keys one. Once the outcome of a step is not
// known, or was an error, the group is left as it is: so it is known what it can hold.
type play struct {
	id       int
	number   int // of several of the same writer
	together bool
	prefix   string
	list     []scenario
	groups   []group
}

// group is one set of keys: with n steps done, its keys are as after the n-th; there
// may be one more if that is unknown.
type group struct {
	done    int
	unknown bool
	over    bool
}

func (t *play) name() string {
	return apart(t.scenario(len(t.groups)-1).name, t.together)
}

// scenario of a group: each writer begins with another.
func (t *play) scenario(g int) scenario { return t.list[(g+t.id+t.number*len(t.list)/2)%len(t.list)] }

// expand puts the names and the value of a group into a text.
func (t *play) expand(g int, text string) string {
	key := place(t.prefix, t.id, t.together, fmt.Sprintf("play%d:%d", t.number, g))
	pairs := []string{"$v", fmt.Sprintf("v%d.%d", t.id, g)}
	for _, name := range scenarioKeys() {
		pairs = append(pairs, "$"+name, key(name))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (t *play) next(time.Duration) write {
	if n := len(t.groups); n == 0 || t.groups[n-1].over || t.groups[n-1].done == len(t.scenario(n-1).steps) {
		t.groups = append(t.groups, group{})
	}
	g := len(t.groups) - 1
	text := t.expand(g, t.scenario(g).steps[t.groups[g].done].command)
	commands := strings.Split(text, "|")
	w := write{key: []byte(t.expand(g, "$a")), replies: len(commands)}
	if len(commands) > 1 {
		commands = append(append([]string{"MULTI"}, commands...), "EXEC")
		w.replies = len(commands)
	}
	for _, command := range commands {
		w.wire = append(w.wire, encode(strings.Fields(command)...)...)
	}
	return w
}

func (t *play) end(is outcome, _ reply) {
	g := &t.groups[len(t.groups)-1]
	switch is {
	case acked:
		g.done++
	case unknown:
		g.unknown, g.over = true, true
	case refused, never:
		g.over = true
	}
}

// scenarios: everything that is in scenarioList.
func scenarios(together bool, number int) work {
	return work{
		start: func(prefix string, id int) task {
			return &play{id: id, number: number, together: together, prefix: prefix, list: scenarioList()}
		},
		check: func(ctx context.Context, a *audit, tasks []task) error {
			for _, t := range tasks {
				if err := t.(*play).check(ctx, a); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// groupsAtOnce is how many groups are read in one pipeline.
const groupsAtOnce = 300

func (t *play) check(ctx context.Context, a *audit) error {
	for first := 0; first < len(t.groups); first += groupsAtOnce {
		last := min(first+groupsAtOnce, len(t.groups))
		var keys []string
		for g := first; g < last; g++ {
			for _, name := range scenarioKeys() {
				keys = append(keys, t.expand(g, "$"+name))
			}
		}
		values, err := canonical(ctx, a.session, keys)
		if err != nil {
			return err
		}
		for g := first; g < last; g++ {
			var found []string
			for i, name := range scenarioKeys() {
				if value := values[(g-first)*len(scenarioKeys())+i]; value != "" {
					found = append(found, name+"="+value)
				}
			}
			t.checkGroup(a, g, strings.Join(found, " "))
		}
	}
	return nil
}

// checkGroup looks how many steps have been done.
func (t *play) checkGroup(a *audit, g int, found string) {
	steps, is := t.scenario(g).steps, t.groups[g]
	after := func(done int) string {
		if done == 0 {
			return ""
		}
		return t.expand(g, steps[done-1].after)
	}
	most := is.done
	if is.unknown {
		most++
	}
	for done := is.done; done <= most; done++ {
		if found == after(done) {
			a.report.Found += int64(done)
			return
		}
	}
	what := fmt.Sprintf("%s: %s is %.200q after %d of its commands, which should be %.200q",
		t.expand(g, "$a"), t.scenario(g).name, found, is.done, after(is.done))
	for done := most + 1; done <= len(steps); done++ {
		if found == after(done) {
			a.report.Found += int64(done)
			a.doubled(int64(done-most), "%s", what)
			return
		}
	}
	a.lost(1, "%s", what)
}

// canonical reads values of any type in a form to compare: the type, a colon, and the
// parts with commas, a set's and a hash's in the order of their names; of a
// HyperLogLog the count. An exclamation mark follows if there is a TTL. A key that is
// not there is "".
func canonical(ctx context.Context, session *shards.Session, keys []string) ([]string, error) {
	looks := make([]shards.Command, 0, 2*len(keys))
	for _, key := range keys {
		looks = append(looks, shards.Command{"TYPE", key}, shards.Command{"PTTL", key})
	}
	replies, err := session.Ask(ctx, looks)
	if err != nil {
		return nil, err
	}
	var reads []shards.Command
	var present []int // indexes of the keys that are read
	for i, key := range keys {
		if typ, _ := replies[2*i].(string); typ != "none" {
			reads, present = append(reads, readCommand(typ, key)), append(present, i)
		}
	}
	read, err := session.Ask(ctx, reads)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(keys))
	for n, i := range present {
		typ, _ := replies[2*i].(string)
		value := joined(typ, read[n])
		if strings.HasPrefix(value, "HYLL") {
			// With the key twice the count is not written into it (hyperloglog.c).
			count, err := session.Ask(ctx, []shards.Command{{"PFCOUNT", keys[i], keys[i]}})
			if err != nil {
				return nil, err
			}
			typ, value = "hll", fmt.Sprint(count[0])
		}
		values[i] = typ + ":" + value
		if ttl, _ := replies[2*i+1].(int64); ttl >= 0 {
			values[i] += "!"
		}
	}
	return values, nil
}

func readCommand(typ, key string) shards.Command {
	switch typ {
	case "list":
		return shards.Command{"LRANGE", key, 0, -1}
	case "set":
		return shards.Command{"SMEMBERS", key}
	case "hash":
		return shards.Command{"HGETALL", key}
	case "zset":
		return shards.Command{"ZRANGE", key, 0, -1, "WITHSCORES"}
	case "stream":
		return shards.Command{"XRANGE", key, "-", "+"}
	default:
		return shards.Command{"GET", key}
	}
}

// joined writes a reply with commas between its parts.
func joined(typ string, reply any) string {
	list, ok := reply.([]any)
	if !ok {
		return fmt.Sprint(reply)
	}
	parts := make([]string, len(list))
	for i, part := range list {
		parts[i] = joined(typ, part)
	}
	switch typ {
	case "set":
		slices.Sort(parts)
	case "hash":
		var fields []string
		for i := 0; i+1 < len(parts); i += 2 {
			fields = append(fields, parts[i]+","+parts[i+1])
		}
		slices.Sort(fields)
		parts = fields
	}
	return strings.Join(parts, ",")
}
