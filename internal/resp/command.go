// Package resp reads and writes the Redis serialization protocol, version 2:
// what replicas, primaries and control commands exchange. A command is an
// array of bulk strings; its extent in bytes matters as much as its meaning,
// because replication offsets count bytes.
package resp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Limits of what ReadCommand takes from a peer that has yet to prove itself:
// ample for a handshake and for ACKs, and half a megabyte at most.
const (
	MaxArgs    = 32
	MaxArgSize = 16 << 10 // bytes
)

// ErrTooLarge is returned for a command beyond MaxArgs or MaxArgSize.
var ErrTooLarge = errors.New("resp: command too large")

// Command is one command as a server receives it.
type Command struct {
	Args [][]byte
	Size int64 // bytes on the wire, not counting what was skipped before it
}

// Name is the first argument, nil for a command without any.
func (c Command) Name() []byte {
	if len(c.Args) == 0 {
		return nil
	}
	return c.Args[0]
}

// ReadCommand reads one small command from a peer: an array of bulk strings,
// or an inline one as Redis 2 replicas send. It has at least one argument:
// newlines, which servers send as keepalive and which are counted, and arrays
// of nothing are skipped, as a server does (networking.c processInputBuffer).
func ReadCommand(r *bufio.Reader) (cmd Command, newlines int, err error) {
	for len(cmd.Args) == 0 {
		line, err := ReadLine(r)
		if err != nil {
			return Command{}, newlines, err
		}
		if len(line) == 0 {
			newlines++
			continue
		}
		if cmd, err = readCommand(r, line); err != nil {
			return Command{}, newlines, err
		}
	}
	return cmd, newlines, nil
}

// readCommand reads the command that begins with line.
func readCommand(r *bufio.Reader, line []byte) (Command, error) {
	cmd := Command{Size: int64(len(line)) + 2}
	if line[0] != '*' {
		for _, f := range splitInline(line) {
			cmd.Args = append(cmd.Args, bytes.Clone(f))
		}
		return cmd, nil
	}
	n, err := parseLength(line[1:])
	if err != nil {
		return Command{}, err
	}
	if n > MaxArgs {
		return Command{}, fmt.Errorf("%w: %d arguments", ErrTooLarge, n)
	}
	for range n {
		line, err := ReadLine(r)
		if err != nil {
			return Command{}, unexpected(err)
		}
		if len(line) == 0 || line[0] != '$' {
			return Command{}, fmt.Errorf("resp: expected '$', got %.20q", line)
		}
		size, err := parseLength(line[1:])
		if err != nil {
			return Command{}, err
		}
		if size > MaxArgSize {
			return Command{}, fmt.Errorf("%w: an argument of %d bytes", ErrTooLarge, size)
		}
		cmd.Size += int64(len(line)) + 2 + size + 2
		arg := make([]byte, size+2)
		if _, err := io.ReadFull(r, arg); err != nil {
			return Command{}, unexpected(err)
		}
		if end := arg[size:]; end[0] != '\r' || end[1] != '\n' {
			return Command{}, fmt.Errorf("resp: expected CRLF after an argument, got %q", end)
		}
		cmd.Args = append(cmd.Args, arg[:size:size])
	}
	return cmd, nil
}

// ReadLine reads up to a newline and returns the line without its CRLF or LF.
// It is valid until the next read. A line longer than the reader's buffer is an error.
func ReadLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrTooLarge, r.Size())
		}
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// AppendCommand appends a command to dst.
func AppendCommand(dst []byte, args ...string) []byte {
	dst = appendHeader(dst, '*', len(args))
	for _, arg := range args {
		dst = appendHeader(dst, '$', len(arg))
		dst = append(dst, arg...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

func appendHeader(dst []byte, kind byte, n int) []byte {
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}

func parseLength(b []byte) (int64, error) {
	n, err := strconv.ParseUint(string(b), 10, 63) // no sign
	if err != nil {
		return 0, fmt.Errorf("resp: bad length %.20q", b)
	}
	return int64(n), nil
}

func splitInline(line []byte) [][]byte {
	var fields [][]byte
	start := -1
	for i, c := range line {
		if c == ' ' || c == '\t' {
			if start >= 0 {
				fields = append(fields, line[start:i])
			}
			start = -1
		} else if start < 0 {
			start = i
		}
	}
	if start >= 0 {
		fields = append(fields, line[start:])
	}
	return fields
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendArgs is AppendCommand for arguments that are bytes already.
func AppendArgs(dst []byte, args ...[]byte) []byte {
	dst = appendHeader(dst, '*', len(args))
	for _, arg := range args {
		dst = appendHeader(dst, '$', len(arg))
		dst = append(dst, arg...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}
