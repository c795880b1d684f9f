package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"godwit/internal/command"
	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// Stand is a place in a replication stream: behind the byte at Offset.
type Stand struct {
	ReplID string `json:"replid"`
	Offset int64  `json:"offset"`
	DB     int    `json:"db,omitempty"` // that is selected there
}

// FeedConfig says what a Feed carries to whom.
type FeedConfig struct {
	Name    string // of the migration
	Owner   string // is in the checkpoint: what an earlier way back has left is not taken for this one's
	Cluster Source // Endpoint is any of its nodes

	// Own has the name and password of a user that may write to the cluster, whoever else
	// may not.
	Own server.Endpoint

	Replica    server.Endpoint // the old primary
	Knows      command.Capabilities
	Transcoder rdb.TranscoderOptions
	Drops      *Drops      // of the replica
	Route      route.Route // by which the replica's keys went to the cluster
	// From is where the replica stood when it had been demoted: it has everything up
	// to there that its clients wrote. Zero if that is still to come, see Demoted.
	From Stand
	// Resume says that the replica has been fed before, or that At will say from where:
	// the shards are not attached to at their present offsets.
	Resume bool

	Spool spool.Options // of each shard
	Log   *slog.Logger
}

// Feed is the way back from a cluster to the standalone server that was the primary
// before it. That one is a replica of godwit, which plays its primary: it merges what
// the shards say into one replication stream, and goes on counting where the replica
// stands. There is one way to go on from anything here, too: whenever the replica
// asks, godwit reads from it how far it has come, by its own checkpoint, and reads each
// shard's stream again from there. Nothing but that checkpoint has to be known.
//
// Goroutines: Run owns those that read the shards, and one session at a time with the
// replica, which owns the others.
type Feed struct {
	cfg      FeedConfig
	crc      *rdb.CRC64
	peers    chan *psync.Peer
	attached chan struct{} // closed when every shard is attached to
	begins   []ShardStand  // where; not changed any more then
	started  chan struct{} // closed when At has said from where
	done     chan struct{} // closed when Run has returned
	readers  sync.WaitGroup
	fatal    chan error // of a reader

	libraries sync.Mutex   // held by the link that carries a command about libraries
	waiting   atomic.Int64 // how many wait for the replica, see Drain

	mu      sync.Mutex
	links   []*feedLink
	nodes   []server.Endpoint // of the cluster, that are known
	demoted Stand             // what Demoted was given
	from    []ShardStand      // what At was given
	session *session
	state   State
	reason  string
	asked   string // run_id of a replica that was told to ask again; of the session
	err     error  // of Run
}

// NewFeed makes a feed; Run carries.
func NewFeed(c FeedConfig) *Feed {
	return &Feed{
		cfg: c, crc: rdb.NewCRC64(), peers: make(chan *psync.Peer), attached: make(chan struct{}),
		started: make(chan struct{}), done: make(chan struct{}), fatal: make(chan error, 1),
		nodes: []server.Endpoint{c.Cluster.Endpoint}, demoted: c.From, state: Attaching,
	}
}

// Run carries until ctx is done, or until an error that waiting cannot mend, such as a
// *WayBackLostError or a *SlotMovedError.
func (f *Feed) Run(parent context.Context) (err error) {
	ctx, cancel := context.WithCancel(parent)
	defer func() {
		cancel()
		f.readers.Wait()
		for _, l := range f.all() {
			l.in.detach()
			_ = l.in.spool.Close() // its file has no name any more
		}
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
		close(f.done)
	}()
	if !f.cfg.Resume {
		if err := f.attach(ctx); err != nil {
			return err
		}
	}
	close(f.attached)
	f.set(Attaching, "the replica has not asked yet")
	return f.serve(ctx)
}

// serve answers the replica, whenever it asks, and carries until it asks again.
func (f *Feed) serve(ctx context.Context) error {
	var present *session
	stop := func() {
		if present != nil {
			present.stop()
			present = nil
		}
	}
	defer stop()
	for {
		var ended <-chan error
		if present != nil {
			ended = present.ended
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-f.fatal:
			return err
		case p := <-f.peers:
			stop() // a replica has one primary: its new connection replaces the old one
			present = f.open(ctx, p)
		case err := <-ended:
			stop()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if ends(err) {
				return err
			}
			f.set(Broken, err.Error())
			f.cfg.Log.Warn("the replica is waited for", "replica", f.cfg.Replica.Address, "cause", err)
		}
	}
}

// Serve hands over a peer of the listener that has asked PSYNC: the replica. The feed
// owns the connection then. On an error it is still the caller's, to be closed.
func (f *Feed) Serve(ctx context.Context, p *psync.Peer) error {
	select {
	case f.peers <- p:
		return nil
	case <-f.done:
		return f.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Attached waits until the streams of all shards are read, and says from where, so that
// it can be noted: what a shard says after that can be had from its backlog at least.
func (f *Feed) Attached(ctx context.Context) ([]ShardStand, error) {
	select {
	case <-f.attached:
	case <-f.done:
		return nil, f.failure()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return f.begins, nil
}

// Now asks every shard where it stands. With the writers stopped, and after the last
// batch of an engine was applied there, it is what At wants to know: everything after
// that is the clients'.
func (f *Feed) Now(ctx context.Context) ([]ShardStand, error) {
	stands, err := f.places(ctx)
	if err != nil {
		return nil, err
	}
	for i, l := range f.all() {
		if stands[i].DB, err = l.selectedAt(ctx, &l.attaching, stands[i].Offset); err != nil {
			return nil, err
		}
	}
	return stands, nil
}

// places asks every shard where it stands, in the order of the links.
func (f *Feed) places(ctx context.Context) ([]ShardStand, error) {
	var stands []ShardStand
	for _, l := range f.all() {
		at, err := f.now(ctx, l.name)
		if err != nil {
			return nil, err
		}
		stands = append(stands, at)
	}
	return stands, nil
}

// Demoted says where the replica stood when it had been demoted, see FeedConfig.From.
func (f *Feed) Demoted(at Stand) {
	f.mu.Lock()
	f.demoted = at
	f.mu.Unlock()
}

// At says from where on the shards' streams count, unless the replica has had anything
// of them already. It is called once, and must be noted before by whoever wants to go on
// after a crash: as soon as the replica has been fed anything, its checkpoint tells.
func (f *Feed) At(stands []ShardStand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.from != nil {
		return
	}
	f.from = stands
	close(f.started)
}

func (f *Feed) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		return errors.New("the way back has ended")
	}
	return f.err
}

func (f *Feed) all() []*feedLink {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*feedLink(nil), f.links...)
}

func (f *Feed) set(s State, reason string) {
	f.mu.Lock()
	f.state, f.reason = s, reason
	f.mu.Unlock()
}

// attach begins to read every shard where it stands.
func (f *Feed) attach(ctx context.Context) error {
	now, err := readShards(ctx, f.cfg.Cluster.Endpoint)
	if err != nil {
		return err
	}
	m, err := topology.ReadCluster(ctx, f.cfg.Cluster.Endpoint)
	if err != nil {
		return err
	}
	f.know(m)
	f.begins = make([]ShardStand, len(now.primaries))
	var together errgroup.Group
	for i := range now.primaries {
		l, err := f.link(ctx, shardName(now.ranges(i)))
		if err != nil {
			return err
		}
		together.Go(func() error {
			f.begins[i], err = l.attachNow(ctx)
			return err
		})
	}
	return together.Wait()
}

// link makes that of a shard, which is not read yet.
func (f *Feed) link(lifetime context.Context, name string) (*feedLink, error) {
	ranges, err := slotsOf(name)
	if err != nil {
		return nil, &FatalError{err}
	}
	o := f.cfg.Spool
	o.Dir = filepath.Clean(o.Dir)
	l := &feedLink{feed: f, name: name, selecting: selecting{in: newIntake(f.cfg.Cluster, o, f.cfg.Log)}}
	each(ranges, func(of uint16) { l.slots[of] = true })
	f.mu.Lock()
	f.links = append(f.links, l)
	f.mu.Unlock()
	f.readers.Go(func() { l.tend(lifetime) })
	return l, nil
}

// now asks a shard's primary where it stands.
func (f *Feed) now(ctx context.Context, shard string) (ShardStand, error) {
	at, _, err := f.history(ctx, shard)
	return at, err
}

// history asks a shard's primary where it stands, and where its history parted from that
// of the primary that it followed.
func (f *Feed) history(ctx context.Context, shard string) (now ShardStand, second Stand, err error) {
	info, err := f.ask(ctx, shard)
	// second_repl_offset is the first byte of its own (replication.c shiftReplicationId).
	return ShardStand{Shard: shard, ReplID: info["master_replid"], Offset: info.Int("master_repl_offset")},
		Stand{ReplID: info["master_replid2"], Offset: info.Int("second_repl_offset") - 1}, err
}

// ask asks a shard's primary for INFO replication: the one that is read, if it is one.
func (f *Feed) ask(ctx context.Context, shard string) (server.Info, error) {
	for _, l := range f.all() {
		e := l.primary.Load()
		if l.name != shard || e == nil {
			continue
		}
		if info, err := askPrimary(ctx, *e); err == nil {
			return info, nil
		}
	}
	e, err := f.primaryOf(ctx, shard)
	if err != nil {
		return nil, err
	}
	return askPrimary(ctx, e)
}

func askPrimary(ctx context.Context, e server.Endpoint) (server.Info, error) {
	c, err := server.Dial(ctx, e, clientName)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	info, err := c.Info(ctx, "replication")
	if err == nil && info["role"] != "master" {
		err = fmt.Errorf("%s is no primary any more", e.Address)
	}
	return info, err
}

// FeedView is what a feed has done so far.
type FeedView struct {
	State   State
	Reason  string
	Sent    int64 // offset of the replica that it was sent
	Applied int64 // that it has applied
	Shards  []ShardView
}

// ShardView is what was carried of one shard.
type ShardView struct {
	Shard   string // its slots
	Address string
	Read    int64 // offset of the shard that was read
	Applied int64 // that the replica has
}

// View tells what has been done so far.
func (f *Feed) View() FeedView {
	f.mu.Lock()
	v := FeedView{State: f.state, Reason: f.reason}
	if s := f.session; s != nil {
		v.Sent, v.Applied = s.sent.Load(), s.acked.Load()
	}
	f.mu.Unlock()
	for _, l := range f.all() {
		v.Shards = append(v.Shards, ShardView{
			Shard: l.name, Address: l.address(), Read: l.in.end.Load(), Applied: l.reached(),
		})
	}
	return v
}
