package apply

import (
	"bytes"
	"fmt"
	"strconv"

	"godwit/internal/resp"
)

const (
	// batchBytes and batchCommands end a batch: a shard does nothing else while it
	// carries one out, half a millisecond or so.
	batchBytes    = 64 << 10
	batchCommands = 256
	// batchArgs is how many arguments one batch may have: a server takes 1,048,576
	// (networking.c processMultibulkBuffer).
	batchArgs = 1 << 19
	// headRoom is what "*N\r\n" takes at most, in front of a batch.
	headRoom = 16
)

// mark is a place in a source's stream: behind the command that ends at an offset,
// and behind that many parts of the next one.
type mark struct {
	at   int64
	more int
	db   int // selected there
}

// text is a mark as the checkpoint has it, without more.
func (m mark) text() string { return fmt.Sprintf("%d %d", m.at, m.db) }

// batch is one call of the script, as it goes over the wire.
type batch struct {
	buf      []byte // headRoom bytes, then the arguments
	head     int    // where in buf the call begins, once it is sealed
	args     int
	commands int
	from, to mark
	number   int64 // among those of the lane
	in       int   // db of the target that is selected
	// deadline is the first moment, milliseconds since 1970, at which a key is to
	// expire that a command of it gives a life; 0 for none.
	deadline int64
	// inside tells that a command, or a transaction, of the source's has begun in it and
	// not ended.
	inside bool
}

// begin empties a batch for commands that follow from, for a shard that is sound up to
// safe.
func (b *batch) begin(sha string, key, owner []byte, from, safe mark) {
	b.buf = append(b.buf[:0], "0123456789abcdef"[:headRoom]...)
	b.args, b.commands, b.from, b.to, b.inside, b.deadline, b.in = 0, 0, from, from, false, 0, 0
	b.text("EVALSHA")
	b.text(sha)
	b.text("0")
	b.bytes(key)
	b.bytes(owner)
	b.integer(from.at)
	b.integer(int64(from.more))
	b.text(safe.text())
}

// add appends a command as it came over the wire, n arguments in body, without its
// "*N\r\n". The source said it in db. end is the offset at which the source's command
// ends if this is the last that is made of it; 0 if more of it follows.
func (b *batch) add(n int, body []byte, db int, end int64) {
	b.integer(int64(n) + int64(db)<<16)
	b.advance(db, end)
	b.buf = append(b.buf, body...)
	b.args += n
}

// repeat appends a command that does not count: where the batch ends before the
// source's command does, it is given once more.
func (b *batch) repeat(n int, body []byte) {
	b.integer(int64(n))
	b.integer(-1)
	b.commands++
	b.buf = append(b.buf, body...)
	b.args += n
}

// enter has the commands that follow be carried out in a db of the target.
func (b *batch) enter(db int) {
	if b.in == db {
		return
	}
	b.in = db
	var digits [20]byte
	var body [48]byte
	b.repeat(2, appendBulk(append(body[:0], "$6\r\nSELECT\r\n"...), strconv.AppendInt(digits[:0], int64(db), 10)))
}

func (b *batch) advance(db int, end int64) {
	b.commands++
	if end == 0 { // where the stream is read again from, another db was selected, perhaps
		b.integer(0)
		b.to.more++
		return
	}
	b.integer(end - b.to.at)
	b.to = mark{at: end, db: db}
}

// full tells whether the batch is to be sent before more is added.
func (b *batch) full() bool {
	return !b.inside && (len(b.buf) >= batchBytes || b.commands >= batchCommands) || b.args >= batchArgs
}

// expires notes that a command just added gives a key a life up to a moment, 0 for none.
func (b *batch) expires(at int64) {
	if at > 0 && (b.deadline == 0 || at < b.deadline) {
		b.deadline = at
	}
}

func (b *batch) empty() bool { return b.commands == 0 }

// seal puts the count in front, and returns the call. A PING follows: what it is answered
// comes after all that the shard tells by itself because of the call.
func (b *batch) seal() []byte {
	var head [headRoom]byte
	h := append(head[:0], '*')
	h = strconv.AppendInt(h, int64(b.args), 10)
	h = append(h, '\r', '\n')
	b.head = headRoom - len(h)
	copy(b.buf[b.head:], h)
	b.buf = append(b.buf, "*1\r\n$4\r\nPING\r\n"...)
	return b.buf[b.head:]
}

func (b *batch) text(s string) {
	b.args++
	b.buf = append(b.buf, '$')
	b.buf = strconv.AppendInt(b.buf, int64(len(s)), 10)
	b.buf = append(b.buf, '\r', '\n')
	b.buf = append(b.buf, s...)
	b.buf = append(b.buf, '\r', '\n')
}

func (b *batch) bytes(s []byte) {
	b.args++
	b.buf = appendBulk(b.buf, s)
}

func (b *batch) integer(n int64) {
	var digits [20]byte
	b.bytes(strconv.AppendInt(digits[:0], n, 10))
}

// appendBulk appends a bulk string.
func appendBulk(dst, s []byte) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, '\r', '\n')
	dst = append(dst, s...)
	return append(dst, '\r', '\n')
}

// bodyOf takes the "*N\r\n" off a command.
func bodyOf(command []byte) []byte {
	return command[bytes.IndexByte(command, '\n')+1:]
}

// each calls f for every command of a sealed batch, with the db of the target that it is
// carried out in, until it returns false.
func (b *batch) each(f func(db int, args [][]byte, size int64) bool) {
	call, err := resp.Scan(b.buf[b.head:], nil)
	if err != nil {
		return
	}
	db := 0
	for args := call.Args[batchHead:]; len(args) >= 2; {
		n, _ := strconv.ParseInt(string(args[0]), 10, 64)
		size, _ := strconv.ParseInt(string(args[1]), 10, 64)
		end := 2 + int(n&0xffff)
		if end > len(args) || !f(db, args[2:end], size) {
			return
		}
		if size < 0 && is(args[2], "select") {
			db, _ = strconv.Atoi(string(args[3]))
		}
		args = args[end:]
	}
}

// late calls f for each key to which a command gave a life that has ended at now.
func (b *batch) late(now int64, f func(db int, key []byte)) {
	b.each(func(db int, args [][]byte, _ int64) bool {
		if at := expiry(args); at > 0 && at <= now {
			for _, key := range mortal(args) {
				f(db, bytes.Clone(key))
			}
		}
		return true
	})
}
