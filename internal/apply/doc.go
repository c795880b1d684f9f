// Package apply is the apply engine: it writes what a source replicates into
// servers that cannot be made replicas, the shards of a cluster.
//
// To the source godwit is a replica. What it sends waits in a spool. The keys of
// the snapshot become RESTOREs, over several connections per shard. The commands
// of the stream go to the shard of their slot, over one connection per shard, in
// batches: each batch is one call of a script that runs the commands in order and
// writes, as its last act, how far the shard has come: the checkpoint. So commands
// and checkpoint are one atomic unit, for the shard, for its replica and for its
// append-only file, and wherever a shard is found after a crash, a restart or a
// failover, its checkpoint says what it has. There is one way to go on from
// anything: ask the shards how far each has come, read the stream again from the
// least of these places, and leave to each slot what it has not had yet.
//
// A Feed is the way back: what the shards of a cluster say becomes the replication
// stream of the server that was the primary before them.
package apply
