package lag_test

import (
	"testing"
	"testing/synctest"
	"time"

	"godwit/internal/lag"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &lag.Clock{}
		check := func(acked, end int64, want time.Duration) {
			t.Helper()
			if got := c.Behind(acked, end); got != want {
				t.Errorf("acked %d of %d: %v behind, want %v", acked, end, got, want)
			}
		}
		check(0, 0, 0)
		c.Mark(100, time.Now())
		time.Sleep(10 * time.Millisecond)
		c.Mark(200, time.Now())
		time.Sleep(time.Second)
		check(99, 200, 1010*time.Millisecond)
		check(100, 200, time.Second)
		check(150, 200, time.Second)
		check(200, 200, 0)
		c.Reset()
		check(0, 200, 0)
	})
}

// Far behind, the clock becomes coarser and remains true within that.
func TestClockThinsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &lag.Clock{}
		const marks = 20_000
		start := time.Now()
		for i := range int64(marks) {
			c.Mark(i+1, time.Now())
			time.Sleep(2 * time.Millisecond)
		}
		for acked := int64(0); acked < marks; acked += 777 {
			exact := time.Since(start) - time.Duration(acked)*2*time.Millisecond
			got := c.Behind(acked, marks)
			if got < exact || got > exact+time.Second/2 {
				t.Errorf("acked %d: %v behind, want %v", acked, got, exact)
			}
		}
		if got := c.Behind(marks, marks); got != 0 {
			t.Errorf("%v behind with all acknowledged", got)
		}
		for i := range int64(marks) { // the marks before are done with, and make room
			c.Mark(marks+i+1, time.Now())
			if got := c.Behind(marks+i, marks+i+1); got != 0 {
				t.Fatalf("%v behind", got)
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
}

// What has arrived by a time is told too late rather than too early, by a
// millisecond, and by more once the clock has become coarser.
func TestClockArrivedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &lag.Clock{}
		if offset, next := c.ArrivedBy(time.Now()); offset != 0 || !next.IsZero() {
			t.Errorf("%d and %v before anything has arrived", offset, next)
		}
		const marks = 10_000
		arrived := make(map[int64]time.Time)
		start := time.Now()
		for i := range int64(marks) {
			c.Mark(i+1, time.Now())
			arrived[i+1] = time.Now()
			time.Sleep(700 * time.Microsecond)
		}
		coarsest := time.Duration(0)
		for then := start; then.Before(time.Now().Add(5 * time.Millisecond)); then = then.Add(777 * time.Microsecond) {
			offset, next := c.ArrivedBy(then)
			if offset > 0 && arrived[offset].After(then) {
				t.Fatalf("%d arrived after %v", offset, then.Sub(start))
			}
			if offset < marks && !next.After(then) {
				t.Fatalf("more than %d by %v, which is no later", offset, next.Sub(start))
			}
			if offset > 0 && offset < marks {
				coarsest = max(coarsest, then.Sub(arrived[offset+1]))
			}
		}
		if offset, _ := c.ArrivedBy(time.Now().Add(5 * time.Millisecond)); offset != marks {
			t.Errorf("%d in the end", offset)
		}
		if coarsest > 20*time.Millisecond {
			t.Errorf("told %v too late", coarsest)
		}
	})
}
