package persist

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// ParseManifest gives the names of the files that a manifest has loaded, in order.
func ParseManifest(text []byte) (names []string, err error) {
	m, err := parseManifest(text)
	for _, f := range m.files {
		names = append(names, f.name)
	}
	return names, err
}

// Read is what is read of a file of commands.
type Read struct {
	Commands []Command
	Cut      bool
	Err      error
}

// ReadCommands reads commands in memory.
func ReadCommands(text []byte) (r Read) {
	var c commandFile
	c.open("text", bytes.NewReader(text), 0, int64(len(text)))
	for {
		command, err := c.next()
		switch {
		case errors.Is(err, errCut):
			r.Cut = true
			return r
		case errors.Is(err, io.EOF):
			return r
		case err != nil:
			r.Err = err
			return r
		}
		command.Args = slices.Clone(command.Args)
		for i, arg := range command.Args {
			command.Args[i] = bytes.Clone(arg)
		}
		r.Commands = append(r.Commands, command)
	}
}
