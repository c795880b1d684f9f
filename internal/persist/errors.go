package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"godwit/internal/rdb"
)

// Error says what is wrong with a file, and where in it.
type Error struct {
	Path   string
	Offset int64 // of the place in the file, in bytes; nowhere if it is the file as such
	Hint   string
	Err    error
}

// nowhere is the Offset of an error that belongs to no place in a file.
const nowhere = -1

func (e *Error) Error() string {
	if e.Offset == nowhere {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: byte %d: %v", e.Path, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// HintText is what the user can do about it; commands print it after the error.
func (e *Error) HintText() string { return e.Hint }

// refused is an *Error about a file as such.
func refused(path, hint, format string, args ...any) error {
	return &Error{Path: path, Offset: nowhere, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// failed is an *Error of the system's.
func failed(path string, err error) error {
	var withPath *fs.PathError
	if errors.As(err, &withPath) {
		err = withPath.Err // the path is said anyway
	}
	return &Error{Path: path, Offset: nowhere, Hint: "check the path, and that this user may read it", Err: err}
}

// damagedRDB is an error of package rdb about a snapshot in that file.
func damagedRDB(path string, err error) error {
	e := &Error{Path: path, Offset: nowhere, Err: err, Hint: fmt.Sprintf("ask redis-check-rdb %s; take another copy of the file, or another backup", path)}
	var syntax *rdb.SyntaxError
	var read *rdb.ReadError
	var format *rdb.FormatError
	switch {
	case errors.As(err, &syntax):
		e.Offset, e.Err = syntax.Offset, errors.New(syntax.Reason)
	case errors.As(err, &read) && errors.Is(err, io.ErrUnexpectedEOF):
		e.Offset, e.Err = read.Offset, fmt.Errorf("the file ends within its snapshot: %w", io.ErrUnexpectedEOF)
		e.Hint = fmt.Sprintf("it was cut, and no server loads it; take another copy of the file, or another backup (redis-check-rdb %s tells the same)", path)
	case errors.As(err, &read):
		return failed(path, read.Err)
	case errors.As(err, &format):
		e.Hint = "a server newer than any that this version of godwit knows has written it"
	}
	return e
}

// damagedAOF is an error about a place among the commands of a file.
func damagedAOF(path string, offset int64, err error) error {
	return &Error{
		Path: path, Offset: offset, Err: err,
		Hint: fmt.Sprintf("no server loads this file; ask redis-check-aof %s (with --fix it cuts the file off there, and what comes after is lost)", path),
	}
}
