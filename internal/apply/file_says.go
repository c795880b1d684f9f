package apply

import (
	"errors"
	"fmt"
	"slices"

	"godwit/internal/command"
	"godwit/internal/persist"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/route"
)

// FileCommandError says which command of a file cannot be carried.
type FileCommandError struct {
	Command string
	At      persist.Position
	Later   bool // or at a later place
	Hint    string
	Err     error
}

func (e *FileCommandError) Error() string {
	if e.Later {
		return fmt.Sprintf("%s, or later: %v", e.At, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.At, e.Command, e.Err)
}
func (e *FileCommandError) Unwrap() error { return e.Err }

// HintText is what the user can do about it.
func (e *FileCommandError) HintText() string {
	if e.Hint != "" {
		return e.Hint
	}
	return hintOf(e.Err)
}

// again tells that it may well be carried out when it is tried again.
func (e *FileCommandError) again() bool {
	var refused *CommandError
	return errors.As(e.Err, &refused) && refused.again()
}

// loadFirst is the way around what only a server can work out.
const loadFirst = "load the file into a server of its own (redis-server --appendonly yes, with the file in its dir), and migrate from that"

// sayer says the commands of a file in the target's words, and each to whom.
type sayer struct {
	cluster  bool // the target is one
	route    route.Route
	placer   *command.Placer
	rewriter *command.Rewriter
	timer    *timer
	to       sink
	// checkpoint is the name of the target's only one if it is no cluster: a SWAPDB takes
	// it along.
	checkpoint string

	in        selection // the db of the command at hand
	within    bool      // a transaction
	renamer   route.Renamer
	positions []int
	made      []byte
	parts     [][]byte
	body      []byte
	piece     []byte
}

// sink is given what a sayer says.
type sink interface {
	// one is for the shard of a slot, in a db of the target: n arguments in body. whole tells
	// that it is all of what the file's command becomes.
	one(db int, of uint16, n int, body []byte, whole bool) error
	// all is for every shard.
	all(db, n int, body []byte) error
	// empty has every shard delete the keys of one db of the file, where its db at the target
	// has those of others, too.
	empty(way *route.Way) error
	// stays tells of a command on keys of a db that stays behind.
	stays()
	// beside is for every shard, and counts as no part of the file's command.
	beside(n int, body []byte) error
	// outside is for every shard, and not for a script.
	outside(command []byte, name string) error
	// ends tells that a transaction of the file has ended.
	ends()
}

func newSayer(c FileConfig, crc *rdb.CRC64, now int64, cluster bool, leftOut func(rdb.Feature), to sink) *sayer {
	o := command.Options{Drop: c.Transcoder.Drop, Client: true, Dropped: func(l rdb.LeftOut) { leftOut(l.Feature) }}
	knows := c.Capabilities
	if cluster {
		knows.Databases = 0 // they are seen to by the route
	}
	return &sayer{
		cluster: cluster, route: c.Route, in: places(c.Route, cluster, 0),
		placer: command.NewPlacer(c.Written), rewriter: command.NewRewriter(c.Written, knows, o),
		timer: &timer{target: c.Capabilities.Format, now: now, crc: crc}, to: to,
	}
}

// command says one. Errors of its own are a *FileCommandError.
func (s *sayer) command(c persist.Command) error {
	if c.DB != s.in.db {
		s.in = places(s.route, s.cluster, c.DB)
	}
	err := s.place(c.Args)
	var own *sinkError
	if err == nil || errors.As(err, &own) {
		return err
	}
	e := &FileCommandError{Command: string(c.Args[0]), At: c.Position, Err: err}
	if errors.Is(err, errRelative) || errors.Is(err, errOfSeveralShards) || errors.Is(err, errScript) || ofDBs(err) {
		e.Hint = loadFirst
	}
	return e
}

// sinkError is one of the sink.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// took makes an error of the sink known as such.
func took(err error) error {
	if err == nil {
		return nil
	}
	return &sinkError{err}
}

var (
	errOfSeveralShards = errors.New("its keys are of several shards, and a file cannot be asked for the values that it made")
	errScript          = errors.New("no script of godwit's can run it, and its effect is not in the file")
)

func (s *sayer) place(args [][]byte) error {
	placing, of, err := s.placer.Place(args)
	var unplaced *command.PlaceError
	if errors.As(err, &unplaced) && !s.cluster {
		placing, err = command.OneSlot, nil // whatever its keys are
	}
	if err == nil && !s.in.plain && keyed(placing) {
		var left bool
		if args, left, err = s.rename(args); left {
			s.to.stays()
			return nil
		}
		if err == nil {
			placing, of, err = s.placer.Place(args)
		}
	}
	if err != nil {
		return err
	}
	switch placing {
	case command.NoData:
		return s.state(args)
	case command.Once: // PUBLISH: nobody is to hear it again
		return nil
	case command.Everywhere:
		return s.everywhere(args)
	case command.OneSlot:
		return s.say(of, args, true)
	case command.Parts:
		if s.cluster {
			return s.placer.Split(args, func(of uint16, part [][]byte) error { return s.say(of, part, false) })
		}
		return s.say(0, args, true)
	case command.Dbs:
		if s.cluster {
			return s.beyond(args)
		}
		if err := s.aside(args); err != nil {
			return err
		}
		return s.say(0, args, false)
	case command.ByValue:
		if s.cluster {
			return errOfSeveralShards
		}
		return s.say(0, args, true)
	default:
		return fmt.Errorf("(%v) cannot be carried", placing)
	}
}

// aside takes the checkpoint out of a db that is about to become another. The script
// writes it again.
func (s *sayer) aside(args [][]byte) error {
	if !is(args[0], "swapdb") {
		return nil
	}
	s.body = appendBulk(s.body[:0], []byte("DEL"))
	s.body = appendBulk(s.body, []byte(s.checkpoint))
	return took(s.to.beside(2, s.body))
}

// state follows what the file's connection is in, as the rewriter does.
func (s *sayer) state(args [][]byte) error {
	var err error
	if s.made, _, err = s.rewriter.Rewrite(s.made[:0], args); err != nil {
		return err
	}
	switch name := args[0]; {
	case is(name, "multi"):
		s.within = true
	case is(name, "exec"):
		s.within = false
		s.to.ends()
	}
	return nil
}

// everywhere says a command that is for every shard.
func (s *sayer) everywhere(args [][]byte) error {
	made, verdict, err := s.rewriter.Rewrite(s.made[:0], args)
	if s.made = made; err != nil {
		return err
	}
	if verdict == command.Pass {
		made = resp.AppendArgs(s.made[:0], args...)
		s.made = made
	}
	for rest := made; len(rest) > 0; {
		e, err := resp.Scan(rest, s.parts)
		if err != nil {
			return fmt.Errorf("rewritten: %w", err)
		}
		s.parts = e.Args
		raw := rest[:e.Size]
		rest = rest[e.Size:]
		switch name := e.Args[0]; {
		case is(name, "multi"), is(name, "exec"):
		case is(name, "flushall"):
			err = s.to.all(0, len(e.Args), bodyOf(raw))
		case is(name, "flushdb"):
			err = s.flushDB(len(e.Args), bodyOf(raw))
		case is(name, "script"): // nothing in a file calls what it loads
		default:
			command, name := again(e.Args, raw)
			err = s.to.outside(command, name)
		}
		if err != nil {
			return took(err)
		}
	}
	return nil
}

// say says a command with keys of one slot. whole says that it is all of what the file has.
func (s *sayer) say(of uint16, args [][]byte, whole bool) error {
	made, verdict, err := s.rewriter.Rewrite(s.made[:0], args)
	if s.made = made; err != nil {
		return err
	}
	if verdict == command.Pass {
		return s.give(of, args, whole)
	}
	for rest := made; len(rest) > 0; {
		e, err := resp.Scan(rest, s.parts)
		if err != nil {
			return fmt.Errorf("rewritten: %w", err)
		}
		s.parts = e.Args
		rest = rest[e.Size:]
		if is(e.Args[0], "multi") || is(e.Args[0], "exec") {
			continue // it goes into one batch anyway
		}
		if err := s.give(of, e.Args, false); err != nil {
			return err
		}
	}
	return nil
}

// give gives away one command, its times put off.
func (s *sayer) give(of uint16, args [][]byte, whole bool) error {
	if is(args[0], "eval") || is(args[0], "evalsha") || is(args[0], "fcall") {
		return errScript
	}
	args, err := s.timer.later(args)
	if err != nil {
		return err
	}
	if len(args) <= maxArgs {
		s.body = s.body[:0]
		for _, a := range args {
			s.body = appendBulk(s.body, a)
		}
		return took(s.to.one(s.in.to, of, len(args), s.body, whole))
	}
	before, together := groups(args)
	if together == 0 {
		return fmt.Errorf("it has %d arguments, more than a script may hand over, and cannot be divided", len(args))
	}
	for rest := range slices.Chunk(args[before:], maxArgs/together*together-before*together) {
		s.piece = s.piece[:0]
		for _, a := range slices.Concat(args[:before], rest) {
			s.piece = appendBulk(s.piece, a)
		}
		if err := took(s.to.one(s.in.to, of, before+len(rest), s.piece, false)); err != nil {
			return err
		}
	}
	return nil
}
