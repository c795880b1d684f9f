package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/server"
)

// repair makes the target equal to the source where it was found to differ: by
// value, some keys at a time, and compares them again. Nothing is half done if it
// is killed: each key is written as a whole, and what was repaired before is found
// equal by the next run, which does the rest.
//
// With a Feed the source's values are those of one offset, at which the target
// stands when they are written and compared: what the stream brings after it is
// applied to what the source had, too. Without one the target's keys are written as
// soon as the source's are read; whatever a client of the target writes to these
// very keys in between is overwritten.
func (r *run) repair(ctx context.Context) error {
	m, err := r.newMender(ctx)
	if err != nil {
		return err
	}
	defer m.close()
	return r.amend(func(batch []Difference) error { return m.mend(ctx, batch) })
}

// mender repairs. It is for one goroutine.
type mender struct {
	run     *run
	pair    *pair
	replica bool // the target is one, and fed by godwit
}

// newMender connects to both sides, and sees that the target may be written to.
func (r *run) newMender(ctx context.Context) (*mender, error) {
	from := r.newReaders()
	from.source.limit, from.target.limit = nil, nil // a feed that is held does not wait for it
	m := &mender{run: r, pair: from.pair()}
	if err := m.prepare(ctx); err != nil {
		m.close()
		return nil, fmt.Errorf("nothing was repaired: %w", err)
	}
	return m, nil
}

func (m *mender) close() { m.pair.close() }

func (m *mender) prepare(ctx context.Context) error {
	if err := m.pair.setClocks(ctx); err != nil {
		return err
	}
	source, target := m.pair.source, m.pair.target
	following := make(map[string]string) // sources that are replicas, by their replid
	for i := range source.conns {
		c, err := source.conn(ctx, source.conns, i)
		if err != nil {
			return err
		}
		info, err := infoOf(ctx, c, "replication")
		if err != nil {
			return err
		}
		if info["role"] != "master" {
			following[info["master_replid"]] = source.side.Shards[i].Address
		}
	}
	for i := range target.conns {
		c, err := target.conn(ctx, target.conns, i)
		if err != nil {
			return err
		}
		if err := m.mayWrite(ctx, c, target.side.Shards[i].Address, following); err != nil {
			return err
		}
		node := m.run.target.shards[i].node
		c.Translate(node.RDBFormat(), rdb.TranscoderOptions{
			Drop: slices.Sorted(maps.Keys(m.run.cfg.Options.Drop)), Module: node.LoadsModulesOf(m.run.source.shards[0].node, nil),
		})
	}
	return nil
}

// mayWrite finds out what becomes of what is written to a server of the target.
// following are the sources that are replicas, by the replid of what they follow.
func (m *mender) mayWrite(ctx context.Context, c *refresh.Conn, address string, following map[string]string) error {
	info, err := infoOf(ctx, c, "replication")
	if err != nil {
		return err
	}
	if info["role"] == "master" {
		if replica, ok := following[info["master_replid"]]; ok {
			return &hintedError{
				fmt.Errorf("the source %s is a replica of the target %s, as an old primary is after a switch: it has nothing that the target should have", replica, address),
				"swap --from and --to to compare it with its primary; while a migration runs between them, repair by godwit verify NAME --repair",
			}
		}
		return nil
	}
	primary := net.JoinHostPort(info["master_host"], info["master_port"])
	switch {
	case m.run.cfg.Feeds == nil:
		return &hintedError{
			fmt.Errorf("the target %s is a replica of %s: what is written to it is not what its primary has", address, primary),
			"repair a migration's target by the migration that feeds it (godwit verify NAME --repair), or name the replica's primary as the target",
		}
	case m.run.cfg.Unlock == nil:
		return fmt.Errorf("the target %s is a replica that takes no writes", address)
	case info.Int("connected_slaves") > 0:
		return &hintedError{
			fmt.Errorf("the target %s has replicas of its own (%s): a replica does not pass on what is written to it, so these would differ from it", address, strings.Join(replicasOf(info), ", ")),
			"detach them (REPLICAOF NO ONE) and repair again; attached after it, they take a full resync. One with port 0 is no server but reads a snapshot or the stream, as another comparison does: wait for its end",
		}
	}
	m.replica = true
	return nil
}

// replicasOf are the addresses that a server's replicas have announced, each in a line
// of INFO replication: slave0:ip=…,port=…,state=….
func replicasOf(info server.Info) []string {
	var addresses []string
	for i := range int(info.Int("connected_slaves")) {
		line, _, _ := strings.Cut(info["slave"+strconv.Itoa(i)], ",state=")
		host, port, _ := strings.Cut(strings.TrimPrefix(line, "ip="), ",port=")
		addresses = append(addresses, net.JoinHostPort(host, port))
	}
	return addresses
}

// ailing is a key of the target that is to become what the source has.
type ailing struct {
	db  int
	key []byte
	// written is what becomes of it once it is found to be equal, "" while it is as
	// it was found.
	written string
	outcome string // "" while it is not known
}

func (a *ailing) failed(err error) { a.outcome = failedWith(err) }

// failedWith is a Difference.Repair with the reason.
func failedWith(err error) string {
	const longest = 300
	reason := err.Error()
	if len(reason) > longest {
		reason = reason[:longest] + "…"
	}
	return Failed + ": " + reason
}

// mend repairs differences, and says in each what became of it.
func (m *mender) mend(ctx context.Context, batch []Difference) error {
	all := make([][]*ailing, len(batch)) // those of each difference
	byDB := make(map[int][]*ailing)
	add := func(i, db int) {
		a := &ailing{db: db, key: batch[i].Key}
		all[i], byDB[db] = append(all[i], a), append(byDB[db], a)
	}
	for i, d := range batch {
		if r := outcome(d.Repair); r != "" && r != Failed {
			continue
		}
		if d.Kind == Twice {
			batch[i].Repair = failedWith(errTwice)
			continue
		}
		add(i, m.run.target.dbOf(&d))
		if d.Kind == OtherDB {
			add(i, d.TargetDB)
		}
	}
	var failed error
	for _, db := range slices.Sorted(maps.Keys(byDB)) {
		if failed = m.mendDB(ctx, db, byDB[db]); failed != nil {
			break
		}
	}
	for i := range batch {
		if len(all[i]) > 0 {
			batch[i].Repair = outcomeOf(all[i])
		}
	}
	return failed
}

// outcomeOf is what became of a difference, by what became of its keys: the one in
// the source's db, and the one that the target had instead.
func outcomeOf(keys []*ailing) string {
	if len(keys) == 1 {
		return keys[0].outcome
	}
	for _, a := range keys {
		if outcome(a.outcome) == Failed || a.outcome == "" {
			return a.outcome
		}
	}
	switch {
	case keys[1].outcome == Kept:
		return Kept
	case keys[0].outcome == Gone && keys[1].outcome == Gone:
		return Gone
	}
	return Repaired
}

// mendDB repairs keys of one db, as many together as are small enough.
func (m *mender) mendDB(ctx context.Context, db int, keys []*ailing) error {
	source, target := m.pair.source, m.pair.target.side
	for _, r := range []*reader{m.pair.target, source} {
		if r.sharded() {
			slices.SortStableFunc(keys, func(a, b *ailing) int {
				return int(r.slotOf(db, a.key)) - int(r.slotOf(db, b.key))
			})
		}
	}
	names := namesOf(keys)
	sizes, err := m.pair.sizes(ctx, db, names)
	if err != nil {
		return err
	}
	mend, needs := m.mendLive, []*reader{m.pair.target}
	if m.run.cfg.Feeds != nil {
		mend, needs = m.mendHeld, append(needs, source)
	}
	for _, r := range needs {
		if _, _, astray := target.strayed(db); astray && r == source {
			continue // which is not to have it
		}
		if lacks, err := r.lacks(ctx, db); err != nil {
			return err
		} else if lacks {
			for _, a := range keys {
				a.failed(fmt.Errorf("the %s has no db %d", r.side.role, db))
			}
			return nil
		}
	}
	for start := 0; start < len(keys); {
		end := source.together(db, names, sizes, start)
		if err := m.without(keys[start:end], func(keys []*ailing) error { return mend(ctx, db, keys) }); err != nil {
			return err
		}
		start = end
	}
	return nil
}

func namesOf(keys []*ailing) [][]byte {
	names := make([][]byte, len(keys))
	for i, a := range keys {
		names[i] = a.key
	}
	return names
}

// without has keys repaired, and if a server refuses to tell of one, the others
// without it.
func (m *mender) without(keys []*ailing, mend func([]*ailing) error) error {
	for {
		keys = slices.DeleteFunc(slices.Clone(keys), func(a *ailing) bool { return a.outcome != "" })
		if len(keys) == 0 {
			return nil
		}
		err := mend(keys)
		var refused *refresh.KeyError
		if !errors.As(err, &refused) {
			return err
		}
		i := slices.IndexFunc(keys, func(a *ailing) bool { return string(a.key) == string(refused.Key) })
		if i < 0 {
			return err
		}
		keys[i].failed(err)
	}
}

// choose tells whether a key is to be written, by how it differs now.
func (m *mender) choose(a *ailing, kind Kind) bool {
	switch {
	case kind == "" && a.written == "":
		a.outcome = Gone
	case kind == "":
		a.outcome = a.written
	case kind == Extra && !m.run.cfg.Options.DeleteExtra:
		a.outcome = Kept
	default:
		a.written = Repaired
		if kind == Extra {
			a.written = Deleted
		}
		return true
	}
	return false
}

// refusedValues says of keys that were not written why. Other errors it returns.
func refusedValues(keys []*ailing, err error) error {
	var refused *refresh.WriteError
	if !errors.As(err, &refused) {
		return err
	}
	for _, f := range refused.Failed {
		keys[f.Index].failed(f.Err)
	}
	return nil
}
