package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"godwit/internal/command"
	"godwit/internal/persist"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// FileConfig is of a FileEngine.
type FileConfig struct {
	Name   string          // of the migration
	Path   string          // of what a server has saved, see persist.Open
	Target server.Endpoint // a standalone server, or any node of a cluster

	Written      command.Capabilities // of the server whose words the file's commands are, see WordsOf
	Capabilities command.Capabilities // of the target
	Transcoder   rdb.TranscoderOptions
	Route        route.Route // of the file's keys, to a cluster
	Log          *slog.Logger

	// Progress is what was saved last, zero in the beginning. Save makes it durable.
	Progress FileProgress
	Save     func(FileProgress) error
}

// FileProgress is what must outlive a crash.
type FileProgress struct {
	File string `json:"file,omitempty"` // which file it is of: names, sizes and dates
	// Owner is in each checkpoint, and names the loading that it counts from.
	Owner string `json:"owner,omitempty"`
	Now   int64  `json:"now,omitempty"` // when it began by the target's clock, milliseconds since 1970
	// Later tells that the times of keys at the target are put off, see file_times.go.
	Later bool `json:"later,omitempty"`
	// Lanes are set when the target has the snapshot and each shard its checkpoint.
	Lanes []LaneProgress `json:"lanes,omitempty"`
	// Played tells that the target has every command. What is left is to put times right.
	Played bool `json:"played,omitempty"`
	// Done tells that the target has been given everything. Its clients may write to it from
	// then on, so it is given nothing again.
	Done bool `json:"done,omitempty"`
	// Ends are where the checkpoints of the lanes stand then.
	Ends    []int64 `json:"ends,omitempty"`
	Keys    int64   `json:"keys"`    // of the snapshot, that the target has
	Expired int64   `json:"expired"` // of the snapshot, left out because their time had passed
	// Left are those of the snapshot that stay behind with their dbs, and once the target has
	// all commands, those that do, too.
	Left     int64                 `json:"left,omitempty"`
	Dropped  map[rdb.Feature]int64 `json:"dropped,omitempty"`
	Commands int64                 `json:"commands"` // that the target has, once it has all
}

// FileEngine carries what a server has saved to the shards of a target: the snapshot as
// Engine does, then the commands over one connection per shard, in batches that end in a
// checkpoint. What is missing after a crash is read from the file again.
type FileEngine struct {
	cfg FileConfig
	crc *rdb.CRC64

	mu       sync.Mutex
	progress FileProgress          // guarded by mu
	state    State                 // guarded by mu
	reason   error                 // of Broken, and of what is waited for; guarded by mu
	dropped  map[rdb.Feature]int64 // in this loading; guarded by mu

	keys, expired   atomic.Int64
	left            atomic.Int64 // keys of the snapshot, and commands, of dbs that stay behind
	read, total     atomic.Int64 // bytes of the file
	commands, times atomic.Int64 // commands read; keys looked at to put their times right
}

// NewFile makes an engine; Run carries.
func NewFile(c FileConfig) *FileEngine {
	e := &FileEngine{cfg: c, crc: rdb.NewCRC64(), progress: c.Progress, state: Attaching, dropped: maps.Clone(c.Progress.Dropped)}
	e.keys.Store(c.Progress.Keys)
	e.expired.Store(c.Progress.Expired)
	e.left.Store(c.Progress.Left)
	e.commands.Store(c.Progress.Commands)
	return e
}

// WordsOf are the capabilities of the server whose words the commands of a file are: the
// one that wrote its snapshot, unless the target knows all that this one may say. A server
// that has taken over the files of an older one goes on in its own words. Commands alone do
// not tell whose they are: they are taken for the target's.
func WordsOf(d persist.Description, target command.Capabilities) command.Capabilities {
	n := topology.Node{Version: d.Version()}
	for _, part := range d.Parts {
		if format, err := rdb.ParseHeader([]byte(part.Format)); err == nil {
			n.RDBVersion = format.Version
		}
	}
	written := n.Capabilities()
	if written.Version.Major == 0 || target.Version.Includes(written.Version) {
		return target
	}
	return written
}

// Run carries the file to the target and returns nil when that has all of it. An error
// is one that waiting cannot mend, or ctx's. Whatever the target has when the loading
// begins is deleted.
func (e *FileEngine) Run(ctx context.Context) error {
	if e.present().Done {
		return nil
	}
	pause := firstRetry
	for {
		err := e.carry(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errCopyAgain):
			p := e.present()
			if err := e.set(FileProgress{File: p.File, Later: p.Later}); err != nil { // the target may not be emptied soon
				return err
			}
		case lastingInFile(err):
			return err
		}
		e.note(Broken, err)
		e.cfg.Log.Warn("the file is read again from its beginning", "file", e.cfg.Path, "error", err)
		if !wait(ctx, pause) {
			return ctx.Err()
		}
		pause = min(2*pause, lastCopy)
	}
}

// lastingInFile tells of an error that waiting would not mend.
func lastingInFile(err error) bool {
	var file *persist.Error
	var refused *FileCommandError
	var far *FarTimeError
	return errors.As(err, &file) || errors.As(err, &refused) && !refused.again() || errors.As(err, &far) || lasting(err)
}

// carry goes on from where the target stands.
func (e *FileEngine) carry(ctx context.Context) (err error) {
	source, err := persist.Open(e.cfg.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	d := source.Describe()
	if d.Bytes < 0 {
		return &FatalError{fmt.Errorf("%s is a pipe, and cannot be read twice", e.cfg.Path)}
	}
	e.read.Store(0)
	e.total.Store(d.Bytes)
	if err := e.sameFile(FileIdentity(d)); err != nil {
		return err
	}
	now, err := readShards(ctx, e.cfg.Target)
	if err != nil {
		return err
	}
	if !now.cluster && e.cfg.Route.Maps() {
		return &FatalError{errors.New("--db-map: a server has the dbs of a file by their own numbers")}
	}
	p := e.present()
	switch {
	case len(p.Lanes) == 0:
		if err := e.copy(ctx, source, now); err != nil {
			return err
		}
	case !now.same(p.Lanes):
		return fmt.Errorf("slots of the target have moved to other shards: %w", errCopyAgain)
	default:
		if err := uncut(ctx, now, p.Lanes); err != nil {
			return err
		}
		if !p.Played {
			if err := e.pass(ctx, source.Snapshot()); err != nil {
				return err
			}
		}
	}
	if d.Kind != persist.RDB {
		if err := e.commandsOf(ctx, source, now); err != nil {
			return err
		}
	}
	if err := e.unmoved(ctx, now); err != nil {
		return err
	}
	p = e.present()
	p.Done = true
	return e.set(p)
}

// commandsOf carries what follows the snapshot, and ends what that has begun.
func (e *FileEngine) commandsOf(ctx context.Context, source *persist.Source, now *shards) error {
	if !e.present().Played {
		if err := e.play(ctx, source, now); err != nil {
			return err
		}
	}
	return e.settle(ctx, now)
}

// unmoved sees that the shards are what they were. A slot that has moved may not have what
// it was given (MIGRATE makes TTLs longer, an atomic move says less than a snapshot), and
// a replica that was promoted may lack the end of it.
func (e *FileEngine) unmoved(ctx context.Context, was *shards) error {
	now, err := readShards(ctx, e.cfg.Target)
	if err != nil {
		return err
	}
	if now.of != was.of || !slices.EqualFunc(now.primaries, was.primaries, func(a, b server.Endpoint) bool { return a.Address == b.Address }) {
		return errors.New("the shards of the target have changed meanwhile")
	}
	return nil
}

// uncut sees that no shard may have done something twice since the snapshot was loaded, see
// moved. Nothing tells what.
func uncut(ctx context.Context, now *shards, lanes []LaneProgress) error {
	ids, err := now.identities(ctx)
	if err != nil {
		return err
	}
	for _, lane := range lanes {
		if is := ids[now.of[lane.Slots[0].First]]; is.Cut && is.RunID != lane.Shard.RunID {
			return fmt.Errorf("%s was started with an append-only file that was cut within a transaction, of which it may have done a part twice: %w", is.Node, errCopyAgain)
		}
	}
	return nil
}

// FileIdentity is what tells whether a file is the one that it was.
func FileIdentity(d persist.Description) string {
	text := d.Path
	for _, p := range d.Parts {
		text += fmt.Sprintf(" %s:%d:%d", p.File, p.Bytes, p.Modified.UnixNano())
	}
	return text
}

// sameFile sees that the file is the one that was begun with.
func (e *FileEngine) sameFile(identity string) error {
	p := e.present()
	switch p.File {
	case identity:
		return nil
	case "":
		p.File = identity
		return e.set(p)
	default:
		return &FatalError{&FileChangedError{e.cfg.Path}}
	}
}

// FileChangedError says that a file is not the one any more whose loading was begun.
type FileChangedError struct{ Path string }

func (e *FileChangedError) Error() string {
	return e.Path + " is not the file any more whose loading was begun"
}

// HintText is what the user can do about it.
func (e *FileChangedError) HintText() string {
	return "put that file back, or end this migration with `godwit abort` and begin anew, with --replace"
}

// pass reads a snapshot that the target has already.
func (e *FileEngine) pass(ctx context.Context, snapshot io.Reader) error {
	if snapshot == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, &counted{ctx: ctx, r: snapshot, n: &e.read})
	return err
}

// counted reads until ctx is done, and counts the bytes.
type counted struct {
	ctx context.Context //nolint:containedctx // that of the loading
	r   io.Reader
	n   *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// leftOut counts what the target lacks and may do without.
func (e *FileEngine) leftOut(f rdb.Feature) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dropped == nil {
		e.dropped = map[rdb.Feature]int64{}
	}
	e.dropped[f]++
}

func (e *FileEngine) present() FileProgress {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.progress
}

func (e *FileEngine) set(p FileProgress) error {
	if e.cfg.Save != nil {
		if err := e.cfg.Save(p); err != nil {
			return &FatalError{&saveError{err}}
		}
	}
	e.mu.Lock()
	e.progress = p
	e.mu.Unlock()
	return nil
}

func (e *FileEngine) note(s State, reason error) {
	e.mu.Lock()
	e.state, e.reason = s, reason
	e.mu.Unlock()
}

// FileView is what a FileEngine has done so far.
type FileView struct {
	State        State
	Reason, Hint string
	Keys         int64 // of the snapshot, that the target has
	Expired      int64 // of it, left out because their time had passed
	Left         int64 // keys of it, and commands, of dbs that stay behind
	Commands     int64 // that were read
	Times        int64 // keys that were looked at to put their times right
	Read, Total  int64 // bytes of the file
	Dropped      map[rdb.Feature]int64
}

// View tells what has been done so far.
func (e *FileEngine) View() FileView {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := FileView{
		State: e.state, Keys: e.keys.Load(), Expired: e.expired.Load(), Left: e.left.Load(), Commands: e.commands.Load(), Times: e.times.Load(),
		Read: e.read.Load(), Total: e.total.Load(), Dropped: maps.Clone(e.dropped),
	}
	if e.reason != nil {
		v.Reason, v.Hint = e.reason.Error(), hintOf(e.reason)
	}
	return v
}

// End leaves the target as an end that godwit has nothing to do with any more: the times
// of keys are put right, whatever of the file it has, and the checkpoints are deleted. Run
// must have returned, and must not be called again.
func (e *FileEngine) End(ctx context.Context) error {
	now, err := readShards(ctx, e.cfg.Target)
	if err != nil {
		return err
	}
	if p := e.present(); p.Later {
		if !p.Played { // with times as they should be, no command of the file may come any more
			p.Lanes = nil
			if err := e.set(p); err != nil {
				return err
			}
		}
		if err := e.putRight(ctx, now, nil); err != nil {
			return err
		}
	}
	var failed []error
	for _, shard := range now.primaries {
		failed = append(failed, sweep(ctx, shard, checkpointPrefix+e.cfg.Name+":"))
	}
	return errors.Join(failed...)
}
