package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// streams are what a verb reads and writes, and its environment.
type streams struct {
	in       io.Reader
	out, err io.Writer
	env      func(name string) (value string, found bool)
	exit     func(code int) // ends the process at once
}

func systemStreams() streams {
	return streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv, exit: os.Exit}
}

// interactive tells whether a view with keys can be shown.
func (s streams) interactive() bool {
	name, _ := s.env("TERM")
	return name != "dumb" && isTerminal(s.in) && isTerminal(s.out)
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) //nolint:gosec // a descriptor is small
}
