package apply

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"godwit/internal/rdb"
)

// A server that loads a file lets nothing expire: INCR k; PEXPIREAT k t; INCR k leaves a
// key that expires at t, however long ago t is. The primary that is given these commands
// would delete k in between, and keep what the second INCR makes for ever. So every time
// of a file with commands is said as one in the far future, by the same distance for all,
// so that they compare as before (GT, LT). Once the target has everything, each is put
// right, and what has expired goes, as it does at a server that has loaded the file.
//
// A time that is put off is recognised by itself, so that to put them right twice is to
// do so once.
const (
	// putOff is the distance, in milliseconds: some 1,115 years. Redis takes no TTL of a
	// field beyond twice that (t_hash.c HFE_MAX_ABS_TIME_MSEC).
	putOff = 1 << 45
	// lateFrom and lateTo are what times that are put off lie between. Later ones are left
	// alone.
	lateFrom, lateTo = putOff, 2 * putOff
)

// later is a time that is put off, both in milliseconds since 1970.
func later(at int64) (int64, error) {
	switch {
	case at < lateFrom:
		return max(at, 0) + putOff, nil
	case at < lateTo:
		return 0, &FarTimeError{time.UnixMilli(at).UTC()}
	default:
		return at, nil
	}
}

// FarTimeError is of a time that cannot be told from one that is put off.
type FarTimeError struct{ At time.Time }

func (e *FarTimeError) Error() string {
	return fmt.Sprintf("it is to expire in %d, and a time between the years 3084 and 4200 cannot be carried from a file with commands", e.At.Year())
}

// HintText is what the user can do about it.
func (e *FarTimeError) HintText() string { return loadFirst }

// errRelative is of a TTL that does not say when it ends.
var errRelative = errors.New("a TTL that counts from the command: servers write when it ends")

// timer puts off the times of commands.
type timer struct {
	target  rdb.Format
	now     int64 // when the loading began, milliseconds since 1970
	crc     *rdb.CRC64
	args    [][]byte // scratch
	payload []byte   // scratch
}

// later is the command with its times put off. It is valid until the next call.
func (t *timer) later(args [][]byte) ([][]byte, error) {
	switch name := args[0]; {
	case len(args) < 3:
		return args, nil
	case is(name, "pexpireat"), is(name, "hpexpireat"):
		return t.replace(args, 2, "", 1)
	case is(name, "expireat"):
		return t.replace(args, 2, "PEXPIREAT", 1000)
	case is(name, "hexpireat"):
		return t.replace(args, 2, "HPEXPIREAT", 1000)
	case is(name, "expire"), is(name, "pexpire"), is(name, "setex"), is(name, "psetex"), is(name, "hexpire"), is(name, "hpexpire"):
		return nil, errRelative
	case is(name, "set"):
		return t.option(args, 3, len(args))
	case is(name, "getex"):
		return t.option(args, 2, len(args))
	case is(name, "msetex"):
		n, _ := strconv.Atoi(string(args[1]))
		return t.option(args, min(2+2*max(n, 0), len(args)), len(args))
	case is(name, "hsetex"), is(name, "hgetex"):
		end := 2
		for end < len(args) && !is(args[end], "fields") {
			end++
		}
		return t.option(args, 2, end)
	case is(name, "restore"), is(name, "restore-asking"):
		return t.restore(args)
	}
	return args, nil
}

// option puts off the time among options.
func (t *timer) option(args [][]byte, from, to int) ([][]byte, error) {
	for i := from; i+1 < to; i++ {
		switch o := args[i]; {
		case is(o, "pxat"):
			return t.replace(args, i+1, "", 1)
		case is(o, "exat"):
			out, err := t.replace(args, i+1, "", 1000)
			if err == nil {
				out[i] = []byte("PXAT")
			}
			return out, err
		case is(o, "px"), is(o, "ex"):
			return nil, errRelative
		}
	}
	return args, nil
}

// replace puts off the time in a place, which counts in so many milliseconds. name, if it
// is not empty, is that of the command which takes milliseconds.
func (t *timer) replace(args [][]byte, at int, name string, unit int64) ([][]byte, error) {
	n, err := strconv.ParseInt(string(args[at]), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%.100q is no time", args[at])
	}
	late, err := later(n * unit)
	if err != nil {
		return nil, err
	}
	t.args = append(t.args[:0], args...)
	t.args[at] = strconv.AppendInt(nil, late, 10)
	if name != "" {
		t.args[0] = []byte(name)
	}
	return t.args, nil
}

// restore puts off the time of a key, which Redis 6.0 saves as a TTL that begins with the
// loading, and those of fields in its payload.
func (t *timer) restore(args [][]byte) ([][]byte, error) {
	if len(args) < 4 || len(args[3]) == 0 {
		return args, nil // the target says what is wrong
	}
	absolute := false
	for i := 4; i < len(args); i++ {
		switch o := args[i]; {
		case is(o, "absttl"):
			absolute = true
		case is(o, "idletime"), is(o, "freq"):
			i++
		}
	}
	at, err := strconv.ParseInt(string(args[2]), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%.100q is no time", args[2])
	}
	t.args = append(t.args[:0], args...)
	if at > 0 {
		if !absolute {
			at += t.now
			t.args = append(t.args, []byte("ABSTTL"))
		}
		if at, err = later(at); err != nil {
			return nil, err
		}
		t.args[2] = strconv.AppendInt(nil, at, 10)
	}
	if kind := rdb.Type(args[3][0]); hasFieldTTLs(kind) {
		from, body, err := rdb.OpenDump(args[3], t.crc)
		if err != nil {
			return nil, err
		}
		from.Family = t.target.Family // the rewriter has said it in the target's words
		if t.payload, err = appendLaterHash(t.payload[:0], from, t.target, kind, body[1:]); err != nil {
			return nil, err
		}
		t.payload = rdb.AppendDumpFooter(t.payload, 0, t.target, t.crc)
		t.args[3] = t.payload
	}
	return t.args, nil
}

// hasFieldTTLs tells of types of hashes whose fields may expire.
func hasFieldTTLs(t rdb.Type) bool {
	switch t {
	case rdb.TypeHash2, rdb.TypeHashMetadata, rdb.TypeHashListpackEx, rdb.TypeHashListpackExPreGA: // Hash2 is also TypeHashMetadataPreGA
		return true
	default:
		return false
	}
}

// appendLaterHash appends the type and the value of a hash as the target loads it, the
// times of its fields put off.
func appendLaterHash(dst []byte, from, to rdb.Format, t rdb.Type, value []byte) ([]byte, error) {
	v, err := rdb.DecodeValue(from, t, value)
	if err != nil {
		return dst, err
	}
	for i := range v.Elements {
		if at := &v.Elements[i].ExpireAt; *at != rdb.None {
			if *at, err = later(*at); err != nil {
				return dst, err
			}
		}
	}
	start := len(dst)
	t, dst, err = to.AppendValue(append(dst, 0), v)
	if err != nil {
		return dst, err
	}
	dst[start] = byte(t)
	return dst, nil
}
