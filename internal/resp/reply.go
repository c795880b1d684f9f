package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Kind is what a reply is: its first byte.
type Kind byte

// The kinds of replies of RESP2, and those of RESP3 that are met where nothing but
// pushes is wanted of it.
const (
	Status  Kind = '+'
	Failure Kind = '-'
	Integer Kind = ':'
	Bulk    Kind = '$'
	Array   Kind = '*'
	Map     Kind = '%' // names and values in turn
	Push    Kind = '>' // what belongs to no command
	None    Kind = '_' // what is not there
)

// many tells of replies that have elements.
func (k Kind) many() bool { return k == Array || k == Map || k == Push }

// Reply is a reply to a command, or its beginning: the text of a bulk string comes
// from ReplyReader.Body, and each element of an array is a reply of its own, that
// Next returns.
type Reply struct {
	Kind Kind
	Null bool   // a bulk string or an array that is not there
	Line []byte // of a Status or Failure, without its first byte; valid until the next call
	// N is an Integer's number, a Bulk's size in bytes, how many elements there are in
	// an Array, Map or Push.
	N int64
}

// replyBuffer is the size of a ReplyReader's buffer, in bytes. A status or an error
// that is longer is ErrTooLarge.
const replyBuffer = 64 << 10

// bodyStep is how many bytes of a body are made room for at first.
const bodyStep = 64 << 10

// ReplyReader reads replies. It takes memory for its buffer only: bodies go where
// the caller wants them, or nowhere. It is not safe for concurrent use, and after
// an error it is of no use.
type ReplyReader struct {
	r    *bufio.Reader
	body int64 // bytes of a bulk string that have not been read, its CRLF excluded
	open bool  // there is one whose end has not been read
}

// NewReplyReader reads from r.
func NewReplyReader(r io.Reader) *ReplyReader {
	return &ReplyReader{r: bufio.NewReaderSize(r, replyBuffer)}
}

// Next reads the next reply. A body that has not been asked for is passed over.
// Errors are the reader's (io.ErrUnexpectedEOF within a reply), or say how the
// protocol is broken.
func (r *ReplyReader) Next() (Reply, error) {
	if err := r.passOver(); err != nil {
		return Reply{}, err
	}
	line, err := r.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return Reply{}, fmt.Errorf("%w: a line of more than %d bytes", ErrTooLarge, r.r.Size())
	case err != nil && len(line) > 0:
		return Reply{}, unexpected(err)
	case err != nil:
		return Reply{}, err
	case len(line) < 3 || line[len(line)-2] != '\r':
		return Reply{}, fmt.Errorf("resp: invalid reply: %.20q", line)
	}
	reply, line := Reply{Kind: Kind(line[0])}, line[1:len(line)-2]
	switch reply.Kind {
	case Status, Failure:
		reply.Line = line
	case Integer:
		reply.N, err = strconv.ParseInt(string(line), 10, 64)
	case Bulk:
		if reply.N, reply.Null, err = replyLength(line, MaxStreamArg); err == nil && !reply.Null {
			r.body, r.open = reply.N, true
		}
	case Array, Push:
		reply.N, reply.Null, err = replyLength(line, MaxStreamArgs)
	case Map:
		reply.N, reply.Null, err = replyLength(line, MaxStreamArgs/2)
		reply.N *= 2
	case None:
		reply.Null = true
	default:
		err = fmt.Errorf("unknown kind %q", byte(reply.Kind))
	}
	if err != nil {
		return Reply{}, fmt.Errorf("resp: invalid reply: %w", err)
	}
	return reply, nil
}

// replyLength is that of a bulk string or an array, -1 if there is none.
func replyLength(line []byte, limit int64) (n int64, null bool, err error) {
	if string(line) == "-1" {
		return 0, true, nil
	}
	if n, err = parseLength(line); err == nil && n > limit {
		err = fmt.Errorf("length beyond %d", limit)
	}
	return n, false, err
}

// Body appends the body of the bulk string that Next has returned to dst. Room is
// made as bytes come: a length by itself takes no memory.
func (r *ReplyReader) Body(dst []byte) ([]byte, error) {
	if !r.open {
		return dst, nil
	}
	for step := int64(bodyStep); r.body > 0; step *= 2 {
		n := int(min(r.body, step))
		dst = slices.Grow(dst, n)
		start := len(dst)
		got, err := io.ReadFull(r.r, dst[start:start+n])
		dst = dst[:start+got]
		r.body -= int64(got)
		if err != nil {
			return dst, unexpected(err)
		}
	}
	return dst, r.passOver()
}

// passOver leaves what has not been read of a body, and reads its CRLF.
func (r *ReplyReader) passOver() error {
	if !r.open {
		return nil
	}
	for r.body > 0 {
		n, err := r.r.Discard(int(min(r.body, 1<<30)))
		r.body -= int64(n)
		if err != nil {
			return unexpected(err)
		}
	}
	r.open = false
	end, err := r.r.Peek(2)
	if err != nil {
		return unexpected(err)
	}
	if end[0] != '\r' || end[1] != '\n' {
		return fmt.Errorf("resp: expected CRLF after a bulk string, got %q", end)
	}
	_, err = r.r.Discard(2)
	return err
}

// Skip passes over what belongs to a reply that Next has returned: its body, or its
// elements with all that is in them.
func (r *ReplyReader) Skip(reply Reply) error {
	if !reply.Kind.many() {
		return r.passOver()
	}
	for left := reply.N; left > 0; left-- {
		element, err := r.Next()
		if err != nil {
			return unexpected(err)
		}
		if element.Kind.many() {
			left += element.N
		}
	}
	return r.passOver()
}
