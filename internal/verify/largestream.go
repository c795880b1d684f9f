package verify

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"godwit/internal/rdb"
)

// pendingPiece is how many pending entries are asked for between two looks at the
// server's clock: within a millisecond, most times.
const pendingPiece = 128

// readStream reads entries by ID, and then what else there is of a stream.
func (l *large) readStream(ctx context.Context, length int64) error {
	came := int64(0)
	for from := "-"; ; {
		reply, err := l.ask(ctx, "XRANGE", from, "+", "COUNT", l.step)
		if err != nil {
			return err
		}
		piece := array(reply)
		came += int64(len(piece))
		var last rdb.StreamID
		bytes := int64(0)
		for _, e := range piece {
			parts := array(e)
			if len(parts) != 2 {
				return fmt.Errorf("XRANGE: unexpected reply")
			}
			if last, err = streamID(parts[0]); err != nil {
				return err
			}
			entry := rdb.StreamEntry{ID: last}
			for _, f := range array(parts[1]) {
				entry.Fields = append(entry.Fields, text(f))
			}
			bytes += bytesOf(array(parts[1]))
			if err := l.pieces.Entry(entry); err != nil {
				return err
			}
		}
		if err := l.took(ctx, bytes); err != nil {
			return err
		}
		if from = after(last); from == "" || int64(len(piece)) < l.step {
			break
		}
	}
	if came != length {
		return errTorn
	}
	return l.readGroups(ctx, length)
}

// readGroups reads what a stream has beside its entries. What a server does not
// tell, it does not have: servers before 7.0 count less.
func (l *large) readGroups(ctx context.Context, length int64) error {
	replies, err := ask(ctx, l.c, l.db, words("XINFO", "STREAM", l.key), words("XINFO", "GROUPS", l.key))
	if err != nil {
		return err
	}
	info := fields(replies[0])
	s := &rdb.Stream{Length: uint64(length), EntriesAdded: uint64(length)}
	for name, to := range map[string]*rdb.StreamID{
		"last-generated-id": &s.LastID, "max-deleted-entry-id": &s.MaxDeletedID, "recorded-first-entry-id": &s.FirstID,
	} {
		if info[name] != nil {
			if *to, err = streamID(info[name]); err != nil {
				return err
			}
		}
	}
	if added, ok := info["entries-added"].(int64); ok {
		s.EntriesAdded = uint64(added)
	}
	if duration, ok := info["idmp-duration"].(int64); ok { // from Redis 8.6 on
		s.IDMP = &rdb.StreamIDMP{Duration: uint64(duration), MaxSize: uint64(integer(info["idmp-maxsize"]))}
	}
	for _, reply := range array(replies[1]) {
		group, err := l.group(ctx, fields(reply))
		if err != nil {
			return err
		}
		s.Groups = append(s.Groups, group)
	}
	return l.pieces.Stream(s)
}

func (l *large) group(ctx context.Context, info map[string]any) (rdb.StreamGroup, error) {
	g := rdb.StreamGroup{Name: text(info["name"]), EntriesRead: rdb.None}
	if read, ok := info["entries-read"].(int64); ok {
		g.EntriesRead = read
	}
	var err error
	if g.LastID, err = streamID(info["last-delivered-id"]); err != nil {
		return g, err
	}
	replies, err := ask(ctx, l.c, l.db, words("XINFO", "CONSUMERS", l.key, g.Name))
	if err != nil {
		return g, err
	}
	consumers := make(map[string]int)
	for i, c := range array(replies[0]) {
		name := text(fields(c)["name"])
		consumers[string(name)] = i
		g.Consumers = append(g.Consumers, rdb.StreamConsumer{Name: name, ActiveAt: rdb.None})
	}
	if err := l.pending(ctx, &g, consumers); err != nil {
		return g, err
	}
	if int64(len(g.Pending)) != integer(info["pending"]) {
		return g, errTorn
	}
	return g, nil
}

// pending reads a group's pending entries. XPENDING tells for how long they have
// been idle, and 0 of one that was delivered in the future, which XCLAIM can say:
// such a one counts as just delivered.
func (l *large) pending(ctx context.Context, g *rdb.StreamGroup, consumers map[string]int) error {
	for from := "-"; ; {
		n := 0
		var last rdb.StreamID
		err := l.timed(ctx, words("XPENDING", l.key, g.Name, from, "+", pendingPiece), func(reply any, now int64) error {
			n = len(array(reply))
			for _, e := range array(reply) {
				parts := array(e)
				if len(parts) != 4 {
					return fmt.Errorf("XPENDING: unexpected reply")
				}
				id, err := streamID(parts[0])
				if err != nil {
					return err
				}
				i, ok := consumers[string(text(parts[1]))]
				if !ok {
					return errTorn
				}
				g.Pending = append(g.Pending, rdb.PendingEntry{ID: id, DeliveredAt: now - integer(parts[2]), Deliveries: uint64(integer(parts[3]))})
				g.Consumers[i].Pending = append(g.Consumers[i].Pending, id)
				last = id
			}
			return nil
		})
		if from = after(last); err != nil || from == "" || n < pendingPiece {
			return err
		}
	}
}

// streamID reads an ID as it is printed.
func streamID(reply any) (id rdb.StreamID, err error) {
	ms, seq, _ := strings.Cut(string(text(reply)), "-")
	if id.Ms, err = strconv.ParseUint(ms, 10, 64); err == nil {
		id.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return id, fmt.Errorf("stream ID %.60q: %w", text(reply), err)
	}
	return id, nil
}

// after is the smallest ID above this one, "" if there is none: ranges that leave
// their first out exist only since 6.2.
func after(id rdb.StreamID) string {
	switch {
	case id.Seq == math.MaxUint64 && id.Ms == math.MaxUint64:
		return ""
	case id.Seq == math.MaxUint64:
		return fmt.Sprintf("%d-0", id.Ms+1)
	}
	return fmt.Sprintf("%d-%d", id.Ms, id.Seq+1)
}
