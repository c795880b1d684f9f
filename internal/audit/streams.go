package audit

import (
	"fmt"
	"slices"
	"strings"
)

// compareStreams compares two replies to XINFO STREAM key FULL COUNT 0 (t_stream.c
// xinfoReplyWithStreamInfo): entries, groups, consumers and pending entries. When
// a consumer was last seen is not compared: a replica keeps its own time.
func compareStreams(a, b map[string]any, o Options) string {
	optional := optionalFields(a, b, o)
	return compareEntries("", streamParts(a, optional), streamParts(b, optional))
}

// readField is that of a group; the others are a stream's.
const readField = "entries-read"

// optionalFields lists what only newer servers keep, where both do.
func optionalFields(a, b map[string]any, o Options) []string {
	var both []string
	for _, field := range []string{"entries-added", "max-deleted-entry-id", "idmp-duration", "idmp-maxsize"} {
		_, inA := a[field]
		_, inB := b[field]
		if inA && inB {
			both = append(both, field)
		}
	}
	// It came with the stream's counter, in 7.0.
	if slices.Contains(both, "entries-added") && !o.NoEntriesRead {
		both = append(both, readField)
	}
	return both
}

// streamParts takes a stream to pieces with a name each, for compareEntries.
func streamParts(info map[string]any, optional []string) []entry {
	parts := streamHeader(info, optional)
	for _, e := range array(info["entries"]) {
		if e := array(e); len(e) == 2 {
			parts = append(parts, entry{"entry " + text(e[0]), joined(e[1])})
		}
	}
	for _, g := range array(info["groups"]) {
		group := fieldMap(g)
		name := "group " + text(group["name"])
		parts = append(parts, groupHeader(name, group, optional)...)
		for _, c := range array(group["consumers"]) {
			consumer := fieldMap(c)
			parts = append(parts, entry{name: name + " consumer " + text(consumer["name"])})
		}
		for _, pending := range array(group["pending"]) {
			if p := array(pending); len(p) == 4 { // ID, consumer, delivery time, deliveries
				parts = append(parts, entry{
					name + " pending " + text(p[0]),
					fmt.Sprintf("consumer %s at %d, %d deliveries", text(p[1]), number(p[2]), number(p[3])),
				})
			}
		}
	}
	return parts
}

// streamHeader reads what XINFO STREAM says with and without FULL.
func streamHeader(info map[string]any, optional []string) []entry {
	parts := []entry{{"last ID", text(info["last-generated-id"])}}
	for _, field := range optional {
		if field != readField {
			parts = append(parts, entry{field, fmt.Sprint(info[field])})
		}
	}
	return parts
}

// groupHeader reads what XINFO STREAM FULL and XINFO GROUPS both say.
func groupHeader(name string, group map[string]any, optional []string) []entry {
	parts := []entry{{name, "last delivered " + text(group["last-delivered-id"])}}
	if slices.Contains(optional, readField) {
		parts = append(parts, entry{name + " entries read", fmt.Sprint(group[readField])})
	}
	return parts
}

func joined(fields any) string {
	var b strings.Builder
	for i, field := range array(fields) {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%q", text(field))
	}
	return b.String()
}
