// Package persist reads what a server has saved: an RDB file, an append only file
// (AOF) of one file, with or without a snapshot before its commands, and the append
// only files of several parts that Redis 7.0 and all later servers write.
//
// Whatever it is, a [Source] has at most one snapshot, which comes first, and then
// commands:
//
//	s, err := persist.Open("appendonlydir")
//	...
//	defer s.Close()
//	if snapshot := s.Snapshot(); snapshot != nil {
//		... // an io.Reader, as from a primary: read it to its end
//	}
//	for {
//		command, err := s.Next()
//		if errors.Is(err, io.EOF) {
//			break // s.LeftOut() tells what a server would not have loaded
//		}
//		...
//	}
//
// The rules are those of the servers' aof.c, and what they load is what is read here,
// with aof-load-truncated yes: an incomplete command or transaction at the very end is
// left out, and LeftOut says so. In one thing this package is stricter: an argument must
// end in CRLF, where servers pass over any two bytes.
//
// Commands are as they were saved, and mean what they meant then. Times are absolute,
// but for the TTL of RESTORE in what Redis 6.0 has written; and a key may be worked on
// after its time has passed, which a server that loads knows how to take and one that
// is a primary does not: docs/facts.md has the consequences.
package persist
