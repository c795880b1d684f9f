package verify

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/rdb"
)

// contrastStreams contrasts the entries, then the last IDs, the groups, and at last
// the counters, which not every server has.
func contrastStreams(a, b *rdb.Value) contrast {
	for _, c := range []contrast{
		contrastEntries(a.Entries, b.Entries),
		contrastAny("the last ID", idText(a.Stream.LastID), idText(b.Stream.LastID)),
		contrastGroups(a.Stream.Groups, b.Stream.Groups),
		contrastAny("the greatest deleted ID", idText(a.Stream.MaxDeletedID), idText(b.Stream.MaxDeletedID)),
		contrastAny("the number of entries ever added", fmt.Sprint(a.Stream.EntriesAdded), fmt.Sprint(b.Stream.EntriesAdded)),
		contrastEntriesRead(a.Stream.Groups, b.Stream.Groups),
	} {
		if c.detail != "" {
			return c
		}
	}
	return unseen()
}

// contrastAny contrasts two things as they are shown.
func contrastAny(what, a, b string) contrast {
	if a == b {
		return contrast{}
	}
	return contrast{what + " differs", a, b}
}

// contrastEach gives the first contrast of what two sorted lists have; what says
// what an element is, show how it looks, and more compares two of the same name.
func contrastEach[T any](a, b []T, compare func(a, b T) int, what, show func(*T) string, more func(a, b *T) contrast) (first contrast) {
	walk(a, b, compare, func(x, y *T) {
		switch {
		case first.detail != "":
		case y == nil:
			first = contrast{what(x) + " is only at the source", show(x), absent}
		case x == nil:
			first = contrast{what(y) + " is only at the target", absent, show(y)}
		default:
			first = more(x, y)
		}
	})
	return first
}

func contrastEntries(a, b []rdb.StreamEntry) contrast {
	what := func(e *rdb.StreamEntry) string { return "entry " + idText(e.ID) }
	return contrastEach(a, b, byID(func(e rdb.StreamEntry) rdb.StreamID { return e.ID }), what, entryText, func(x, y *rdb.StreamEntry) contrast {
		if slices.EqualFunc(x.Fields, y.Fields, bytes.Equal) {
			return contrast{}
		}
		return contrast{what(x) + " differs", entryText(x), entryText(y)}
	})
}

func contrastGroups(a, b []rdb.StreamGroup) contrast {
	what := func(g *rdb.StreamGroup) string { return "group " + quoted(g.Name, 0) }
	show := func(g *rdb.StreamGroup) string {
		return fmt.Sprintf("last ID %s, %d pending, %d consumers", idText(g.LastID), len(g.Pending), len(g.Consumers))
	}
	name := byName(func(g rdb.StreamGroup) []byte { return g.Name })
	return contrastEach(slices.SortedFunc(slices.Values(a), name), slices.SortedFunc(slices.Values(b), name), name, what, show,
		func(x, y *rdb.StreamGroup) contrast {
			c := contrastGroup(x, y)
			if c.detail != "" {
				c.detail = what(x) + ": " + c.detail
			}
			return c
		})
}

// delivery is a pending entry and whose it is.
type delivery struct {
	rdb.PendingEntry
	consumer []byte
}

// deliveries are the pending entries of a group, by their IDs.
func deliveries(g *rdb.StreamGroup) []delivery {
	owners := make(map[rdb.StreamID][]byte)
	for _, c := range g.Consumers {
		for _, id := range c.Pending {
			owners[id] = c.Name
		}
	}
	all := make([]delivery, len(g.Pending))
	for i, p := range g.Pending {
		all[i] = delivery{p, owners[p.ID]}
	}
	slices.SortFunc(all, byID(func(d delivery) rdb.StreamID { return d.ID }))
	return all
}

func (d *delivery) String() string {
	return fmt.Sprintf("of consumer %s, delivered at %d, %d times", quoted(d.consumer, 0), d.DeliveredAt, d.Deliveries)
}

func contrastGroup(a, b *rdb.StreamGroup) contrast {
	if c := contrastAny("the last ID", idText(a.LastID), idText(b.LastID)); c.detail != "" {
		return c
	}
	what := func(d *delivery) string { return "pending entry " + idText(d.ID) }
	c := contrastEach(deliveries(a), deliveries(b), byID(func(d delivery) rdb.StreamID { return d.ID }), what, (*delivery).String,
		func(x, y *delivery) contrast { return contrastAny(what(x), x.String(), y.String()) })
	if c.detail != "" {
		return c
	}
	return contrastAny("the consumers", consumers(a), consumers(b))
}

func consumers(g *rdb.StreamGroup) string {
	names := make([]string, len(g.Consumers))
	for i, c := range g.Consumers {
		names[i] = quoted(c.Name, 0)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// contrastEntriesRead is for groups that are otherwise the same.
func contrastEntriesRead(a, b []rdb.StreamGroup) contrast {
	for _, g := range a {
		i := slices.IndexFunc(b, func(other rdb.StreamGroup) bool { return bytes.Equal(other.Name, g.Name) })
		if i < 0 {
			continue
		}
		what := fmt.Sprintf("group %s: the number of entries read", quoted(g.Name, 0))
		if c := contrastAny(what, fmt.Sprint(g.EntriesRead), fmt.Sprint(b[i].EntriesRead)); c.detail != "" {
			return c
		}
	}
	return contrast{}
}
