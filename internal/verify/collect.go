package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"godwit/internal/digest"
)

// record is what the second look keeps of a key.
type record struct {
	hash     uint64 // of the name
	key      []byte
	db       int
	shard    int // whose it is
	expireAt int64
	digest.Value
}

// compare orders records by their names, those of one name by their dbs, and those of
// one db, of which there are several only where a side is divided, by their shards.
func (r *record) compare(o *record) int {
	return cmp.Or(cmp.Compare(r.hash, o.hash), bytes.Compare(r.key, o.key), cmp.Compare(r.db, o.db), cmp.Compare(r.shard, o.shard))
}

// append adds the record to b: its length, then its fields.
func (r *record) append(b []byte) []byte {
	const fixed = 3 * 8
	var numbers [3 * binary.MaxVarintLen64]byte
	n := binary.PutVarint(numbers[:], int64(r.db))
	n += binary.PutVarint(numbers[n:], int64(r.shard))
	n += binary.PutVarint(numbers[n:], r.expireAt)
	b = binary.AppendUvarint(b, uint64(fixed+n+1+len(r.Type)+len(r.key)))
	b = binary.LittleEndian.AppendUint64(b, r.hash)
	b = binary.LittleEndian.AppendUint64(b, r.Sum)
	b = binary.LittleEndian.AppendUint64(b, r.TTLs)
	b = append(b, numbers[:n]...)
	b = append(b, byte(len(r.Type))) // a module's type has nine letters
	b = append(b, r.Type...)
	return append(b, r.key...)
}

// parse reads what append has written, after its length. The name stays in b.
func (r *record) parse(b []byte, types map[string]string) {
	word := func() (n uint64) {
		n, b = binary.LittleEndian.Uint64(b), b[8:]
		return n
	}
	varint := func() int64 {
		n, size := binary.Varint(b)
		b = b[size:]
		return n
	}
	r.hash, r.Sum, r.TTLs = word(), word(), word()
	r.db, r.shard, r.expireAt = int(varint()), int(varint()), varint()
	name := b[1 : 1+b[0]]
	r.key = b[1+len(name):]
	known, ok := types[string(name)]
	if !ok {
		known = string(name)
		types[known] = known
	}
	r.Type = known
}

const (
	// partitionBits are how many bits of a name's hash choose its partition, other
	// ones at each level of collectors.
	partitionBits = 5
	partitions    = 1 << partitionBits
	// partitionBuffer is what is kept in memory of each partition: 8 MiB a side.
	partitionBuffer = 256 << 10
)

// collector keeps the records of one side: in memory if they are few, else in files
// in dir, one for each partition of the names.
type collector struct {
	dir   string
	level int

	mu    sync.Mutex
	parts [partitions]partition
}

type partition struct {
	buf  []byte
	file *os.File // without a name: it goes with the process
	size int64    // bytes in the file
}

func newCollector(dir string, level int) *collector { return &collector{dir: dir, level: level} }

// part chooses a record's partition. Sampling and buckets go by bits of the hash as
// it is, so that these would not be evenly spread.
func (c *collector) part(hash uint64) *partition {
	hash ^= hash >> 32
	hash *= 0x9e3779b97f4a7c15 // the golden ratio
	return &c.parts[hash>>(64-partitionBits*(c.level+1))%partitions]
}

// lastLevel has taken all bits but a few.
const lastLevel = 64/partitionBits - 1

// add keeps a record; it makes a copy of it.
func (c *collector) add(r *record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.part(r.hash)
	p.buf = r.append(p.buf)
	if len(p.buf) < partitionBuffer {
		return nil
	}
	return p.spill(c.dir)
}

// spill writes what is in memory to the file.
func (p *partition) spill(dir string) error {
	if p.file == nil {
		file, err := os.CreateTemp(dir, "second-look-")
		if err != nil {
			return spillError(err)
		}
		p.file = file
		if err := os.Remove(file.Name()); err != nil {
			return spillError(err)
		}
	}
	n, err := p.file.Write(p.buf)
	p.size += int64(n)
	if cap(p.buf) > 2*partitionBuffer {
		p.buf = nil // a name of megabytes has made it grow
	}
	p.buf = p.buf[:0]
	return spillError(err)
}

// settle gives back the memory of a collector that has files: what is read of it now
// needs some.
func (c *collector) settle() error {
	for i := range c.parts {
		p := &c.parts[i]
		if p.file == nil {
			continue
		}
		if err := p.spill(c.dir); err != nil {
			return err
		}
		p.buf = nil
	}
	return nil
}

// bytes is the size of a partition's records.
func (p *partition) bytes() int64 { return p.size + int64(len(p.buf)) }

// all reads a partition into memory.
func (p *partition) all() ([]record, error) {
	content := p.buf
	if p.file != nil {
		content = make([]byte, p.size, p.bytes())
		if _, err := p.file.ReadAt(content, 0); err != nil {
			return nil, spillError(err)
		}
		content = append(content, p.buf...)
	}
	var records []record
	types := make(map[string]string)
	for len(content) > 0 {
		size, n := binary.Uvarint(content)
		end := n + int(size) //nolint:gosec // written by us
		var r record
		r.parse(content[n:end], types)
		records = append(records, r)
		content = content[end:]
	}
	return records, nil
}

// divide puts a partition's records into a collector of the next level.
func (p *partition) divide(into *collector) error {
	var from io.Reader = bytes.NewReader(p.buf)
	if p.file != nil {
		from = io.MultiReader(io.NewSectionReader(p.file, 0, p.size), from)
	}
	in := bufio.NewReaderSize(from, partitionBuffer)
	types := make(map[string]string)
	var buf []byte
	for {
		size, err := binary.ReadUvarint(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return spillError(err)
		}
		buf = append(buf[:0], make([]byte, size)...)
		if _, err := io.ReadFull(in, buf); err != nil {
			return spillError(err)
		}
		var r record
		r.parse(buf, types)
		if err := into.add(&r); err != nil {
			return err
		}
	}
}

// close gives up the files.
func (c *collector) close() {
	for i := range c.parts {
		if p := &c.parts[i]; p.file != nil {
			_ = p.file.Close() // nothing in it is needed any more
		}
		c.parts[i] = partition{}
	}
}

func spillError(err error) error {
	if err == nil {
		return nil
	}
	return &hintedError{
		fmt.Errorf("what the second look keeps on disk: %w", err),
		"it takes some 50 bytes and the name for each key in a part of the keyspace that differs: make room for it, or compare less (--sample, --keys, --db)",
	}
}
