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
		db := rapid.IntRange(0, 2).Draw(t, "db")
		o.reset(at.source, at.target, db)
		ends := []place{{at, db}}
		replaced := map[int]bool{} // of ends
		wanted := 0                // the first of ends that is still wanted
		for range rapid.IntRange(1, 50).Draw(t, "commands") {
			size := rapid.IntRange(1, 20).Draw(t, "size")
			length := size
			if rapid.Bool().Draw(t, "edited") {
				length += rapid.IntRange(0, 20).Draw(t, "growth")
				if rapid.Bool().Draw(t, "selects") {
					db = rapid.IntRange(0, 2).Draw(t, "db")
				}
				o.changed(at.source, size, length, db)
				replaced[len(ends)] = true
			}
			at = pair{at.source + int64(size), at.target + int64(length)}
			ends = append(ends, place{at, db})
			if last := len(ends) - 1; replaced[last] && length > 1 && rapid.IntRange(0, 9).Draw(t, "stands within") == 0 {
				before := o.checkpoint()
				o.passed(at.target - 1)
				if got := o.checkpoint(); got != before && got != ends[last-1] {
					t.Fatalf("checkpoint %+v within a command", got)
				}
			}
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
			before := ends[i-1]
			for target := before.target + 1; target < ends[i].target && replaced[i]; target++ {
				if got := o.toSource(target); got != before.source {
					t.Fatalf("toSource(%d) = %d, want %d", target, got, before.source)
				}
			}
		}
	})
}

func TestOffsetsAreBounded(t *testing.T) {
	var o offsets
	o.reset(0, 0, 0)
	const commands = 100 * maxMarks
	for i := range int64(commands) {
		o.changed(10*i, 10, 15, 0)
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
