package relay

import (
	"testing"

	"godwit/internal/rdb"
)

// However many wait for the target, none is forgotten.
func TestDropsAreJoined(t *testing.T) {
	var d drops
	d.reset(rdb.Dropped{Stream: map[rdb.Feature]int64{rdb.FeatureFunction: 7}})
	const n = 3*maxWaiting + 5
	for i := range int64(n) {
		if first := d.ofStream(rdb.FeatureStreamIDMP, i); first != (i == 0) {
			t.Fatalf("%d is the first: %v", i, first)
		}
	}
	if d.ofStream(rdb.FeatureFunction, n) {
		t.Error("the first again, after a restart")
	}
	if len(d.waiting[rdb.FeatureStreamIDMP]) > maxWaiting {
		t.Errorf("%d wait", len(d.waiting[rdb.FeatureStreamIDMP]))
	}
	if got := d.settle(n - 1); got.Stream[rdb.FeatureStreamIDMP] != n || got.Stream[rdb.FeatureFunction] != 7 {
		t.Errorf("up to %d: %+v", n-1, got)
	}
	if got := d.settle(n); got.Stream[rdb.FeatureFunction] != 8 || d.all().Of(rdb.FeatureFunction) != 8 {
		t.Errorf("in the end: %+v", got)
	}
}
