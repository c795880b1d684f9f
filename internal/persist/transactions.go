package persist

import (
	"errors"
	"io"
	"strconv"

	"godwit/internal/resp"
)

// commandFile gives the commands of one file as a server would run them: a transaction
// is complete, or it is not there.
type commandFile struct {
	reader
	ahead reader // looks for the end of a transaction before its beginning is given out

	db      int  // that is selected; a file begins in db 0 (aof.c createAOFClient)
	within  bool // a transaction
	good    int64
	strays  int64
	strayAt Position // of the first one
}

// open begins with the commands that a file has from that offset on.
func (c *commandFile) open(path string, file io.ReaderAt, offset, end int64) {
	c.reset(path, file, offset, end)
	c.ahead.passesBy = true
	c.db, c.within, c.good = 0, false, offset
}

// next gives the next command, without its Offset in the source. After the last one
// comes io.EOF, or errCut if what is left from good on is the beginning of a command or
// of a transaction.
func (c *commandFile) next() (Command, error) {
	for {
		e, at, err := c.reader.next()
		if err != nil {
			return Command{}, err
		}
		command := Command{Args: e.Args, DB: c.db, Size: int64(e.Size), Position: Position{Path: c.path, Offset: at}}
		stray := false
		switch name := e.Args[0]; {
		case is(name, "MULTI"):
			if stray = c.within; !stray {
				if err := c.mustEnd(); err != nil {
					return Command{}, err
				}
				c.within = true
			}
		case is(name, "EXEC"):
			stray = !c.within
			c.within = false
		case is(name, "SELECT"):
			if err := c.selectDB(e, at); err != nil {
				return Command{}, err
			}
		}
		c.good = c.offset()
		if !stray {
			return command, nil
		}
		if c.strays++; c.strays == 1 {
			c.strayAt = command.Position
		}
	}
}

// mustEnd returns errCut if the transaction whose MULTI was read last has no EXEC.
func (c *commandFile) mustEnd() error {
	a := &c.ahead
	a.reset(c.path, c.file, c.offset(), c.end)
	for {
		e, _, err := a.next()
		switch {
		case errors.Is(err, io.EOF):
			return errCut
		case err != nil:
			return err
		case len(e.Args) > 0 && is(e.Args[0], "EXEC"):
			return nil
		}
	}
}

func (c *commandFile) selectDB(e resp.Extent, at int64) error {
	if len(e.Args) == 2 {
		if db, err := strconv.ParseUint(string(e.Args[1]), 10, 31); err == nil {
			c.db = int(db)
			return nil
		}
	}
	return damagedAOF(c.path, at, errors.New("a SELECT without the number of a db"))
}

// is compares a command's name, whose case does not count.
func is(name []byte, upper string) bool {
	if len(name) != len(upper) {
		return false
	}
	for i := range name {
		if name[i]&^('a'-'A') != upper[i] {
			return false
		}
	}
	return true
}
