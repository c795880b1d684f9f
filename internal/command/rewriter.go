package command

import (
	"godwit/internal/rdb"
	"godwit/internal/resp"
)

// Verdict is what becomes of a command.
type Verdict uint8

// The verdicts of Rewrite.
const (
	Pass    Verdict = iota // as it is, byte for byte
	Replace                // by what was appended, which may be nothing
)

// Options say how a Rewriter works.
type Options struct {
	// Drop has the features that may be left out where the target has no equal, as
	// in rdb.TranscoderOptions. What is left out is counted.
	Drop []rdb.Feature

	// Now is the source's clock, in milliseconds since 1970. With it TTLs that the
	// source propagates relative to it (Redis before 7.0 does) become absolute,
	// where the target can take them so: they would grow by the time that commands
	// wait on their way. Nil leaves them, and the commands that have them, as they are.
	Now func() int64

	// Client says that the target is written to by a client. There are forms that a
	// server takes from nobody but its primary (server.c mustObeyClient).
	Client bool

	// Dropped, if not nil, is told within Rewrite of each thing that is left out.
	Dropped func(rdb.LeftOut)
}

// Rewriter says the commands of one server's replication stream in the words of
// another. It is given every command of the stream, in order, because it follows
// which db is selected and where transactions begin and end. It is not safe for
// concurrent use.
//
// One command may become several. They come in MULTI and EXEC then, unless the
// command is within a transaction of the source itself: a replica counts a
// transaction in its offset as a whole, so no target stops, resumes or is promoted
// between them, and no client sees half of the effect. Times stay absolute even so
// (SET and PEXPIREAT rather than PSETEX): the same command always becomes the same
// bytes, and no TTL grows while they wait.
type Rewriter struct {
	source, target Capabilities
	rules          table[rule]
	now            func() int64
	client         bool
	drop           map[rdb.Feature]bool
	dropped        map[rdb.Feature]int64
	told           func(rdb.LeftOut)       // never nil
	transcoders    map[int]*rdb.Transcoder // by the version in a payload's footer
	transcoding    rdb.TranscoderOptions
	crc            *rdb.CRC64

	db    int
	multi bool // within a transaction

	command string   // the one at hand, in capitals
	args    [][]byte // its arguments
	out     []byte
	count   int      // commands in out
	inner   bool     // it is within a transaction
	list    [][]byte // scratch
	payload []byte   // scratch
}

// NewRewriter prepares to rewrite what source propagates for target.
func NewRewriter(source, target Capabilities, o Options) *Rewriter {
	r := &Rewriter{
		source: source, target: target, now: o.Now, client: o.Client,
		drop: make(map[rdb.Feature]bool), dropped: make(map[rdb.Feature]int64),
		transcoders: make(map[int]*rdb.Transcoder),
		crc:         rdb.NewCRC64(),
	}
	if r.told = o.Dropped; r.told == nil {
		r.told = func(rdb.LeftOut) {}
	}
	r.transcoding = rdb.TranscoderOptions{Drop: o.Drop, Module: target.Module, Dropped: r.leaveOut}
	for _, f := range o.Drop {
		r.drop[f] = true
	}
	r.rules = newTable(r.newRules())
	return r
}

// Reset says where the stream is about to begin: the db that is selected there
// (of a snapshot, its auxiliary field repl-stream-db), never within a transaction.
func (r *Rewriter) Reset(db int) { r.db, r.multi = db, false }

// DB is the db that is selected.
func (r *Rewriter) DB() int { return r.db }

// Dropped counts the commands of which something was left out, by feature. The map is
// the Rewriter's own.
func (r *Rewriter) Dropped() map[rdb.Feature]int64 { return r.dropped }

// PassesHead tells of a command whose beginning has come, args, out of total
// arguments, that it passes whatever the rest of it is. It must still be given to
// Rewrite, with the arguments that have come; one that does not pass must come
// as a whole before.
func (r *Rewriter) PassesHead(args [][]byte, total int) bool {
	if len(args) == 0 {
		return false
	}
	rule := r.rules.find(args[0])
	return rule != nil && (rule.rewrite == nil || !rule.unknown && rule.passes != nil && rule.passes(r, args, total))
}

// Rewrite gives its verdict on one command, and appends to dst what is to take
// its place. The arguments are only read, and only during the call. Errors are a
// *NoEqualError, a *SyntaxError, or, for the payload of a RESTORE, one of package
// rdb; dst is returned as it was then.
func (r *Rewriter) Rewrite(dst []byte, args [][]byte) ([]byte, Verdict, error) {
	if len(args) == 0 { // a newline, which servers send as keepalive
		return dst, Pass, nil
	}
	rule := r.rules.find(args[0])
	if rule != nil && rule.rewrite == nil {
		return dst, Pass, nil
	}
	r.args = args
	if rule == nil {
		r.command = string(upper(nil, args[0][:min(len(args[0]), maxName)]))
		return dst, Pass, r.noEqual("")
	}
	r.command = rule.name
	return r.rewrite(dst, rule)
}

const (
	begin = "*1\r\n$5\r\nMULTI\r\n"
	end   = "*1\r\n$4\r\nEXEC\r\n"
)

func (r *Rewriter) rewrite(dst []byte, rule *rule) ([]byte, Verdict, error) {
	if !rule.unknown && rule.passes != nil && rule.passes(r, r.args, len(r.args)) {
		return dst, Pass, nil
	}
	start := len(dst)
	r.out, r.count, r.inner = dst, 0, r.multi
	verdict, err := rule.rewrite(r)
	if err == nil && verdict == Pass && rule.unknown {
		err = r.noEqual("")
	}
	out := r.out
	r.out, r.args = nil, nil
	switch {
	case err != nil || verdict == Pass:
		return out[:start], Pass, err
	case !r.inner && r.count > 1:
		return append(out, end...), Replace, nil
	case !r.inner && r.count == 1:
		n := copy(out[start:], out[start+len(begin):])
		return out[:start+n], Replace, nil
	default:
		return out, Replace, nil
	}
}

// add appends a command to what takes the place of the present one.
func (r *Rewriter) add(args ...[]byte) {
	if r.count == 0 && !r.inner {
		r.out = append(r.out, begin...) // and taken away again if it is the only one
	}
	r.out = resp.AppendArgs(r.out, args...)
	r.count++
}

// addScript appends the call of a script with one argument list, of which the
// first keys are keys.
func (r *Rewriter) addScript(script string, keys int, args ...[]byte) {
	r.list = append(r.list[:0], []byte("EVAL"), []byte(script), decimal(int64(keys)))
	r.add(append(r.list, args...)...)
}

// key is the key that errors name: the one that would change.
func (r *Rewriter) key() []byte {
	keys := r.target.AppendKeys(r.list[:0], r.args)
	if len(keys) == 0 {
		return nil
	}
	changed := keys[0]
	switch r.command {
	case "SORT", "GEORADIUS", "GEORADIUSBYMEMBER", "COPY", "RENAME":
		changed = keys[len(keys)-1]
	}
	return append([]byte(nil), changed...)
}

// noEqual is the error for an option that has none, empty for the command itself.
func (r *Rewriter) noEqual(option string) error { return r.noFeature("", option) }

// noFeature counts a feature that may be dropped, and is the error otherwise.
func (r *Rewriter) noFeature(f rdb.Feature, option string) error {
	if f != "" && r.drop[f] {
		r.leaveOut(f, option)
		return nil
	}
	return &NoEqualError{Command: r.command, Option: option, Feature: f, DB: r.db, Key: r.key(), Target: r.target.Version}
}

// leaveOut counts what is left out of the present command.
func (r *Rewriter) leaveOut(f rdb.Feature, detail string) {
	r.dropped[f]++
	r.told(rdb.LeftOut{Feature: f, DB: r.db, Key: r.key(), Detail: detail})
}

func (r *Rewriter) syntax(reason string) error {
	return &SyntaxError{Command: r.command, Reason: reason, DB: r.db, Key: r.key()}
}

// lacks tells of an option of the present command that the target does not know it.
func (r *Rewriter) lacks(option string) bool { return !r.target.Has(Option(r.command + " " + option)) }
