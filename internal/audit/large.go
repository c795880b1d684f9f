package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	pieceBytes  = 4 << 20
	maxElements = 10_000 // in a piece, however small they are
)

// compareLarge reads a value in pieces, so that neither we nor the servers'
// output buffers have to hold it whole. It gives what differs, "" for nothing.
func (p pair) compareLarge(ctx context.Context, it item) (string, error) {
	if it.typ == typeVectorSet {
		return p.compareVectorSet(ctx, it)
	}
	length := map[string]string{
		"string": "STRLEN", "list": "LLEN", "set": "SCARD", "hash": "HLEN", "zset": "ZCARD", "stream": "XLEN",
	}[it.typ]
	if length == "" {
		return p.compareWhole(ctx, it)
	}
	lengthA, lengthB, err := p.askSame(ctx, []command{{length, it.key}})
	if err != nil {
		return "", err
	}
	total := number(lengthA[0])
	if total != number(lengthB[0]) {
		return fmt.Sprintf("%s is %d, %d", length, total, number(lengthB[0])), nil
	}
	step := max(1, min(maxElements, pieceBytes*total/max(1, it.memory)))
	switch it.typ {
	case "string":
		return p.compareRanges(ctx, it, "GETRANGE", total, pieceBytes)
	case "list":
		return p.compareRanges(ctx, it, "LRANGE", total, step)
	case "zset":
		return p.compareRanges(ctx, it, "ZRANGE", total, step)
	case "set":
		return p.compareLargeSet(ctx, it, step)
	case "hash":
		return p.compareLargeHash(ctx, it, step)
	default:
		return p.compareLargeStream(ctx, it, step)
	}
}

// compareWhole is for types that can only be read at once.
func (p pair) compareWhole(ctx context.Context, it item) (string, error) {
	inA, inB, err := p.askSame(ctx, []command{readAll(it)})
	if err != nil {
		return "", err
	}
	return compareReplies(it.typ, inA[0], inB[0], p.options), nil
}

// compareRanges compares what has an order, by index. Sorted sets have one:
// members of the same score are in the order of their bytes (t_zset.c zslInsert).
func (p pair) compareRanges(ctx context.Context, it item, read string, total, step int64) (string, error) {
	for first := int64(0); first < total; first += step {
		c := command{read, it.key, first, first + step - 1}
		if it.typ == "zset" {
			c = append(c, "WITHSCORES")
		}
		inA, inB, err := p.askSame(ctx, []command{c})
		if err != nil {
			return "", err
		}
		var detail string
		if it.typ == "list" {
			detail = compareLists(array(inA[0]), array(inB[0]), int(first))
		} else {
			detail = compareReplies(it.typ, inA[0], inB[0], p.options)
		}
		if detail != "" {
			if it.typ == "string" {
				detail = fmt.Sprintf("from byte %d on: %s", first, detail)
			}
			return detail, nil
		}
	}
	return "", nil
}

// compareLargeSet looks up each member of a in b. As both have the same number
// of them, they are then the same.
func (p pair) compareLargeSet(ctx context.Context, it item, step int64) (string, error) {
	return p.eachPiece(ctx, "SSCAN", it, step, func(piece []any) (string, error) {
		commands := make([]command, len(piece))
		for i, member := range piece {
			commands[i] = command{"SISMEMBER", it.key, member}
		}
		inB, err := p.atB.Ask(ctx, commands)
		if err != nil {
			return "", err
		}
		for i, member := range piece {
			if number(inB[i]) == 0 {
				return "member only in a: " + quote(text(member)), nil
			}
		}
		return "", nil
	})
}

// compareLargeHash does the same with fields and their values.
func (p pair) compareLargeHash(ctx context.Context, it item, step int64) (string, error) {
	return p.eachPiece(ctx, "HSCAN", it, step, func(piece []any) (string, error) {
		names := evenOnes(piece)
		if len(names) == 0 {
			return "", nil
		}
		inB, err := p.atB.Ask(ctx, []command{append(command{"HMGET", it.key}, names...)})
		if err != nil {
			return "", err
		}
		for i, value := range array(inB[0]) {
			if value != piece[2*i+1] {
				return fmt.Sprintf("field %s: %s, %s", quote(text(names[i])), quote(text(piece[2*i+1])), quote(text(value))), nil
			}
		}
		return "", nil
	})
}

func (p pair) compareLargeFieldTTLs(ctx context.Context, it item) (string, error) {
	if !p.a.fieldTTLs() && !p.b.fieldTTLs() {
		return "", nil
	}
	return p.eachPiece(ctx, "HSCAN", it, maxElements, func(piece []any) (string, error) {
		if len(piece) == 0 {
			return "", nil
		}
		details, err := p.compareFieldTTLs(ctx, []hashFields{{it.key, evenOnes(piece)}})
		return strings.Join(details, ""), err
	})
}

// eachPiece scans a collection of a until something differs.
func (p pair) eachPiece(ctx context.Context, scan string, it item, step int64, compare func([]any) (string, error)) (string, error) {
	for cursor := "0"; ; {
		replies, err := p.atA.Ask(ctx, []command{{scan, it.key, cursor, "COUNT", step}})
		if err != nil {
			return "", err
		}
		reply := array(replies[0])
		if len(reply) != 2 {
			return "", fmt.Errorf("%s: unexpected reply", scan)
		}
		detail, err := compare(array(reply[1]))
		if err != nil || detail != "" {
			return detail, err
		}
		if cursor = text(reply[0]); cursor == "0" {
			return "", nil
		}
	}
}

// compareLargeStream differs from compareStreams in that it does not compare the
// time of the last delivery of a pending entry: XPENDING gives only its age.
func (p pair) compareLargeStream(ctx context.Context, it item, step int64) (string, error) {
	entries := func(from string) command { return command{"XRANGE", it.key, from, "+", "COUNT", step} }
	if detail, err := p.eachIDRange(ctx, "entries", entries, step, nil); err != nil || detail != "" {
		return detail, err
	}
	inA, inB, err := p.askSame(ctx, []command{{"XINFO", "STREAM", it.key}, {"XINFO", "GROUPS", it.key}})
	if err != nil {
		return "", err
	}
	streamA, streamB := fieldMap(inA[0]), fieldMap(inB[0])
	optional := optionalFields(streamA, streamB, p.options)
	parts := func(stream map[string]any, groups []any) []entry {
		parts := streamHeader(stream, optional)
		for _, g := range groups {
			group := fieldMap(g)
			parts = append(parts, groupHeader("group "+text(group["name"]), group, optional)...)
		}
		return parts
	}
	groups := array(inA[1])
	if detail := compareEntries("", parts(streamA, groups), parts(streamB, array(inB[1]))); detail != "" {
		return detail, nil
	}
	for _, g := range groups {
		detail, err := p.compareLargeGroup(ctx, it, text(fieldMap(g)["name"]))
		if err != nil || detail != "" {
			return detail, err
		}
	}
	return "", nil
}

func (p pair) compareLargeGroup(ctx context.Context, it item, group string) (string, error) {
	inA, inB, err := p.askSame(ctx, []command{{"XINFO", "CONSUMERS", it.key, group}})
	if err != nil {
		return "", err
	}
	consumers := func(reply any) []entry {
		var names []entry
		for _, c := range array(reply) {
			names = append(names, entry{name: text(fieldMap(c)["name"])})
		}
		return names
	}
	if detail := compareEntries("group "+group+" consumer", consumers(inA[0]), consumers(inB[0])); detail != "" {
		return detail, nil
	}
	pending := func(from string) command {
		return command{"XPENDING", it.key, group, from, "+", maxElements}
	}
	withoutAge := func(reply []any) []any {
		if len(reply) != 4 {
			return reply
		}
		return []any{reply[0], reply[1], reply[3]}
	}
	return p.eachIDRange(ctx, "group "+group+" pending", pending, maxElements, withoutAge)
}

// eachIDRange compares what is read by stream IDs, each reply beginning with one.
func (p pair) eachIDRange(ctx context.Context, what string, read func(from string) command, step int64, strip func([]any) []any) (string, error) {
	for from := "-"; ; {
		inA, inB, err := p.askSame(ctx, []command{read(from)})
		if err != nil {
			return "", err
		}
		a, b := array(inA[0]), array(inB[0])
		same := func(x, y any) bool {
			if strip != nil {
				x, y = strip(array(x)), strip(array(y))
			}
			return sameReply(x, y)
		}
		if !slices.EqualFunc(a, b, same) {
			return fmt.Sprintf("%s differ from ID %s on", what, from), nil
		}
		if int64(len(a)) < step {
			return "", nil
		}
		last := array(a[len(a)-1])
		if from, err = nextID(text(last[0])); err != nil {
			return "", err
		}
	}
}

// nextID gives the smallest ID above this one. Ranges that exclude their first
// ID exist only since 6.2.
func nextID(id string) (string, error) {
	ms, seq, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return "", fmt.Errorf("stream ID %q: %w", id, err)
	}
	if n+1 != 0 {
		return fmt.Sprintf("%s-%d", ms, n+1), nil
	}
	m, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return "", fmt.Errorf("stream ID %q: %w", id, err)
	}
	return fmt.Sprintf("%d-0", m+1), nil
}
