package relay

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLagClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &lagClock{}
		check := func(acked, end int64, want time.Duration) {
			t.Helper()
			if got := c.behind(acked, end); got != want {
				t.Errorf("acked %d of %d: %v behind, want %v", acked, end, got, want)
			}
		}
		check(0, 0, 0)
		c.mark(100, time.Now())
		time.Sleep(10 * time.Millisecond)
		c.mark(200, time.Now())
		time.Sleep(time.Second)
		check(99, 200, 1010*time.Millisecond)
		check(100, 200, time.Second)
		check(150, 200, time.Second)
		check(200, 200, 0)
		c.reset()
		check(0, 200, 0)
	})
}

// Far behind, the clock becomes coarser and remains true within that.
func TestLagClockThinsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &lagClock{}
		const marks = 20_000
		start := time.Now()
		for i := range int64(marks) {
			c.mark(i+1, time.Now())
			time.Sleep(2 * time.Millisecond)
		}
		for acked := int64(0); acked < marks; acked += 777 {
			exact := time.Since(start) - time.Duration(acked)*2*time.Millisecond
			got := c.behind(acked, marks)
			if got < exact || got > exact+time.Second/2 {
				t.Errorf("acked %d: %v behind, want %v", acked, got, exact)
			}
		}
		if got := c.behind(marks, marks); got != 0 {
			t.Errorf("%v behind with all acknowledged", got)
		}
		for i := range int64(marks) { // the marks before are done with, and make room
			c.mark(marks+i+1, time.Now())
			if got := c.behind(marks+i, marks+i+1); got != 0 {
				t.Fatalf("%v behind", got)
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackoff()
		wait := func(want time.Duration) {
			t.Helper()
			start := time.Now()
			if <-b.C(); time.Since(start) != want {
				t.Errorf("%v, want %v", time.Since(start), want)
			}
		}
		b.lost(true)
		wait(0)
		for _, want := range []time.Duration{50, 100, 200, 400, 800, 1600, 2000, 2000} {
			b.again()
			wait(want * time.Millisecond)
		}
		b.lost(true)
		wait(0)
		b.lost(false) // a connection that ends at once, again and again
		wait(50 * time.Millisecond)
		b.lost(false)
		wait(100 * time.Millisecond)
		b.lost(false)
		b.disarm()
		select {
		case <-b.C():
			t.Error("went off though disarmed")
		case <-time.After(time.Hour):
		}
	})
}
