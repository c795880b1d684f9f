package persist

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Command is a command of an append only file.
type Command struct {
	Args [][]byte // valid until the next call of Next
	DB   int      // in which it is run; of a SELECT, the db before
	Size int64    // bytes in the file

	// Offset is how many bytes of the source there are up to the end of this command,
	// over all its files. It only grows, so that it tells how far something has come.
	Offset   int64
	Position Position
}

// Position is a place in one of the source's files, for people to read.
type Position struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"` // in bytes
}

func (p Position) String() string { return fmt.Sprintf("%s: byte %d", p.Path, p.Offset) }

// LeftOut is what a source holds and a server would not have loaded.
type LeftOut struct {
	// Tail is where the last file ends within a command, or within a transaction: a
	// server with aof-load-truncated yes loads what is before, and cuts the file.
	Tail      Position `json:"tail,omitzero"`
	TailBytes int64    `json:"tail_bytes"` // 0 if the file is complete

	// Strays counts what servers ignore: EXEC without MULTI, which Redis 6.0 writes
	// after a PFCOUNT, and MULTI within a transaction, which is what is left behind
	// where Redis has cut a file within a transaction and then gone on writing.
	Strays     int64    `json:"strays"`
	FirstStray Position `json:"first_stray,omitzero"`
}

// Source reads what a server has saved. It is not safe for concurrent use.
type Source struct {
	description Description
	parts       []*part

	at       int   // of the present part in parts
	before   int64 // bytes of the parts before it
	begun    bool  // its commands
	snapshot *snapshotReader
	commands commandFile
	leftOut  LeftOut
	err      error // of Next, from now on
}

// Snapshot is the snapshot that the source begins with, nil if it has none: an RDB
// file's bytes up to its exact end. They are to be read, all of them, before Next is
// called. The snapshot is verified on the way, its checksum too, before its last bytes
// are given out, so that readers of it need not do so again. Errors are an *Error.
func (s *Source) Snapshot() io.Reader {
	if s.snapshot == nil {
		return nil
	}
	return s.snapshot
}

// Next gives the next command, and io.EOF after the last one. Each transaction comes
// as MULTI, its commands and EXEC, and one that is begun is complete. Every other error
// is an *Error, and final.
func (s *Source) Next() (Command, error) {
	if s.err != nil {
		return Command{}, s.err
	}
	command, err := s.next()
	s.err = err
	return command, err
}

func (s *Source) next() (Command, error) {
	for s.at < len(s.parts) {
		p := s.parts[s.at]
		if !s.begun {
			if err := s.begin(p); err != nil {
				return Command{}, err
			}
		}
		command, err := s.commands.next()
		switch {
		case err == nil:
			command.Offset = s.before + s.commands.good
			return command, nil
		case errors.Is(err, errCut):
			err = s.cut(p)
		case errors.Is(err, io.EOF):
			err = nil
		}
		if err == nil {
			err = p.unchanged()
		}
		if err != nil {
			return Command{}, err
		}
		if err := p.close(); err != nil {
			return Command{}, err
		}
		s.before += p.Bytes
		s.begun = false
		s.at++
	}
	s.leftOut.Strays, s.leftOut.FirstStray = s.commands.strays, s.commands.strayAt
	return Command{}, io.EOF
}

// begin goes on with the commands of a part.
func (s *Source) begin(p *part) error {
	if err := p.open(); err != nil {
		return err
	}
	offset := int64(0)
	if s.at == 0 && s.snapshot != nil {
		if !s.snapshot.read() {
			return refused(p.path, "this is a defect of godwit", "the commands were asked for before the snapshot had been read")
		}
		offset = s.snapshot.end
	}
	s.commands.open(p.path, p.file, offset, max(p.Bytes, offset))
	s.begun = true
	return nil
}

// cut leaves out what is incomplete at the end of the last part.
func (s *Source) cut(p *part) error {
	at := s.commands.good
	if s.at < len(s.parts)-1 {
		return damagedAOF(p.path, at, errors.New("the file ends within a command or a transaction, and is not the last one"))
	}
	s.leftOut.Tail, s.leftOut.TailBytes = Position{Path: p.path, Offset: at}, p.Bytes-at
	return nil
}

// LeftOut tells what the source holds and a server would not have loaded. It is
// complete once Next has returned io.EOF.
func (s *Source) LeftOut() LeftOut { return s.leftOut }

// Timestamp is the time that the server wrote last before the command that Next has
// returned last (aof-timestamp-enabled, from Redis 7.0 on), to the second; the zero
// Time if it wrote none.
func (s *Source) Timestamp() time.Time {
	if s.commands.timestamp == 0 {
		return time.Time{}
	}
	return time.Unix(s.commands.timestamp, 0)
}

// Describe tells what there is to be read.
func (s *Source) Describe() Description { return s.description }

// Close closes the files.
func (s *Source) Close() error {
	var err error
	for _, p := range s.parts {
		err = errors.Join(err, p.close())
	}
	return err
}

// part is one file.
type part struct {
	Part
	path string
	file *os.File // nil while it is not open
}

func (p *part) open() error {
	if p.file != nil {
		return nil
	}
	file, err := os.Open(p.path)
	if err != nil {
		return failed(p.path, err)
	}
	p.file = file
	return p.unchanged()
}

// unchanged sees that nobody has written to the file since it was first looked at.
func (p *part) unchanged() error {
	stat, err := p.file.Stat()
	switch {
	case err != nil:
		return failed(p.path, err)
	case stat.Mode().IsRegular() && stat.Size() != p.Bytes:
		return changed(p.path)
	default:
		return nil
	}
}

func (p *part) close() error {
	if p.file == nil {
		return nil
	}
	file := p.file
	p.file = nil
	if err := file.Close(); err != nil {
		return failed(p.path, err)
	}
	return nil
}

// changed is the error of a file that is no longer what it was.
func changed(path string) error {
	return refused(path, "its server still writes to it: migrate from the server itself, or stop it, or copy its files first", "the file has changed while it was read")
}
