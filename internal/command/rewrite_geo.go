package command

import (
	"errors"

	"godwit/internal/rdb"
)

// FeatureGeoStore is that what a search by distance stores is the same at both
// servers. Dropped, the target stores what it computes itself.
const FeatureGeoStore rdb.Feature = "geo-store"

// Features are those that may be dropped by name, in copy and stream.
func Features() []rdb.Feature { return append(rdb.Features(), FeatureGeoStore) }

// StoresGeoOtherwise tells whether two servers may find other members or distances
// in the same search: Redis before 7.0 misses members in searches across a pole, and
// some of its distances differ in the last digit (geohash_helper.c was changed in 7.0).
func StoresGeoOtherwise(a, b Version) bool {
	old := func(v Version) bool { return v.Product == rdb.Redis && !v.AtLeast(7, 0) }
	return old(a) != old(b)
}

// geoStore fails where the target may store something else than the source.
func (r *Rewriter) geoStore() (otherwise bool, err error) {
	if !StoresGeoOtherwise(r.source.Version, r.target.Version) {
		return false, nil
	}
	err = r.noFeature(FeatureGeoStore, "")
	var noEqual *NoEqualError
	if errors.As(err, &noEqual) {
		noEqual.Reason = "computes it otherwise, and may store other members or distances"
	}
	return true, err
}

// asItIs leaves a command as it is; where that was told of, it counts as replaced.
func (r *Rewriter) asItIs(told bool) (Verdict, error) {
	if !told {
		return Pass, nil
	}
	r.add(r.args...)
	return Replace, nil
}

// geoadd is GEOADD, which every server so far propagates as ZADD.
func (r *Rewriter) geoadd() (Verdict, error) {
	for _, o := range r.args[min(2, len(r.args)):] {
		if !isOneOf(o, "NX", "XX", "CH") {
			break // the first longitude
		}
		if option := string(upper(nil, o)); r.lacks(option) {
			return Pass, r.noEqual(option)
		}
	}
	return Pass, nil
}

// georadius is GEORADIUS and GEORADIUSBYMEMBER with STORE or STOREDIST.
func (r *Rewriter) georadius() (Verdict, error) {
	if len(r.args) < 5 {
		return Pass, nil
	}
	first := 5 // after key, member, radius and unit
	if r.command == "GEORADIUS" {
		first++ // and a longitude and latitude
	}
	dest := []byte(nil)
	for i := first; i < len(r.args); i++ {
		switch o := r.args[i]; {
		case is(o, "ANY") && r.lacks("ANY"):
			return Pass, r.noEqual("ANY")
		case is(o, "COUNT"):
			i++
		case isOneOf(o, "STORE", "STOREDIST") && i+1 < len(r.args):
			i++
			dest = r.args[i]
		}
	}
	if dest == nil {
		return Pass, nil
	}
	keeps := r.lacks("ANY") && r.source.Has("GEORADIUS ANY")
	otherwise, err := r.geoStore()
	if err != nil {
		return Pass, err
	}
	if !keeps || string(dest) == string(r.args[1]) {
		return r.asItIs(otherwise)
	}
	// Before 6.2 the destination stays if the source does not exist (geo.c
	// georadiusGeneric).
	r.add([]byte("DEL"), dest)
	r.add(r.args...)
	return Replace, nil
}

// geosearchstore is GEOSEARCHSTORE destination source FROMMEMBER m | FROMLONLAT x y
// BYRADIUS r unit | BYBOX w h unit | BYPOLYGON … [ASC | DESC] [COUNT n [ANY]]
// [STOREDIST]. A radius is what GEORADIUS has always had.
func (r *Rewriter) geosearchstore() (Verdict, error) {
	if len(r.args) < 3 {
		return Pass, r.syntax("too short")
	}
	knows := r.target.Has("GEOSEARCHSTORE")
	dest, source := r.args[1], r.args[2]
	var from, radius, rest [][]byte
	store := []byte("STORE")
	for i := 3; i < len(r.args); i++ {
		left := r.args[i:]
		switch o := left[0]; {
		case is(o, "FROMMEMBER") && len(left) > 1:
			from = left[1:2]
			i++
		case is(o, "FROMLONLAT") && len(left) > 2:
			from = left[1:3]
			i += 2
		case is(o, "BYRADIUS") && len(left) > 2:
			radius = left[1:3]
			i += 2
		case is(o, "BYBOX") && len(left) > 3 && knows:
			i += 3
		case is(o, "BYPOLYGON") && len(left) > 1 && !r.lacks("BYPOLYGON"):
			n, _ := integer(left[1])
			i += 1 + 2*int(min(max(n, 0), int64(len(left))))
		case is(o, "STOREDIST"):
			store = o
		case is(o, "COUNT") && len(left) > 1:
			rest = append(rest, left[:2]...)
			i++
		case isOneOf(o, "ASC", "DESC"):
			rest = append(rest, o)
		case is(o, "ANY") && knows:
		default:
			return Pass, r.noEqual(printable(o))
		}
	}
	otherwise, err := r.geoStore()
	if err != nil {
		return Pass, err
	}
	if knows {
		return r.asItIs(otherwise)
	}
	if from == nil || radius == nil {
		return Pass, r.syntax("no centre or no radius")
	}
	name := "GEORADIUS"
	if len(from) == 1 {
		name = "GEORADIUSBYMEMBER"
	}
	if string(dest) != string(source) {
		r.add([]byte("DEL"), dest) // as in georadius
	}
	r.list = append(append(append(r.list[:0], []byte(name), source), from...), radius...)
	r.add(append(append(r.list, rest...), store, dest)...)
	return Replace, nil
}
