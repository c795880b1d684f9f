package apply

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/rdb"
)

// Every form in which a file says a time is put off by the same distance.
func TestTimesArePutOff(t *testing.T) {
	crc := rdb.NewCRC64()
	format := rdb.Format{Family: rdb.Redis, Version: 12}
	x := &timer{target: format, now: 5000, crc: crc}
	late := func(at int64) string { return fmt.Sprint(at + putOff) }
	payload := string(rdb.AppendDumpFooter([]byte("\x00\x01x"), 0, format, crc))
	for _, row := range []struct{ said, becomes string }{
		{"SET k v", "SET k v"},
		{"SET k PXAT PXAT 7", "SET k PXAT PXAT " + late(7)},
		{"SET pxat 1 GET exat 7", "SET pxat 1 GET PXAT " + late(7000)},
		{"SET k v KEEPTTL", "SET k v KEEPTTL"},
		{"GETEX k PXAT 7", "GETEX k PXAT " + late(7)},
		{"PEXPIREAT k 7 GT", "PEXPIREAT k " + late(7) + " GT"},
		{"PEXPIREAT k -7", "PEXPIREAT k " + late(0)},
		{"expireat k 7 NX", "PEXPIREAT k " + late(7000) + " NX"},
		{"HPEXPIREAT k 7 FIELDS 1 f", "HPEXPIREAT k " + late(7) + " FIELDS 1 f"},
		{"HEXPIREAT k 7 FIELDS 1 f", "HPEXPIREAT k " + late(7000) + " FIELDS 1 f"},
		{"HSETEX k FNX PXAT 7 FIELDS 1 px 1", "HSETEX k FNX PXAT " + late(7) + " FIELDS 1 px 1"},
		{"HGETEX k PERSIST FIELDS 2 px 1", "HGETEX k PERSIST FIELDS 2 px 1"},
		{"MSETEX 1 px 1 EXAT 7", "MSETEX 1 px 1 PXAT " + late(7000)},
		{"RESTORE k 7 " + payload, "RESTORE k " + late(5007) + " " + payload + " ABSTTL"},
		{"RESTORE k 7 " + payload + " ABSTTL REPLACE", "RESTORE k " + late(7) + " " + payload + " ABSTTL REPLACE"},
		{"RESTORE k 0 " + payload, "RESTORE k 0 " + payload},
		{"PERSIST k", "PERSIST k"},
	} {
		got, err := x.later(bytes.Split([]byte(row.said), []byte(" ")))
		if text := string(bytes.Join(got, []byte(" "))); err != nil || text != row.becomes {
			t.Errorf("%q becomes %q (%v), not %q", row.said, text, err, row.becomes)
		}
	}
	for _, said := range []string{"EXPIRE k 7", "PSETEX k 7 v", "SET k v EX 7", "HSETEX k PX 7 FIELDS 1 f v", "HPEXPIRE k 7 FIELDS 1 f"} {
		if _, err := x.later(bytes.Split([]byte(said), []byte(" "))); !errors.Is(err, errRelative) {
			t.Errorf("%q: %v", said, err)
		}
	}
	if _, err := x.later(bytes.Split([]byte("PEXPIREAT k soon"), []byte(" "))); err == nil || !strings.Contains(err.Error(), `"soon" is no time`) {
		t.Errorf("%v", err)
	}
}

// Times keep their order, and one that is put off is known by itself.
func TestLater(t *testing.T) {
	last := int64(-1)
	for _, at := range []int64{0, 1, time.Now().UnixMilli(), lateFrom - 1, lateTo, lateTo + 1, 1 << 60} {
		got, err := later(at)
		if err != nil || got <= last {
			t.Errorf("%d becomes %d after %d (%v)", at, got, last, err)
		}
		if off := got >= lateFrom && got < lateTo; off != (got != at) || off && got-putOff != at {
			t.Errorf("%d becomes %d", at, got)
		}
		last = got
	}
	if _, err := later(lateFrom); err == nil || !strings.Contains(err.Error(), "in 3084") {
		t.Errorf("%v", err)
	}
	if first, _ := later(0); first < lateFrom || time.UnixMilli(lateFrom).Year() != 3084 {
		t.Errorf("%d, %v", first, time.UnixMilli(lateFrom))
	}
	if years := putOff / (1000 * 60 * 60 * 24 * 365.2425); int(years) != 1114 && int(years) != 1115 {
		t.Errorf("%v years", years)
	}
}

// The times of a hash's fields, too, in a payload.
func TestTimesOfFieldsArePutOff(t *testing.T) {
	crc := rdb.NewCRC64()
	format := rdb.Format{Family: rdb.Redis, Version: 12}
	kind, body, err := format.AppendValue([]byte{0}, &rdb.Value{Kind: rdb.HashValue, Elements: []rdb.Element{
		{Field: []byte("f"), Value: []byte("v"), ExpireAt: 1000}, {Field: []byte("g"), Value: []byte("w"), ExpireAt: rdb.None},
	}})
	if err != nil {
		t.Fatal(err)
	}
	body[0] = byte(kind)
	payload := rdb.AppendDumpFooter(body, 0, format, crc)
	x := &timer{target: format, crc: crc}
	got, err := x.later([][]byte{[]byte("RESTORE"), []byte("k"), []byte("0"), payload})
	if err != nil {
		t.Fatal(err)
	}
	_, body, err = rdb.OpenDump(got[3], crc)
	if err != nil {
		t.Fatal(err)
	}
	v, err := rdb.DecodeValue(format, rdb.Type(body[0]), body[1:])
	if err != nil || len(v.Elements) != 2 || v.Elements[0].ExpireAt != 1000+putOff || v.Elements[1].ExpireAt != rdb.None {
		t.Errorf("%+v, %v", v, err)
	}
}
