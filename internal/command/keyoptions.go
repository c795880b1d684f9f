package command

import "bytes"

// What a command does with its keys, by its options. An option that is not known
// has it depend on the value that is there.

const changes = reads | writes

// setAccess: SET key value [option …].
func setAccess(args [][]byte) (first, rest access) {
	for i := 3; i < len(args); i++ {
		if !isOneOf(args[i], "EX", "PX", "EXAT", "PXAT") {
			return changes, 0
		}
		i++
	}
	return writes, 0
}

// restoreAccess: RESTORE key ttl payload [option …].
func restoreAccess(args [][]byte) (first, rest access) {
	for i := 4; i < len(args); i++ {
		switch {
		case is(args[i], "REPLACE"):
			return writes, 0
		case isOneOf(args[i], "IDLETIME", "FREQ"):
			i++
		}
	}
	return changes, 0
}

// delexAccess: DELEX key [condition].
func delexAccess(args [][]byte) (first, rest access) {
	if len(args) == 2 {
		return writes, 0
	}
	return changes, 0
}

// msetexAccess: MSETEX count key value … [option …].
func msetexAccess(args [][]byte) (first, rest access) {
	for i := msetexOptions(args); i < len(args); i++ {
		if !isOneOf(args[i], "EX", "PX", "EXAT", "PXAT") {
			return changes, changes
		}
		i++
	}
	return writes, writes
}

// msetexOptions is where the options of a well-formed MSETEX begin.
func msetexOptions(args [][]byte) int {
	n, _ := integer(args[1])
	return 2 + 2*int(n)
}

// copyAccess: COPY source destination [DB db] [REPLACE].
func copyAccess(args [][]byte) (first, rest access) {
	for i := 3; i < len(args); i++ {
		switch {
		case is(args[i], "REPLACE"):
			return reads, writes
		case is(args[i], "DB"):
			i++
		}
	}
	return reads, changes
}

// copiesToDB finds a COPY that names a db, be it the selected one.
func copiesToDB(_ *placement, args [][]byte) (Placing, uint16, error) {
	if _, named := copyDB(args); named {
		return Dbs, 0, nil
	}
	return undecided, 0, nil
}

// copyDB is the argument of DB, the last one if there are several.
func copyDB(args [][]byte) (db []byte, named bool) {
	for i := 3; i+1 < len(args); i++ {
		if is(args[i], "DB") {
			db, named = args[i+1], true
			i++
		}
	}
	return db, named
}

// sortsByOthers finds a SORT that reads keys which it makes from the elements. A
// server of a cluster does not sort by them, and does not GET, or, from 7.4 on, only
// where the slot is in the pattern (sort.c sortCommandGeneric).
func sortsByOthers(_ *placement, args [][]byte) (Placing, uint16, error) {
	for i := 2; i+1 < len(args); i++ {
		switch {
		case is(args[i], "LIMIT"):
			i += 2
		case is(args[i], "STORE"):
			i++
		case isOneOf(args[i], "BY", "GET"):
			if is(args[i], "GET") || bytes.IndexByte(args[i+1], '*') >= 0 {
				return ByValue, 0, nil
			}
			i++
		}
	}
	return undecided, 0, nil
}

// addsOnce finds an XADD with IDMP or IDMPAUTO. From anyone but its primary, a server
// does not take these beside an ID, and there is one in a replication stream.
func addsOnce(_ *placement, args [][]byte) (Placing, uint16, error) {
	var s streamAdd
	if s.parse(args); s.idmp != "" {
		return ByValue, 0, nil
	}
	return undecided, 0, nil
}
