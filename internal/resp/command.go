// Package resp reads and writes the Redis serialization protocol, version 2:
// what replicas, primaries and control commands exchange. A command is an
// array of bulk strings; its extent in bytes matters as much as its meaning,
// because replication offsets count bytes.
package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Limits of what a Reader takes from a peer that has yet to prove itself.
const (
	MaxArgs    = 1024
	MaxArgSize = 64 << 10 // bytes
)

// ErrTooLarge is returned for a command beyond MaxArgs or MaxArgSize.
var ErrTooLarge = errors.New("resp: command too large")

// Command is one command as a server receives it. Args are valid until the
// next call of the reader that made them.
type Command struct {
	Args [][]byte
	Size int64 // bytes on the wire, the leading newlines not counted
}

// Name is the first argument, nil for a command without any.
func (c Command) Name() []byte {
	if len(c.Args) == 0 {
		return nil
	}
	return c.Args[0]
}

// ReadCommand reads one small command from a peer (an array of bulk strings,
// or an inline one as Redis 2 replicas send), skipping the newlines that
// servers send as keepalive; Newlines counts them.
func ReadCommand(r *bufio.Reader) (cmd Command, newlines int, err error) {
	var line []byte
	for {
		line, err = ReadLine(r)
		if err != nil {
			return Command{}, newlines, err
		}
		if len(line) > 0 {
			break
		}
		newlines++
	}
	cmd.Size = int64(len(line)) + 2
	if line[0] != '*' {
		for _, f := range splitInline(line) {
			cmd.Args = append(cmd.Args, append([]byte(nil), f...))
		}
		return cmd, newlines, nil
	}
	n, err := parseLength(line[1:])
	if err != nil {
		return Command{}, newlines, err
	}
	if n > MaxArgs {
		return Command{}, newlines, ErrTooLarge
	}
	for range n {
		line, err = ReadLine(r)
		if err != nil {
			return Command{}, newlines, unexpected(err)
		}
		if len(line) == 0 || line[0] != '$' {
			return Command{}, newlines, fmt.Errorf("resp: expected '$', got %.20q", line)
		}
		size, err := parseLength(line[1:])
		if err != nil {
			return Command{}, newlines, err
		}
		if size > MaxArgSize {
			return Command{}, newlines, ErrTooLarge
		}
		cmd.Size += int64(len(line)) + 2 + size + 2
		arg := make([]byte, size+2)
		if _, err := io.ReadFull(r, arg); err != nil {
			return Command{}, newlines, unexpected(err)
		}
		cmd.Args = append(cmd.Args, arg[:size])
	}
	return cmd, newlines, nil
}

// ReadLine reads up to a newline and returns the line without its CRLF or LF.
// It is valid until the next read. A line longer than the reader's buffer is an error.
func ReadLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, ErrTooLarge
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
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("resp: bad length %.20q", b)
	}
	return n, nil
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
