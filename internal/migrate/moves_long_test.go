//go:build fault

package migrate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
)

// known waits until all nodes know the user by whom primaries connect: a switch that was
// given up has had them forget it.
func (m *moving) known() {
	m.t.Helper()
	for _, n := range m.nodes() {
		eventually(m.t, n.Address()+" knows the nodes' own user", func() bool {
			return strings.Contains(fmt.Sprint(m.do(n, "ACL", "USERS")), ":nodes")
		})
	}
}

// A switch within which slots have moved at once is given up: what no command says of them
// is not there yet. No slot moves while it is decided.
func TestSlotsMoveWithinASwitch(t *testing.T) {
	t.Parallel()
	for _, shape := range []string{"standalone", "cluster"} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			source := servers(t, "redis-7.0", 1)
			if shape == "cluster" {
				source = aCluster(t, "redis-7.0", 3)
			}
			p := newJointPair(t, "redis-7.0", source, bareCluster(t, "valkey-9.1", 2))
			b := newMoving(p.b)
			// An entry is pending that was deleted from its stream.
			const stream = "{06S}:moves" // slot 0
			for _, command := range [][]any{
				{"XADD", stream, "1-1", "f", "v"}, {"XGROUP", "CREATE", stream, "g", "0"},
				{"XREADGROUP", "GROUP", "g", "c", "STREAMS", stream, ">"}, {"XDEL", stream, "1-1"},
			} {
				if _, err := p.a.at(stream).Do(t.Context(), command...); err != nil {
					t.Fatal(err)
				}
			}
			pending := func(d *deployed) string {
				t.Helper()
				reply, err := d.at(stream).Do(t.Context(), "XPENDING", stream, "g")
				if err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(reply)
			}
			p.at("cutover-catch-up-after", func() { b.move(1, sandbox.SlotRange{First: 0, Last: 20}) })
			m := start(t, p.config)
			m.ready()
			b.fenced()
			var gaveUp *migrate.GaveUpError
			result, err := m.Cutover(t.Context(), migrate.SwitchOptions{})
			if t.Log(err); !result.Done { // if so, the slots had been carried once more in between
				if !errors.As(err, &gaveUp) {
					t.Errorf("%+v: %v", result, err)
				}
				b.known()
				b.fenced()
				b.move(0, sandbox.SlotRange{First: 0, Last: 20})
				m.ready()
				m.handsOver(m.Cutover)
			}
			if got, want := pending(p.b), pending(p.a); got != want {
				t.Errorf("pending: %s, and at the source %s", got, want)
			}
			p.settled(m, p.b)
			m.completed()
			b.asBefore()
		})
	}
}
