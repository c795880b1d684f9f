// Package divide tells which of several standalone servers has a key, where clients have
// divided their keys among them: by a rule that is built in, or by a program that answers.
package divide

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"godwit/internal/slot"
)

// The rules that are built in.
const (
	// CRC32 is the IEEE CRC-32 of the key, modulo the number of servers.
	CRC32 = "crc32"
	// CRC16 is that of the slots of a cluster, so of the hash tag where the key has one,
	// modulo the number of servers.
	CRC16 = "crc16"
)

// Rule tells for each key which of the servers has it, by a number from 0 on. It is safe for
// concurrent use. Close ends what it has started.
type Rule struct {
	name    string
	servers int
	hash    func(key []byte) uint32 // nil where a program is asked
	program *program
}

// New is the rule that a text names, among so many servers: CRC32, CRC16, or a program with
// its arguments, separated by blanks. The program is started once it is asked.
func New(text string, servers int) (*Rule, error) {
	r := &Rule{name: text, servers: servers}
	words := strings.Fields(text)
	switch {
	case servers < 2:
		return nil, fmt.Errorf("among %d server nothing is divided", servers)
	case len(words) == 0:
		return nil, errors.New("no rule is named")
	case text == CRC32:
		r.hash = crc32.ChecksumIEEE
	case text == CRC16:
		r.hash = func(key []byte) uint32 { return uint32(slot.Checksum(key)) }
	default:
		r.program = &program{args: words, servers: servers}
	}
	return r, nil
}

// String is what New was given.
func (r *Rule) String() string { return r.name }

// Asks tells whether somebody is asked: many keys at once take little more time than one.
func (r *Rule) Asks() bool { return r.program != nil }

// Of is the server of a key. The error is a *ProgramError, or that of ctx.
func (r *Rule) Of(ctx context.Context, key []byte) (int, error) {
	if r.hash != nil {
		return int(r.hash(key) % uint32(r.servers)), nil
	}
	of, err := r.program.ask(ctx, [][]byte{key}, nil)
	if err != nil {
		return 0, err
	}
	return of[0], nil
}

// AppendOf appends the servers of some keys. Errors are those of Of.
func (r *Rule) AppendOf(ctx context.Context, dst []int, keys [][]byte) ([]int, error) {
	if r.hash == nil {
		return r.program.ask(ctx, keys, dst)
	}
	for _, key := range keys {
		dst = append(dst, int(r.hash(key)%uint32(r.servers)))
	}
	return dst, nil
}

// Close ends the program, if one was started. A later question starts it again.
func (r *Rule) Close() {
	if r.program != nil {
		r.program.close()
	}
}
