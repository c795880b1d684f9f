// Package rdb reads, writes and translates the RDB formats of Redis, Valkey and
// Redict: snapshots (the files, and what a full resync sends) and DUMP payloads.
//
//   - A [Scanner] finds where every element of a snapshot begins and ends,
//     without decoding it, and hands its bytes on untouched.
//   - A [Decoder] gives the parts of one value to a [Handler]; [DecodeValue]
//     collects them in a [Value], which [Format.AppendValue] encodes.
//   - A [Reader] reads a snapshot or a value in place, for those who go through
//     all of it and keep nothing, such as package digest, and for the Decoder. Its
//     [Pack] and [Intset] are all that knows the packed encodings.
//   - A [Transcoder] rewrites a value for a server that does not know its
//     encoding, a [Converter] a whole snapshot.
//   - [OpenDump] and [AppendDumpFooter] read and write what DUMP and RESTORE use.
//
// Nothing here trusts its input: whatever is malformed ends in an error that
// names the byte, and memory is taken only for bytes that have really come.
//
// The rules are those of the servers' rdb.h and rdb.c, and of the files that
// comments name. Numbers and names are theirs too.
package rdb
