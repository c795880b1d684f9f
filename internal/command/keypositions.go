package command

import "fmt"

// layout says where a command has its keys.
type layout struct {
	find              find
	first, last, step int // as in KeySpec; first is also where a count or the options are
}

type find uint8

const (
	findRange       find = iota // from first to last
	findCounted                 // as many as the argument at first says, which they follow
	findDestination             // the argument 1, then as findCounted
	findStore                   // the argument 1, and that of STORE or STOREDIST
)

func inRange(first, last, step int) layout { return layout{findRange, first, last, step} }

func countedAt(at, step int) layout { return layout{find: findCounted, first: at, step: step} }

// append appends the positions of the keys of a command among its arguments, at
// least one.
func (l layout) append(dst []int, c *placement, args [][]byte) ([]int, error) {
	switch l.find {
	case findCounted:
		return l.appendCounted(dst, c, args, l.step)
	case findDestination:
		if len(args) < 2 {
			return dst, c.malformed("it has no key")
		}
		return l.appendCounted(append(dst, 1), c, args, 1)
	case findStore:
		if len(args) < 2 {
			return dst, c.malformed("it has no key")
		}
		dst = append(dst, 1)
		if at := l.store(c, args); at > 0 {
			dst = append(dst, at)
		}
		return dst, nil
	default:
		last := l.last
		if last < 0 {
			last += len(args)
		}
		if last < l.first || last >= len(args) {
			return dst, c.malformed("it has too few arguments")
		}
		if (last-l.first+1)%l.step != 0 { // MSET key value …
			return dst, c.malformed("its arguments do not come in groups of %d", l.step)
		}
		for i := l.first; i <= last; i += l.step {
			dst = append(dst, i)
		}
		return dst, nil
	}
}

func (l layout) appendCounted(dst []int, c *placement, args [][]byte, step int) ([]int, error) {
	if l.first >= len(args) {
		return dst, c.malformed("it has too few arguments")
	}
	n, ok := integer(args[l.first])
	switch room := int64(len(args)-l.first-1) / int64(step); {
	case ok && n == 0 && c.script():
		return dst, &PlaceError{
			Command: c.name, Reason: "it names no key",
			Hint: "have scripts replicated by their effects: lua-replicate-commands yes, as is the default from 5.0 on",
		}
	case !ok || n < 1 || n > room:
		return dst, c.malformed("it does not have %s keys", printable(args[l.first]))
	}
	for i, at := int64(0), l.first+1; i < n; i, at = i+1, at+step {
		dst = append(dst, at)
	}
	return dst, nil
}

// store finds the key that follows STORE or STOREDIST, the last one if there are
// several; 0 if there is none. Options that take arguments are stepped over, as the
// servers do (db.c sortGetKeys, geo.c georadiusGetKeys).
func (l layout) store(c *placement, args [][]byte) int {
	found := 0
	for i := l.first; i+1 < len(args); i++ {
		switch {
		case c.name == "SORT" && is(args[i], "LIMIT"):
			i += 2
		case c.name == "SORT" && isOneOf(args[i], "BY", "GET"):
			i++
		case is(args[i], "STORE"), c.name != "SORT" && is(args[i], "STOREDIST"):
			found = i + 1
			i++
		}
	}
	return found
}

func (c *placement) script() bool {
	return c.name == "EVAL" || c.name == "EVALSHA" || c.name == "FCALL"
}

func (c *placement) malformed(reason string, args ...any) error {
	return &PlaceError{
		Command: c.name, Reason: fmt.Sprintf(reason, args...),
		Hint: "no server that is known propagates such a command: please report it, with the source's version",
	}
}
