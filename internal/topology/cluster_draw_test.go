package topology

import (
	"strings"
	"testing"
)

func TestDrawSlots(t *testing.T) {
	three := seen(t, 5, "A master - 0 0-5460", "B master - 1 5461-10922", "C master - 2 10923-16383")
	busy := seen(t, 5, "A master - 0 0-5460 [100->-B] [101->-B]", "B master - 1 5461-9000 9002-10000", "C master - 2 10923-16383", "a slave A 0")
	busy.moves = []Move{{Kind: MoveAtomic, Job: "j", From: idC, To: idD, State: "snapshotting", Slots: []SlotRange{{12000, 12099}, {13000, 13000}}}}
	islands := []string{"A master - 0", "B master - 1 8192-16383"}
	for s := 0; s < 8192; s += 512 {
		islands[0] += " " + SlotRange{uint16(s), uint16(s + 500)}.String()
	}
	for _, c := range []struct {
		name  string
		view  answer
		width int
		want  string
	}{
		{"80 columns", three, 80, `
    0  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
 2048  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
 4096  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBBBBBB
 6144  BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB
 8192  BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB
10240  BBBBBBBBBBBBBBBBBBBBBCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
12288  CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
14336  CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
`},
		{"wide", three, 140, `
    0  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
 4096  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB
 8192  BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
12288  CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
`},
		{"moves and holes", busy, 80, `
    0  AAA>AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
 2048  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
 4096  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBBBBBB
 6144  BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB
 8192  BBBBBBBBBBBBBBBBBBBBBBBBB!BBBBBBBBBBBBBBBBBBBBBBBBBBBBBB!.......
10240  .....................!CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC>>>>CCCCC
12288  CCCCCCCCCCCCCCCCCCCCCC>CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
14336  CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC
       . !  923 slots served by no node: 9001, 10001-10922
       >    2 slots moving from A to B (by keys, migrating): 100-101
            101 slots moving from C to unknown node ` + idD + ` (atomic, snapshotting):
            12000-12099, 13000
`},
	} {
		got := "\n" + merge([]answer{c.view}, here()).DrawSlots(c.width, nil)
		if got != c.want {
			t.Errorf("%s: got%s\nwant%s", c.name, got, c.want)
		}
	}
	narrow := merge([]answer{seen(t, 5, islands...)}, here()).DrawSlots(60, nil)
	for line := range strings.Lines(narrow) {
		if len(line) > 60 {
			t.Errorf("wider than 60 columns: %s", line)
		}
	}
	if !strings.Contains(narrow, " and 1") {
		t.Error(narrow)
	}
}

// Each run of equal cells is painted once, and what is painted is the picture.
func TestDrawSlotsPainted(t *testing.T) {
	c := merge([]answer{seen(t, 5, "A master - 0 0-5460 [100->-B]", "B master - 1 5461-16383")}, here())
	runs := 0
	painted := c.DrawSlots(80, func(cell Cell, text string) string {
		if runs++; cell.Shard < 0 || cell.Unowned {
			t.Errorf("%+v", cell)
		}
		return text
	})
	if runs != 8+3 || painted != c.DrawSlots(80, nil) {
		t.Errorf("%d runs: %s", runs, painted)
	}
	if Letters(0) != "A" || Letters(51) != "z" || Letters(52) != "A" {
		t.Error("letters")
	}
}
