package relay

import (
	"testing"

	"pgregory.net/rapid"
)

// A model that keeps the pair of every command's end.
func TestOffsets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o offsets
		at := pair{rapid.Int64Range(0, 1000).Draw(t, "source"), rapid.Int64Range(0, 1000).Draw(t, "target")}
		o.reset(at.source, at.target)
		ends := []pair{at}
		wanted := 0 // the first of ends that is still wanted
		for range rapid.IntRange(1, 50).Draw(t, "commands") {
			size := rapid.IntRange(1, 20).Draw(t, "size")
			length := size
			if rapid.Bool().Draw(t, "edited") {
				length += rapid.IntRange(1, 20).Draw(t, "growth")
				o.replaced(at.source, size, length)
			}
			at = pair{at.source + int64(size), at.target + int64(length)}
			ends = append(ends, at)
			if rapid.IntRange(0, 9).Draw(t, "passes") == 0 {
				wanted = rapid.IntRange(wanted, len(ends)-1).Draw(t, "up to")
				o.passed(ends[wanted].target)
				if got := o.checkpoint(); got != ends[wanted] {
					t.Fatalf("checkpoint %+v, want %+v", got, ends[wanted])
				}
			}
		}
		for i := wanted; i < len(ends); i++ {
			if got := o.toTarget(ends[i].source); got != ends[i].target {
				t.Fatalf("toTarget(%d) = %d, want %d", ends[i].source, got, ends[i].target)
			}
			if got := o.toSource(ends[i].target); got != ends[i].source {
				t.Fatalf("toSource(%d) = %d, want %d", ends[i].target, got, ends[i].source)
			}
			if i == wanted {
				continue
			}
			// Within a command, an edited one counts as not there.
			before, edited := ends[i-1], ends[i].target-ends[i-1].target != ends[i].source-ends[i-1].source
			for target := before.target + 1; target < ends[i].target && edited; target++ {
				if got := o.toSource(target); got != before.source {
					t.Fatalf("toSource(%d) = %d, want %d", target, got, before.source)
				}
			}
		}
	})
}

func TestOffsetsAreBounded(t *testing.T) {
	var o offsets
	o.reset(0, 0)
	const commands = 100 * maxMarks
	for i := range int64(commands) {
		o.replaced(10*i, 10, 15)
	}
	if n := len(o.marks); n > maxMarks {
		t.Fatalf("%d marks", n)
	}
	if got := o.toSource(15 * commands); got != 10*commands {
		t.Errorf("the end is at %d, want %d", got, 10*commands)
	}
	if got := o.toTarget(10 * commands); got != 15*commands {
		t.Errorf("the end is at %d, want %d", got, 15*commands)
	}
	last := int64(0)
	for target := int64(0); target <= 15*commands; target += 1000 {
		got := o.toSource(target)
		if got < last || got > target*10/15 {
			t.Fatalf("toSource(%d) = %d after %d", target, got, last)
		}
		last = got
	}
}
