// Package census counts which commands of a server's live traffic would break on a
// cluster.
//
//   - A [Census] is given the lines of MONITOR's output, read by a [Parser], and tells
//     of each call how its keys lie on a cluster: see [Class], [Effect] and [Reason].
//     Transactions are looked at as a whole, and scripts with the keys that they use.
//   - [Watch] has a live server's lines, in windows that cost it a bounded share, and
//     its exact count of each command over the whole time; [ReadFile] those of a file.
//   - A [Report] tells what was found: by command, client, and sample of keys, and the
//     hash tags that would mend it.
//
// Nothing of a command is kept but its name, its keys and what tells a script: no value
// and no password ever gets into a report.
package census

import (
	"bytes"
	"slices"
	"strings"

	"godwit/internal/command"
	"godwit/internal/slot"
)

// Limits of what is kept, so that memory is bounded however the traffic is: what is
// beyond is counted, and told in Report.LeftOut.
const (
	maxCommands    = 2048 // names, in any case
	maxConnections = 1 << 16
	maxRows        = 1024
	maxRowClients  = 4096    // connections that are counted for each row
	maxCalls       = 1 << 16 // of a transaction
	maxKeys        = 64      // of a transaction or script, that are kept
	maxName        = 64      // bytes of a command's or function's name
	maxDBs         = 64      // whose lines are counted
)

// Options are what a Census knows of the server.
type Options struct {
	Capabilities command.Capabilities // of which version does not matter, what was Learnt does
	Functions    map[string]Function  // by name
}

// Function is what a server says of one of its functions.
type Function struct {
	NoCluster bool // it has the flag no-cluster
}

// Census counts calls. Make it with New. It is not safe for concurrent use.
type Census struct {
	options  Options
	names    map[string]*tally // by the name as it was sent
	commands map[string]*tally // by the name in capitals
	conns    map[string]*conn  // by address
	beyond   *conn             // stands for all connections beyond maxConnections
	rows     map[rowKey]*row
	own      map[string]bool   // addresses whose lines do not count
	listed   map[string]client // by address, those that CLIENT LIST had last
	groups   groups

	running *scriptCall // the script whose calls may follow
	script  scriptCall  // what running points to
	keys    [][]byte

	windows []window // those that are over

	lines   int64
	dbs     [maxDBs]int64 // lines
	leftOut LeftOut
}

// LeftOut counts what could not be looked at in full.
type LeftOut struct {
	NotUnderstood    int64 `json:"not_understood"`    // lines that MONITOR does not write
	Cut              int64 `json:"cut"`               // lines too long to be read to their end
	Unescaped        int64 `json:"unescaped"`         // lines whose quotes are not escaped (Valkey 8.1)
	CutTransactions  int64 `json:"cut_transactions"`  // of which the beginning was not seen
	UnixTransactions int64 `json:"unix_transactions"` // of clients that MONITOR does not tell apart
	Connections      int64 `json:"connections"`       // calls of connections beyond those that are told apart
	Rows             int64 `json:"rows"`              // calls that break beyond the rows that are kept
	Clients          int64 `json:"clients"`           // calls whose client is not in its row
	Groups           int64 `json:"groups"`            // groups of keys too large to find hash tags for
}

// window is what was counted between two gaps.
type window struct{ calls, works int64 }

// tally is what was counted of one command.
type tally struct {
	name    string // in capitals
	nature  nature
	known   bool             // where it has its keys
	lines   int64            // all of them
	calls   int64            // by clients, not by scripts
	classes map[Class]int64  // of calls
	effects map[Effect]int64 // of calls
}

// conn is a connection of a client.
type conn struct {
	address string
	client  client // as far as known
	alone   bool   // no other has its address, so its transactions can be followed
	txn     *transaction
	watched slots
}

// transaction is what came since a MULTI.
type transaction struct {
	calls []call
	slots slots
	keys  [][]byte
}

// call is one call by a client.
type call struct {
	tally *tally
	verdict
	label string // tells a script or function; else empty
	keys  [][]byte
}

// New makes a census of nothing yet.
func New(o Options) *Census {
	return &Census{
		options: o, names: make(map[string]*tally), commands: make(map[string]*tally),
		conns: make(map[string]*conn), beyond: &conn{}, rows: make(map[rowKey]*row), own: make(map[string]bool),
	}
}

// Ignore leaves out the lines of a connection, by its address.
func (c *Census) Ignore(address string) { c.own[address] = true }

// Gap says that lines are missing here: what is unfinished cannot be judged as a whole.
func (c *Census) Gap() {
	c.endScript()
	defer func() {
		var now window
		for _, t := range c.commands {
			now.calls += t.calls
			now.works += t.effects[Works]
		}
		for _, w := range c.windows {
			now.calls -= w.calls
			now.works -= w.works
		}
		if now.calls > 0 {
			c.windows = append(c.windows, now)
		}
	}()
	for _, k := range c.conns {
		if k.txn != nil {
			c.leftOut.CutTransactions++
		}
		c.giveUp(k)
		k.watched = slots{}
	}
}

// Add counts one line.
func (c *Census) Add(l Line) {
	if !l.Script() && c.own[string(l.Client)] {
		return
	}
	c.lines++
	if l.Cut {
		c.leftOut.Cut++
	}
	if l.Unescaped {
		c.leftOut.Unescaped++
	}
	if l.DB < maxDBs {
		c.dbs[l.DB]++
	}
	t := c.tally(l.Args[0])
	t.lines++
	c.keys = c.keysOf(t, l.Args)
	if l.Script() {
		c.called(t, c.keys)
		return
	}
	c.endScript()
	k := c.connection(l)
	if t.name == "CLIENT" && k.alone {
		k.client.introduced(l.Args)
	}
	v := judge(t.name, t.nature, l.Args, c.keys, l.DB)
	if !t.known {
		v.class, v.effect, v.reason = NoKey, Unknown, UnknownCommand
	}
	switch t.nature {
	case script:
		c.begin(k, t, v, l)
	case transacting:
		c.transact(k, t, v)
	default:
		c.take(k, call{tally: t, verdict: v, keys: c.keys}, slotsOf(c.keys))
	}
}

// keysOf are the keys of a command that is known. Channels of SPUBLISH are routed as
// keys are, but hold nothing.
func (c *Census) keysOf(t *tally, args [][]byte) [][]byte {
	if !t.known || t.name == "SPUBLISH" {
		return c.keys[:0]
	}
	return c.options.Capabilities.AppendKeys(c.keys[:0], args)
}

// tally finds the count of a command by its name in any case.
func (c *Census) tally(name []byte) *tally {
	if t := c.names[string(name)]; t != nil {
		return t
	}
	upper, known := "(other)", false
	if len(name) <= maxName && len(c.names) < maxCommands {
		upper, known = strings.ToUpper(string(name)), c.options.Capabilities.KnowsKeysOf(name)
	}
	t := c.commands[upper]
	if t == nil {
		t = &tally{name: upper, nature: natureOf(upper), known: known, classes: make(map[Class]int64), effects: make(map[Effect]int64)}
		c.commands[upper] = t
	}
	if len(c.names) < maxCommands {
		c.names[string(name)] = t
	}
	return t
}

func (c *Census) connection(l Line) *conn {
	if k := c.conns[string(l.Client)]; k != nil {
		return k
	}
	if len(c.conns) >= maxConnections {
		c.leftOut.Connections++
		return c.beyond
	}
	address := string(l.Client)
	// What has no port is no connection of its own: ?:0 is a module's.
	k := &conn{address: address, client: client{Address: host(address)}, alone: !l.Unix() && !strings.HasPrefix(address, "?")}
	if known, ok := c.listed[address]; ok {
		k.client = known
	}
	c.conns[address] = k
	return k
}

// transact follows MULTI, WATCH and what ends them.
func (c *Census) transact(k *conn, t *tally, v verdict) {
	s := slotsOf(c.keys)
	this := call{tally: t, verdict: v, keys: c.keys}
	switch t.name {
	case "MULTI":
		c.giveUp(k)
		if k.alone {
			k.txn = &transaction{}
		}
		c.take(k, this, s)
	case "WATCH":
		k.watched.addAll(s)
		c.count(k, this)
	case "EXEC":
		switch {
		case !k.alone:
			c.leftOut.UnixTransactions++
		case k.txn == nil:
			c.leftOut.CutTransactions++
		default:
			c.take(k, this, s)
			c.executed(k)
			return
		}
		c.count(k, this)
	case "UNWATCH":
		if k.txn != nil { // it is queued like any other, and too late
			c.take(k, this, s)
			return
		}
		k.watched = slots{}
		c.count(k, this)
	default: // DISCARD, RESET
		c.giveUp(k)
		k.watched = slots{}
		c.count(k, this)
	}
}

// take counts a call, at once or when its transaction is executed.
func (c *Census) take(k *conn, this call, s slots) {
	if k.txn == nil || len(k.txn.calls) >= maxCalls {
		c.count(k, this)
		return
	}
	t := k.txn
	t.slots.addAll(s)
	if room := maxKeys - len(t.keys); room > 0 {
		t.keys = append(t.keys, clones(this.keys[:min(room, len(this.keys))])...)
	}
	if this.effect == Works {
		this.keys = nil
	} else {
		this.keys = clones(this.keys[:min(maxKeys, len(this.keys))])
	}
	t.calls = append(t.calls, this)
}

// giveUp counts the calls of a transaction that is not executed, or not seen whole,
// each by itself.
func (c *Census) giveUp(k *conn) {
	if k.txn == nil {
		return
	}
	calls := k.txn.calls
	k.txn = nil
	for _, this := range calls {
		c.count(k, this)
	}
}

// executed counts a transaction. On a cluster its commands go to one node, and EXEC
// looks at the slots of all (cluster.c getNodeByQuery).
func (c *Census) executed(k *conn) {
	t, watched := k.txn, k.watched
	k.txn, k.watched = nil, slots{}
	reason, all := Reason(""), t.slots
	all.addAll(watched)
	switch {
	case t.slots.several:
		reason = Transaction
	case all.several:
		reason = Watched
	default:
		for _, this := range t.calls {
			c.count(k, this)
		}
		return
	}
	for i, this := range t.calls {
		this.verdict = verdict{Crossing, Breaks, reason, ""}
		this.keys = nil
		if i == len(t.calls)-1 && reason == Transaction {
			this.keys = t.keys // once for all of it
		}
		c.count(k, this)
	}
}

// scriptCall is a script or function that runs, and what it has called so far.
type scriptCall struct {
	call
	conn     *conn
	db       int
	declared slots
	used     slots
	others   [][]byte // keys that it used, of other slots than the declared ones
	oneShard string   // what it called that sees one shard only
}

// begin starts with a script's own line; those of what it calls follow.
func (c *Census) begin(k *conn, t *tally, v verdict, l Line) {
	c.running = &c.script
	*c.running = scriptCall{
		call: call{tally: t, verdict: v, label: scriptLabel(t.name, l.Args), keys: clones(c.keys[:min(maxKeys, len(c.keys))])},
		conn: k, db: l.DB, declared: slotsOf(c.keys), others: c.script.others[:0],
	}
	if len(l.Args) > 1 && c.noCluster(t.name, l.Args[1]) {
		c.running.verdict = verdict{v.class, Breaks, NoCluster, ""}
	}
}

// called counts what a script calls.
func (c *Census) called(t *tally, keys [][]byte) {
	s := c.running
	if s == nil {
		return
	}
	switch t.nature {
	case oneShard, eachShard:
		s.oneShard = t.name
	}
	for _, key := range keys {
		n := slot.Of(key)
		s.used.add(n)
		if (!s.declared.any || n != s.declared.first) && len(s.others) < maxKeys {
			s.others = append(s.others, bytes.Clone(key))
		}
	}
}

// endScript judges the script that ran, when the next line is not one of its own.
func (c *Census) endScript() {
	s := c.running
	if s == nil {
		return
	}
	c.running = nil
	all := s.declared
	all.addAll(s.used)
	switch {
	case s.effect == Breaks && s.reason != DB: // by its declared keys, or a flag
	case !s.declared.any && s.used.any:
		s.verdict, s.keys = verdict{OneKey, Breaks, UnboundedScript, ""}, s.others
		if s.used.several {
			s.class = Crossing
		}
	case all.several:
		s.verdict, s.keys = verdict{Crossing, Breaks, Undeclared, ""}, append(s.keys, s.others...)
	case s.oneShard != "" && s.effect == Works:
		s.verdict = verdict{s.class, OneShard, WithinScript, s.oneShard}
	}
	c.take(s.conn, s.call, all)
}

// count is where every call of a client ends up, once.
func (c *Census) count(k *conn, this call) {
	t := this.tally
	t.calls++
	t.classes[this.class]++
	t.effects[this.effect]++
	if this.effect == Works {
		return
	}
	r := c.row(this)
	r.calls[t]++
	if _, counted := r.clients[k]; counted || len(r.clients) < maxRowClients {
		r.clients[k]++
	} else {
		c.leftOut.Clients++
	}
	if r.reason == CrossSlot || r.reason == Transaction || r.reason == Undeclared {
		if !c.groups.add(r, this.keys) { // these could have one hash tag
			c.leftOut.Groups++
		}
	}
	r.sample(this.keys)
}

func clones(keys [][]byte) [][]byte {
	all := make([][]byte, len(keys))
	for i, key := range keys {
		all[i] = bytes.Clone(key)
	}
	return all
}

// sortedTallies are the commands in order of their names.
func (c *Census) sortedTallies() []*tally {
	all := make([]*tally, 0, len(c.commands))
	for _, t := range c.commands {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *tally) int { return strings.Compare(a.name, b.name) })
	return all
}
