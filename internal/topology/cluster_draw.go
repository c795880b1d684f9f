package topology

import (
	"fmt"
	"strconv"
	"strings"

	"godwit/internal/slot"
)

// slotsPerCell is how many slots a cell of the picture stands for.
const slotsPerCell = 32

// labelWidth is what the slot numbers take at the left of the picture.
const labelWidth = 7

// Cell is what a cell of the picture of a cluster's slots shows.
type Cell struct {
	Shard   int  // which of ClusterMap.Shards owns most of its slots; -1 where none is owned
	Unowned bool // a slot of it has no owner
	Moving  bool // a slot of it is on the move
}

// The marks of cells in the picture that are not a shard's letter.
const (
	unservedMark = '.' // no slot of the cell is served
	holeMark     = '!' // some slot of it is not served
	movingMark   = '>' // some slot of it is on the move
)

// Letters are what shards are called in the picture, by their number; they begin
// again after 52.
func Letters(shard int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	return string(letters[shard%len(letters)])
}

// mark is the cell in one character.
func (c Cell) mark() string {
	switch {
	case c.Shard < 0:
		return string(unservedMark)
	case c.Unowned:
		return string(holeMark)
	case c.Moving:
		return string(movingMark)
	}
	return Letters(c.Shard)
}

// Cells are the cells of the picture, 512 of 32 slots each, in the order of the slots.
func (c *ClusterMap) Cells() []Cell {
	shard := make(map[string]int)
	for i, s := range c.Shards() {
		shard[s.Primary.ID] = i
	}
	moving := make([]bool, slot.Count)
	for _, m := range c.Moves {
		for _, r := range m.Slots {
			for s := int(r.First); s <= int(r.Last); s++ {
				moving[s] = true
			}
		}
	}
	cells := make([]Cell, slot.Count/slotsPerCell)
	for i := range cells {
		cell, counts := Cell{Shard: -1}, make(map[int]int)
		for s := i * slotsPerCell; s < (i+1)*slotsPerCell; s++ {
			owner, owned := c.Owner(uint16(s)) //nolint:gosec // a slot
			cell.Moving = cell.Moving || moving[s]
			if !owned {
				cell.Unowned = true
				continue
			}
			n := shard[owner.ID]
			counts[n]++
			if cell.Shard < 0 || counts[n] > counts[cell.Shard] {
				cell.Shard = n
			}
		}
		cells[i] = cell
	}
	return cells
}

// DrawSlots draws who owns which slot in lines of at most width columns: a letter per
// 32 slots, those of the shards in their order, and below it what other marks mean
// and which slots are on the move. paint, where it is not nil, is given each run of
// equal cells to colour it; without it the picture is plain text.
func (c *ClusterMap) DrawSlots(width int, paint func(cell Cell, text string) string) string {
	if paint == nil {
		paint = func(_ Cell, text string) string { return text }
	}
	cells := c.Cells()
	columns := 16
	for columns < len(cells) && 2*columns+labelWidth <= width {
		columns *= 2
	}
	var b strings.Builder
	for row := 0; row < len(cells); row += columns {
		fmt.Fprintf(&b, "%5d  ", row*slotsPerCell)
		for i := row; i < row+columns; {
			end := i + 1
			for end < row+columns && cells[end] == cells[i] {
				end++
			}
			b.WriteString(paint(cells[i], strings.Repeat(cells[i].mark(), end-i)))
			i = end
		}
		b.WriteByte('\n')
	}
	for _, line := range c.legend(max(width, 2*labelWidth) - labelWidth) {
		fmt.Fprintf(&b, "%*s%s\n", labelWidth, "", line)
	}
	return b.String()
}

// legend says what the marks mean that are not letters, and names the slots, as many
// as there is room for.
func (c *ClusterMap) legend(width int) []string {
	var lines []string
	const indent = "     "
	add := func(what string, ranges []SlotRange) {
		if line := what + ": " + FormatSlots(ranges, slot.Count); len(line) <= width {
			lines = append(lines, line)
			return
		}
		lines = append(lines, what+":", indent+FormatSlots(ranges, width-len(indent)))
	}
	if missing := c.Unserved(); len(missing) > 0 {
		add(fmt.Sprintf("%c %c  %s served by no node", unservedMark, holeMark, manySlots(missing)), missing)
	}
	letter := make(map[string]string)
	for i, s := range c.Shards() {
		letter[s.Primary.ID] = Letters(i)
	}
	name := func(id string) string {
		if l, ok := letter[id]; ok {
			return l
		}
		return "unknown node " + id
	}
	for i, m := range c.Moves {
		mark := ' '
		if i == 0 {
			mark = movingMark
		}
		how := string(m.Kind)
		if m.State != "" {
			how += ", " + m.State
		}
		add(fmt.Sprintf("%c    %s moving from %s to %s (%s)", mark, manySlots(m.Slots), name(m.From), name(m.To), how), m.Slots)
	}
	return lines
}

// manySlots is how many slots there are, with the noun.
func manySlots(ranges []SlotRange) string {
	if n := CountSlots(ranges); n != 1 {
		return strconv.Itoa(n) + " slots"
	}
	return "1 slot"
}
