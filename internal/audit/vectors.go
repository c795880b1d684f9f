package audit

import (
	"context"
	"fmt"
	"slices"
)

// typeVectorSet is what TYPE says of a vector set (Redis 8.0, modules/vector-sets).
// Its DUMP says nothing: how the members are linked is left to chance.
const typeVectorSet = "vectorset"

// compareVectorSet compares the members of a vector set, their stored vectors and
// attributes. It gives what differs, "" for nothing.
func (p pair) compareVectorSet(ctx context.Context, it item) (string, error) {
	inA, inB, err := p.askSame(ctx, []command{{"VINFO", it.key}, {"VCARD", it.key}})
	if err != nil {
		return "", err
	}
	if detail := compareEntries("", vectorSetInfo(inA[0]), vectorSetInfo(inB[0])); detail != "" {
		return detail, nil
	}
	// With a positive count each member comes once at most, so this is all of them.
	all := func(card any) []command { return []command{{"VRANDMEMBER", it.key, card}} }
	membersA, membersB, err := p.ask(ctx, all(inA[1]), all(inB[1]))
	if err != nil {
		return "", err
	}
	entries := members(membersA[0])
	if detail := compareEntries("member", entries, members(membersB[0])); detail != "" {
		return detail, nil
	}
	for piece := range slices.Chunk(entries, batchKeys) {
		var commands []command
		for _, member := range piece {
			commands = append(commands, command{"VEMB", it.key, member.name, "RAW"}, command{"VGETATTR", it.key, member.name})
		}
		inA, inB, err := p.askSame(ctx, commands)
		if err != nil {
			return "", err
		}
		for i := range commands {
			if !sameReply(inA[i], inB[i]) {
				return fmt.Sprintf("%s of member %s: %s, %s", commands[i][0], quote(piece[i/2].name),
					quote(fmt.Sprint(inA[i])), quote(fmt.Sprint(inB[i]))), nil
			}
		}
	}
	return "", nil
}

func vectorSetInfo(reply any) []entry {
	info := fieldMap(reply)
	var parts []entry
	for _, name := range []string{"quant-type", "hnsw-m", "vector-dim", "projection-input-dim"} {
		parts = append(parts, entry{name, fmt.Sprint(info[name])})
	}
	return parts
}
