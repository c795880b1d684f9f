package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// item is a key whose value is to be compared; both sides have it with this type.
type item struct {
	key    string
	typ    string
	memory int64
}

// groupBytes bounds the values that are in our memory at once, on each side.
const groupBytes = 32 << 20

func (p pair) compareValues(ctx context.Context, items []item) ([]Difference, error) {
	var found []Difference
	var group []item
	var size int64
	flush := func() error {
		differences, err := p.compareGroup(ctx, group)
		found = append(found, differences...)
		group, size = group[:0], 0
		return err
	}
	for _, it := range items {
		if it.memory >= p.options.LargeValue || it.typ == typeVectorSet {
			kind := Value
			detail, err := p.compareLarge(ctx, it)
			if err == nil && detail == "" && it.typ == "hash" {
				kind = TTL
				detail, err = p.compareLargeFieldTTLs(ctx, it)
			}
			if err != nil {
				return nil, fmt.Errorf("key %.100q: %w", it.key, err)
			}
			if detail != "" {
				found = append(found, p.difference(it.key, kind, "%s", detail))
			}
			continue
		}
		if size+it.memory > groupBytes {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		group = append(group, it)
		size += it.memory
	}
	return found, flush()
}

// compareGroup reads whole values, those of all the items at once.
func (p pair) compareGroup(ctx context.Context, items []item) ([]Difference, error) {
	commands := make([]command, len(items))
	for i, it := range items {
		commands[i] = readAll(it)
	}
	inA, inB, err := p.askSame(ctx, commands)
	if err != nil {
		return nil, err
	}
	var found []Difference
	var hashes []hashFields
	for i, it := range items {
		detail := compareReplies(it.typ, inA[i], inB[i], p.options)
		switch {
		case detail != "":
			found = append(found, p.difference(it.key, Value, "%s", detail))
		case it.typ == "hash" && len(array(inA[i])) > 0: // one whose fields have all expired looks empty
			hashes = append(hashes, hashFields{it.key, evenOnes(array(inA[i]))})
		}
	}
	details, err := p.compareFieldTTLs(ctx, hashes)
	for i, detail := range details {
		if detail != "" {
			found = append(found, p.difference(hashes[i].key, TTL, "%s", detail))
		}
	}
	return found, err
}

func readAll(it item) command {
	switch it.typ {
	case "string":
		return command{"GET", it.key}
	case "list":
		return command{"LRANGE", it.key, 0, -1}
	case "set":
		return command{"SMEMBERS", it.key}
	case "hash":
		return command{"HGETALL", it.key}
	case "zset":
		return command{"ZRANGE", it.key, 0, -1, "WITHSCORES"}
	case "stream":
		return command{"XINFO", "STREAM", it.key, "FULL", "COUNT", 0}
	default: // a module's type, or a new one: only its serialized form is known
		return command{"DUMP", it.key}
	}
}

// compareReplies gives what differs between two values, "" if nothing does.
func compareReplies(typ string, a, b any, o Options) string {
	if sameReply(a, b) { // what most are: the same elements in the same order
		return ""
	}
	switch typ {
	case "string":
		return quote(text(a)) + ", " + quote(text(b))
	case "list":
		return compareLists(array(a), array(b), 0)
	case "set":
		return compareEntries("member", members(a), members(b))
	case "hash":
		return compareEntries("field", fields(a), fields(b))
	case "zset":
		return compareEntries("member", scores(a), scores(b))
	case "stream":
		return compareStreams(fieldMap(a), fieldMap(b), o)
	default:
		return fmt.Sprintf("DUMP of type %s differs: %s, %s", typ, quote(text(a)), quote(text(b)))
	}
}

func sameReply(a, b any) bool {
	x, ok := a.([]any)
	if !ok {
		return a == b
	}
	y, ok := b.([]any)
	return ok && slices.EqualFunc(x, y, sameReply)
}

// compareLists compares elements in order; the first of them has this index.
func compareLists(a, b []any, first int) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return fmt.Sprintf("element %d only in b: %s", first+i, quote(text(b[i])))
		case i >= len(b):
			return fmt.Sprintf("element %d only in a: %s", first+i, quote(text(a[i])))
		case a[i] != b[i]:
			return fmt.Sprintf("element %d: %s, %s", first+i, quote(text(a[i])), quote(text(b[i])))
		}
	}
	return ""
}

// entry is one part of a value whose parts have names and no order.
type entry struct{ name, value string }

func members(reply any) []entry {
	list := array(reply)
	entries := make([]entry, len(list))
	for i, member := range list {
		entries[i].name = text(member)
	}
	return entries
}

func fields(reply any) []entry {
	flat := array(reply)
	entries := make([]entry, len(flat)/2)
	for i := range entries {
		entries[i] = entry{text(flat[2*i]), text(flat[2*i+1])}
	}
	return entries
}

func scores(reply any) []entry {
	entries := fields(reply)
	for i := range entries {
		entries[i].value = canonicalScore(entries[i].value)
	}
	return entries
}

// canonicalScore gives the shortest text of the very same float64. Servers
// before 7.2 print 17 digits, later ones as few as are needed (fpconv). Only
// minus zero becomes zero: a listpack stores it so from 7.0 on, a skiplist not.
func canonicalScore(s string) string {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	if f == 0 {
		f = 0 // drops the sign
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// compareEntries gives the first difference in the order of names, and how many
// there are. It sorts both slices.
func compareEntries(what string, a, b []entry) string {
	byName := func(x, y entry) int {
		return cmp.Or(strings.Compare(x.name, y.name), strings.Compare(x.value, y.value))
	}
	slices.SortFunc(a, byName)
	slices.SortFunc(b, byName)
	first, count := "", 0
	note := func(format string, args ...any) {
		if count++; count == 1 {
			first = what + " " + fmt.Sprintf(format, args...)
		}
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].name < b[0].name:
			note("%s only in a: %s", quote(a[0].name), quote(a[0].value))
			a = a[1:]
		case len(a) == 0 || a[0].name > b[0].name:
			note("%s only in b: %s", quote(b[0].name), quote(b[0].value))
			b = b[1:]
		default:
			if a[0].value != b[0].value {
				note("%s: %s, %s", quote(a[0].name), quote(a[0].value), quote(b[0].value))
			}
			a, b = a[1:], b[1:]
		}
	}
	if count > 1 {
		return fmt.Sprintf("%s, and %d more", first, count-1)
	}
	return first
}

// evenOnes gives the names of a flat list of names and values.
func evenOnes(flat []any) []any {
	names := make([]any, 0, len(flat)/2)
	for i := 0; i < len(flat); i += 2 {
		names = append(names, flat[i])
	}
	return names
}

// hashFields are fields of one hash.
type hashFields struct {
	key    string
	fields []any
}

// compareFieldTTLs gives what differs for each of the hashes, "" for nothing. On
// a server without HPEXPIRETIME no field has a TTL.
func (p pair) compareFieldTTLs(ctx context.Context, hashes []hashFields) ([]string, error) {
	if !p.a.fieldTTLs() && !p.b.fieldTTLs() {
		return nil, nil
	}
	commands := make([]command, len(hashes))
	for i, h := range hashes {
		commands[i] = append(command{"HPEXPIRETIME", h.key, "FIELDS", len(h.fields)}, h.fields...)
	}
	commandsFor := func(s *side) []command {
		if s.fieldTTLs() {
			return commands
		}
		return nil
	}
	inA, inB, err := p.ask(ctx, commandsFor(p.a), commandsFor(p.b))
	if err != nil {
		return nil, err
	}
	details := make([]string, len(hashes))
	for i, h := range hashes {
		for n, field := range h.fields {
			a, b := fieldExpiry(inA, i, n), fieldExpiry(inB, i, n)
			if !a.equal(b, p.options.TTLTolerance) {
				details[i] = fmt.Sprintf("field %s: %v, %v", quote(text(field)), a, b)
				break
			}
		}
	}
	return details, nil
}

func fieldExpiry(replies []any, hash, field int) expiry {
	if replies == nil {
		return expiry{never, never}
	}
	at := array(replies[hash])
	if field >= len(at) || number(at[field]) < 0 {
		return expiry{never, never}
	}
	return expiry{number(at[field]), number(at[field])}
}

func decimal(reply any) int64 {
	n, err := strconv.ParseInt(text(reply), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
