// Package traffic sends a server random write commands that are valid for it:
// every one that it has, with every option, on every type, in several dbs. Which
// commands are sent depends only on the options and on what the server is and
// has, so that a seed repeats them.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/server"
)

// Feature is something that only some servers have.
type Feature string

// The features that Options.Without can leave out: data that some servers cannot
// hold, by the names of --drop, and commands that others have no words for.
const (
	HashFieldTTL Feature = "hash-field-ttl" // Redis 7.4, Valkey 9.0
	Function     Feature = "function"       // 7.0
	VectorSet    Feature = "vector-set"     // Redis 8.0
	StreamIDMP   Feature = "stream-idmp"    // Redis 8.6: producers of XADD IDMP

	GeoStore Feature = "geo-store" // GEORADIUS … STORE and GEOSEARCHSTORE, which are computed anew by who gets them

	BitOps    Feature = "BITOP DIFF, DIFF1, ANDOR, ONE" // Redis 8.2
	GeoSearch Feature = "GEOSEARCHSTORE BYBOX"          // 6.2
)

// Features are all of them.
func Features() []Feature {
	return []Feature{HashFieldTTL, Function, VectorSet, StreamIDMP, GeoStore, BitOps, GeoSearch}
}

// Options say what is sent.
type Options struct {
	Seed     uint64
	Commands int       // at least so many; what belongs together, such as a transaction, is not cut
	DBs      []int     // where to; the last of several is the one that FLUSHDB empties. Default: the endpoint's own
	Prefix   string    // of every key's name
	Now      time.Time // what TTLs and stream IDs are counted from; default: the present time
	Without  []Feature // to send nothing of
	FlushAll bool      // send one FLUSHALL, early on
	NoFlush  bool      // send no FLUSHDB
	NoSwap   bool      // send no SWAPDB
}

// Count is what became of commands.
type Count struct {
	Sent    int
	Refused int // by an error reply: a wrong type, an absent group, an overflow
}

// Report is what was sent.
type Report struct {
	Total    Count
	Commands map[string]Count // by name as COMMAND lists it, such as "xgroup|create"
	Refusals map[string]int   // by command and error reply
}

// MistakeError is a command that the server does not know or cannot parse: a
// defect of this package.
type MistakeError struct {
	Command string // with its arguments
	Err     error
}

func (e *MistakeError) Error() string { return fmt.Sprintf("%.500q: %v", e.Command, e.Err) }
func (e *MistakeError) Unwrap() error { return e.Err }

// pipelined is about how many commands are on their way at once.
const pipelined = 128

// Run sends the commands, pipelined, on one connection. The error is that of the
// connection or a *MistakeError.
func Run(ctx context.Context, e server.Endpoint, o Options) (Report, error) {
	report, err := run(ctx, e, o)
	if err != nil {
		return report, fmt.Errorf("traffic with seed %d to %s: %w", o.Seed, e, err)
	}
	return report, nil
}

func run(ctx context.Context, e server.Endpoint, o Options) (Report, error) {
	if len(o.DBs) == 0 {
		o.DBs = []int{e.DB}
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	r := Report{Commands: make(map[string]Count), Refusals: make(map[string]int)}
	client, err := server.Dial(ctx, e, "godwit-traffic")
	if err != nil {
		return r, err
	}
	defer client.Close() //nolint:errcheck // every reply has been read
	conn := client.Redis().Conn()
	defer conn.Close() //nolint:errcheck // as above
	s, err := ask(ctx, client)
	if err != nil {
		return r, err
	}
	g := newGenerator(s, o)
	if g.samples, err = dumpSamples(ctx, conn, g); err != nil {
		return r, fmt.Errorf("values for RESTORE: %w", err)
	}
	g.selectDB()
	for r.Total.Sent < o.Commands {
		for len(g.queue) < pipelined {
			g.next()
		}
		if err := r.send(ctx, conn, g.queue); err != nil {
			return r, err
		}
		g.queue = g.queue[:0]
	}
	return r, nil
}

// send sends commands and counts what became of them.
func (r *Report) send(ctx context.Context, conn *redis.Conn, queue [][]any) error {
	pipe := conn.Pipeline()
	for _, args := range queue {
		pipe.Do(ctx, args...)
	}
	cmds, err := pipe.Exec(ctx)
	if err != nil && !isReply(err) {
		return err
	}
	var queued [][]any // since MULTI
	inMulti := false
	for i, args := range queue {
		reply, err := cmds[i].(*redis.Cmd).Result()
		if err := r.count(args, err); err != nil {
			return err
		}
		switch name := commandName(args); {
		case name == "multi":
			inMulti = true
		case name == "exec":
			replies, _ := reply.([]any)
			for i, reply := range replies {
				if err, ok := reply.(error); ok && i < len(queued) {
					if err := r.refused(queued[i], err); err != nil {
						return err
					}
				}
			}
			queued, inMulti = nil, false
		case name == "discard":
			queued, inMulti = nil, false
		case inMulti:
			queued = append(queued, args)
		}
	}
	return nil
}

func (r *Report) count(args []any, err error) error {
	name := commandName(args)
	c := r.Commands[name]
	c.Sent++
	r.Commands[name] = c
	r.Total.Sent++
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	return r.refused(args, err)
}

func (r *Report) refused(args []any, err error) error {
	if isMistake(err) {
		return &MistakeError{Command: fmt.Sprint(args...), Err: err}
	}
	name := commandName(args)
	c := r.Commands[name]
	c.Refused++
	r.Commands[name] = c
	r.Total.Refused++
	r.Refusals[name+": "+err.Error()]++
	return nil
}

// commandName is what COMMAND calls a command.
func commandName(args []any) string {
	name := strings.ToLower(fmt.Sprint(args[0]))
	if name == "xgroup" || name == "function" || name == "script" {
		name += "|" + strings.ToLower(fmt.Sprint(args[1]))
	}
	return name
}

// isReply tells an error reply from a failed connection.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// isMistake tells that the server has not understood the command.
func isMistake(err error) bool {
	text := strings.ToLower(err.Error())
	for _, sign := range []string{
		"unknown command", "unknown subcommand", "unknown argument", "syntax error", "wrong number of", "unrecognized",
		"unsupported", "execabort", "invalid option", "numkeys", "numfields", "mandatory", "bad data format", "payload version",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
