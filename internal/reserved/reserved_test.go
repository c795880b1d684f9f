package reserved_test

import (
	"testing"

	"godwit/internal/reserved"
	"godwit/internal/slot"
)

func TestIs(t *testing.T) {
	for of := uint16(0); of < slot.Count; of += 199 {
		key := reserved.Checkpoint("orders:0", int(of), 2, of)
		if !reserved.Is([]byte(key)) || slot.Of([]byte(key)) != of {
			t.Fatalf("%q of slot %d", key, of)
		}
	}
	if !reserved.Is([]byte(reserved.WayBack("orders"))) {
		t.Error("the way back is not godwit's")
	}
	tag := slot.Tag(7)
	for _, key := range []string{
		"", "godwit::back", "godwit:a:b:back", "godwit:back", "xgodwit:a:back", "godwit:", "godwit", "godwit:{" + tag + "}", "godwit:a:1:2:{}", "godwit:a:1:2:" + tag, "godwit:a:1:2:{" + tag, "godwit::1:2:{" + tag + "}x",
		"godwit:1:2:{" + tag + "}", "godwit:a:b:2:{" + tag + "}", "godwit:a:1::{" + tag + "}", "godwit:a:1:2:{not its tag}", "xgodwit:a:1:2:{" + tag + "}",
	} {
		if reserved.Is([]byte(key)) {
			t.Errorf("%q is not godwit's", key)
		}
	}
}
