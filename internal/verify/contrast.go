package verify

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/rdb"
)

// contrast is where two values first differ, and what each has there.
type contrast struct {
	detail         string
	source, target string // excerpts
}

const (
	// excerptBefore and excerptAfter are how many bytes are shown of a text before
	// the place where it differs, and from there on.
	excerptBefore, excerptAfter = 16, 48
	// excerptElements is how many elements are shown of a value of which only one
	// side has any.
	excerptElements = 3
	// absent is shown for what one side does not have.
	absent = "(nothing)"
)

// quoted is a text around a place, cut, in quotes, and with what is not printable
// escaped.
func quoted(b []byte, at int) string {
	from, to := max(0, min(at, len(b))-excerptBefore), min(len(b), at+excerptAfter)
	s := strconv.QuoteToASCII(string(b[from:to]))
	if from > 0 {
		s = "…" + s
	}
	if to < len(b) {
		s += "…"
	}
	return s
}

// firstDifference is where two texts begin to differ.
func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// contrastBytes contrasts two texts, pieces of larger ones that begin at base.
func contrastBytes(a, b []byte, base int64) contrast {
	i := firstDifference(a, b)
	c := contrast{"", quoted(a, i), quoted(b, i)}
	at := base + int64(i)
	switch {
	case i == len(a):
		c.detail = fmt.Sprintf("the source's ends after %d bytes, and the target's goes on", at)
	case i == len(b):
		c.detail = fmt.Sprintf("the target's ends after %d bytes, and the source's goes on", at)
	default:
		c.detail = fmt.Sprintf("byte %d differs", at)
	}
	return c
}

// contrastText contrasts two programs by their lines.
func contrastText(a, b []byte) contrast {
	i := firstDifference(a, b)
	line := 1 + bytes.Count(a[:i], []byte("\n"))
	return contrast{fmt.Sprintf("line %d differs", line), quoted(a, i), quoted(b, i)}
}

// contrastValues contrasts two values of a kind.
func contrastValues(a, b *rdb.Value) contrast {
	switch a.Kind {
	case rdb.StringValue:
		return contrastBytes(wholeOf(a), wholeOf(b), 0)
	case rdb.ListValue:
		return contrastLists(a.Elements, b.Elements)
	case rdb.SetValue, rdb.HashValue, rdb.ZsetValue:
		return contrastMembers(a, b)
	case rdb.StreamValue:
		return contrastStreams(a, b)
	default:
		i := firstDifference(a.Module.Data, b.Module.Data)
		return contrast{
			fmt.Sprintf("byte %d of what the module %s has saved differs", i, a.Module.ID.Name()), quoted(a.Module.Data, i), quoted(b.Module.Data, i),
		}
	}
}

// wholeOf is the only element of a string.
func wholeOf(v *rdb.Value) []byte {
	if len(v.Elements) == 0 {
		return nil
	}
	return v.Elements[0].Value
}

func contrastLists(a, b []rdb.Element) contrast {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return contrast{fmt.Sprintf("the source has %d elements, the target %d", len(a), len(b)), absent, quoted(b[i].Value, 0)}
		case i >= len(b):
			return contrast{fmt.Sprintf("the source has %d elements, the target %d", len(a), len(b)), quoted(a[i].Value, 0), absent}
		case !bytes.Equal(a[i].Value, b[i].Value):
			at := firstDifference(a[i].Value, b[i].Value)
			return contrast{fmt.Sprintf("element %d differs", i), quoted(a[i].Value, at), quoted(b[i].Value, at)}
		}
	}
	return unseen()
}

// unseen is for values that differ in nothing that can be shown.
func unseen() contrast {
	return contrast{detail: "they differ in what cannot be shown"}
}

// member is one of a set, hash or sorted set, and what belongs to it.
type member struct {
	name []byte
	rdb.Element
}

// members are those of a value, in the order of their names.
func members(v *rdb.Value) []member {
	all := make([]member, len(v.Elements))
	for i, e := range v.Elements {
		all[i] = member{name: e.Value, Element: e}
		if v.Kind == rdb.HashValue {
			all[i].name = e.Field
		}
	}
	slices.SortFunc(all, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	return all
}

// contrastMembers contrasts what has no order.
func contrastMembers(a, b *rdb.Value) contrast {
	word := "member"
	if a.Kind == rdb.HashValue {
		word = "field"
	}
	var first contrast
	count := 0
	walk(members(a), members(b), func(x, y member) int { return bytes.Compare(x.name, y.name) }, func(x, y *member) {
		if c := contrastMember(a.Kind, word, x, y); c.detail != "" {
			if count++; count == 1 {
				first = c
			}
		}
	})
	if count == 0 {
		return unseen()
	}
	if count > 1 {
		first.detail += fmt.Sprintf(" (and %d more differ)", count-1)
	}
	return first
}

// contrastMember contrasts one that one or both of the sides have.
func contrastMember(kind rdb.ValueKind, word string, a, b *member) contrast {
	switch {
	case b == nil:
		return contrast{fmt.Sprintf("%s %s is only at the source", word, quoted(a.name, 0)), a.excerpt(kind), absent}
	case a == nil:
		return contrast{fmt.Sprintf("%s %s is only at the target", word, quoted(b.name, 0)), absent, b.excerpt(kind)}
	}
	name := quoted(a.name, 0)
	switch {
	case kind == rdb.ZsetValue && a.Score != b.Score:
		return contrast{fmt.Sprintf("the score of member %s differs", name), score(a.Score), score(b.Score)}
	case kind == rdb.HashValue && !bytes.Equal(a.Value, b.Value):
		at := firstDifference(a.Value, b.Value)
		return contrast{fmt.Sprintf("the value of field %s differs", name), quoted(a.Value, at), quoted(b.Value, at)}
	case kind == rdb.HashValue && a.ExpireAt != b.ExpireAt:
		return contrast{fmt.Sprintf("field %s %s", name, ttlDetail(a.ExpireAt, b.ExpireAt)), expiry(a.ExpireAt), expiry(b.ExpireAt)}
	}
	return contrast{}
}

func (m *member) excerpt(kind rdb.ValueKind) string {
	switch kind {
	case rdb.HashValue:
		return quoted(m.name, 0) + ": " + quoted(m.Value, 0)
	case rdb.ZsetValue:
		return quoted(m.name, 0) + ": " + score(m.Score)
	default:
		return quoted(m.name, 0)
	}
}

// score has as many digits as tell it from every other.
func score(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// walk goes through two sorted lists together; what one does not have is nil.
func walk[T any](a, b []T, compare func(T, T) int, visit func(a, b *T)) {
	for i, j := 0, 0; i < len(a) || j < len(b); {
		order := 0
		switch {
		case i == len(a):
			order = 1
		case j == len(b):
			order = -1
		default:
			order = compare(a[i], b[j])
		}
		var x, y *T
		if order <= 0 {
			x = &a[i]
			i++
		}
		if order >= 0 {
			y = &b[j]
			j++
		}
		visit(x, y)
	}
}

// summary is the beginning of a value.
func summary(v *rdb.Value) string {
	switch v.Kind {
	case rdb.StringValue:
		return quoted(wholeOf(v), 0)
	case rdb.StreamValue:
		s := fmt.Sprintf("%d entries, last ID %s, %d groups", len(v.Entries), idText(v.Stream.LastID), len(v.Stream.Groups))
		if len(v.Entries) > 0 {
			s += ", " + entryText(&v.Entries[0])
		}
		return s
	case rdb.ModuleValue:
		return fmt.Sprintf("%d bytes of the module %s", len(v.Module.Data), v.Module.ID.Name())
	case rdb.ListValue:
		return some(v.Elements, func(e rdb.Element) string { return quoted(e.Value, 0) })
	default:
		return some(members(v), func(m member) string { return m.excerpt(v.Kind) })
	}
}

// some are the first elements, and how many there are.
func some[T any](all []T, show func(T) string) string {
	var shown []string
	for _, e := range all[:min(len(all), excerptElements)] {
		shown = append(shown, show(e))
	}
	s := "[" + strings.Join(shown, ", ")
	if len(all) > len(shown) {
		s += fmt.Sprintf(", … %d in all", len(all))
	}
	return s + "]"
}

func idText(id rdb.StreamID) string { return fmt.Sprintf("%d-%d", id.Ms, id.Seq) }

func entryText(e *rdb.StreamEntry) string {
	return idText(e.ID) + " " + some(e.Fields, func(f []byte) string { return quoted(f, 0) })
}

// byID orders by IDs.
func byID[T any](id func(T) rdb.StreamID) func(a, b T) int {
	return func(a, b T) int { return id(a).Compare(id(b)) }
}

// byName orders by names.
func byName[T any](name func(T) []byte) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(string(name(a)), string(name(b))) }
}
