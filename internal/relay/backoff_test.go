package relay

import (
	"testing"
	"testing/synctest"
	"time"
)

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
