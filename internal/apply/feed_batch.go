package apply

import "strconv"

// feedBatch is one transaction of the stream that a replica is fed: commands of one
// shard and, as its last, how far the shard's stream has been carried with them.
// A replica that loses its connection within a transaction goes back to before it
// (networking.c commandProcessed, replication.c replicationCacheMaster): it has
// commands and checkpoint together, or neither.
type feedBatch struct {
	buf      []byte
	commands int
	db       int // that is selected
	// inside tells that a transaction of the shard's has begun in it and not ended.
	inside bool

	link *feedLink       // nil if it is of no shard
	to   int64           // the shard's offset up to which it carries
	free chan *feedBatch // where it goes when it has been sent; nil for nowhere
}

func (b *feedBatch) begin() {
	b.buf = append(b.buf[:0], "*1\r\n$5\r\nMULTI\r\n"...)
	b.commands, b.db, b.inside, b.to = 0, -1, false, 0
}

// add appends a command as it goes over the wire.
func (b *feedBatch) add(db int, raw []byte) {
	b.in(db)
	b.buf = append(b.buf, raw...)
	b.commands++
}

// in selects a db: each transaction by itself, as another link's may come before it.
func (b *feedBatch) in(db int) {
	if b.db == db {
		return
	}
	b.db = db
	b.buf = append(b.buf, "*2\r\n$6\r\nSELECT\r\n"...)
	b.buf = appendBulk(b.buf, strconv.AppendInt(nil, int64(db), 10))
}

// put appends a command of godwit's own.
func (b *feedBatch) put(db int, args ...[]byte) {
	b.in(db)
	b.buf = append(b.buf, '*')
	b.buf = strconv.AppendInt(b.buf, int64(len(args)), 10)
	b.buf = append(b.buf, '\r', '\n')
	for _, a := range args {
		b.buf = appendBulk(b.buf, a)
	}
	b.commands++
}

// note appends what fields of the checkpoint are from then on. It counts the
// transactions, too: one that the replica refuses as a whole is missed in the count.
func (b *feedBatch) note(key []byte, fields ...string) {
	args := [][]byte{[]byte("HSET"), key}
	for _, f := range fields {
		args = append(args, []byte(f))
	}
	b.put(checkpointDB, args...)
	b.put(checkpointDB, []byte("HINCRBY"), key, []byte(countField), []byte("1"))
}

// seal ends the transaction.
func (b *feedBatch) seal() { b.buf = append(b.buf, "*1\r\n$4\r\nEXEC\r\n"...) }

func (b *feedBatch) full() bool {
	return !b.inside && (len(b.buf) >= batchBytes || b.commands >= batchCommands)
}
