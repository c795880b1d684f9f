package census

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"godwit/internal/command"
)

// Report is what a census found. Calls are of clients; what scripts call is not in
// them. Shares are between 0 and 1, of all calls where nothing else is said.
type Report struct {
	Source  string    `json:"source"`           // the server's URL without its password, or the file
	Server  string    `json:"server,omitempty"` // product and version
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`

	Calls   int64 `json:"calls"`   // while it was watched; estimated from Counted where scripts run
	Counted bool  `json:"counted"` // by the server itself (INFO commandstats), else Calls were all seen
	Seen    int64 `json:"seen"`    // calls that MONITOR showed

	Effects map[Effect]Share `json:"effects"`
	Classes map[Class]Share  `json:"classes"` // of what MONITOR showed, and of what can have one class only
	// Margin is by how much the share that works may be off, with 95 % confidence, as
	// only some of the calls were seen; 0 if all were.
	Margin float64 `json:"margin"`

	Commands []Command `json:"commands"`
	Findings []Finding `json:"findings"`
	Breaking int       `json:"breaking_clients"` // that make calls with effect breaks
	HashTags HashTags  `json:"hash_tags"`
	DBs      []DBUse   `json:"dbs"` // what MONITOR showed; of the first 64 that were used

	Earlier     []Earlier    `json:"earlier"` // not called while it was watched, but before
	Monitor     *Monitoring  `json:"monitor,omitempty"`
	ServerCount *ServerCount `json:"cluster_incompatible_ops,omitempty"`
	LeftOut     LeftOut      `json:"left_out"`
	FirstBad    string       `json:"first_not_understood,omitempty"` // where, and why
	Notes       []string     `json:"notes"`
	Interrupted bool         `json:"interrupted"`
}

// Share is some of the calls.
type Share struct {
	Calls int64   `json:"calls"`
	Share float64 `json:"share"`
}

// Command is what became of one command.
type Command struct {
	Name    string           `json:"command"` // in capitals
	Calls   int64            `json:"calls"`
	Share   float64          `json:"share"`
	Seen    int64            `json:"seen"`
	Effects map[Effect]Share `json:"effects"` // shares of this command's calls
	Classes map[Class]Share  `json:"classes"`
}

// Finding is something that does not work as it is.
type Finding struct {
	Command string     `json:"command"`          // in capitals; MULTI … EXEC for what is within, any command for a db
	Script  string     `json:"script,omitempty"` // a function's name, or the beginning of a script's SHA1
	Detail  string     `json:"detail,omitempty"` // a subcommand or option; the number of a db
	Effect  Effect     `json:"effect"`
	Reason  Reason     `json:"reason"`
	Text    string     `json:"text"` // the reason, for people
	Calls   int64      `json:"calls"`
	Share   float64    `json:"share"`
	Seen    int64      `json:"seen"`
	Of      float64    `json:"of_command"` // share of that command's calls; 0 where there are several commands
	Clients []Client   `json:"clients"`    // those with most calls first, ten at most
	More    int        `json:"more_clients"`
	Samples [][]string `json:"samples"` // keys that were used together
}

// Client is who made the calls of a finding.
type Client struct {
	client
	Connections int     `json:"connections"` // that made such calls
	Share       float64 `json:"share"`       // of the finding's calls that were seen
}

// DBUse is how much of the traffic is in a db.
type DBUse struct {
	DB    int     `json:"db"`
	Lines int64   `json:"lines"`
	Share float64 `json:"share"`
}

// Earlier is a command that was called before, since the server started or its
// statistics were reset, and that may not work on a cluster.
type Earlier struct {
	Command string `json:"command"`
	Calls   int64  `json:"calls"`
	Text    string `json:"text"`
}

// ServerCount is what the server itself counted (INFO cluster_incompatible_ops, Redis
// from 8.0 on, if cluster-compatibility-sample-ratio is above 0).
type ServerCount struct {
	Counted int64 `json:"counted"`
	Ratio   int64 `json:"sample_ratio"` // percent of the calls that it looks at
}

// Fits tells whether all calls work on a cluster as they are, as far as is known.
func (r *Report) Fits() bool {
	return r.Effects[Breaks].Calls+r.Effects[Splits].Calls+r.Effects[OneShard].Calls == 0
}

// clientsShown is how many clients a finding tells of.
const clientsShown = 10

// totals are exact calls by command, in capitals; nil if nobody counted.
type totals map[string]int64

// reporter puts a report together.
type reporter struct {
	census *Census
	totals totals
	static command.Capabilities // what all versions have
	report *Report
}

// report fills in what was counted.
func (c *Census) report(r *Report, counted totals) {
	c.endScript()
	p := reporter{census: c, totals: counted, static: c.static(), report: r}
	r.Counted = counted != nil
	r.Effects, r.Classes = make(map[Effect]Share), make(map[Class]Share)
	r.Commands, r.Findings, r.DBs = []Command{}, []Finding{}, []DBUse{}
	if r.Earlier == nil {
		r.Earlier = []Earlier{}
	}
	if r.Notes == nil {
		r.Notes = []string{}
	}
	p.seen()
	p.unseen()
	for i := range r.Commands {
		cmd := &r.Commands[i]
		for effect, s := range cmd.Effects {
			r.Effects[effect] = Share{Calls: r.Effects[effect].Calls + s.Calls}
		}
		for class, s := range cmd.Classes {
			r.Classes[class] = Share{Calls: r.Classes[class].Calls + s.Calls}
		}
		r.Calls += cmd.Calls
		r.Seen += cmd.Seen
	}
	shareAll(r.Effects, r.Calls)
	shareAll(r.Classes, r.Calls)
	for i := range r.Commands {
		cmd := &r.Commands[i]
		cmd.Share = ratio(float64(cmd.Calls), float64(r.Calls))
		shareAll(cmd.Effects, cmd.Calls)
		shareAll(cmd.Classes, cmd.Calls)
	}
	slices.SortStableFunc(r.Commands, func(a, b Command) int { return cmp.Compare(b.Calls, a.Calls) })
	for _, t := range c.commands {
		if p.scale(t) > 1 {
			r.Margin = c.margin() // else all that MONITOR shows was seen
			break
		}
	}
	p.findings()
	r.HashTags = findTags(&c.groups, p.estimate, float64(r.Effects[Breaks].Calls), float64(r.Effects[Splits].Calls))
	notUnderstood := r.LeftOut.NotUnderstood
	r.LeftOut = c.leftOut
	r.LeftOut.NotUnderstood = notUnderstood
	for i, n := range c.dbs {
		if n > 0 {
			r.DBs = append(r.DBs, DBUse{DB: i, Lines: n, Share: ratio(float64(n), float64(c.lines))})
		}
	}
}

// margin is by how much the share of what works may be off, with 95 % confidence:
// windows are drawn, not calls, and calls at the same time are alike (the ratio
// estimator of a cluster sample). Where all calls are alike it is the rule of three.
func (c *Census) margin() float64 {
	var calls, works, squares float64
	for _, w := range c.windows {
		calls += float64(w.calls)
		works += float64(w.works)
	}
	if calls == 0 {
		return 0
	}
	share, n := works/calls, float64(len(c.windows))
	for _, w := range c.windows {
		d := float64(w.works) - share*float64(w.calls)
		squares += d * d
	}
	least := max(3/calls, 1.96*math.Sqrt(share*(1-share)/calls))
	if n < 2 {
		return least
	}
	return max(least, 1.96*math.Sqrt(squares*n/(n-1))/calls)
}

func shareAll[K comparable](all map[K]Share, of int64) {
	for k, s := range all {
		all[k] = Share{s.Calls, ratio(float64(s.Calls), float64(of))}
	}
}

// scale is how many calls one that was seen stands for.
func (p *reporter) scale(t *tally) float64 {
	if total := p.totals[t.name]; t.lines > 0 && total > t.lines {
		return float64(total) / float64(t.lines)
	}
	return 1
}

// estimate is how many calls a row stands for.
func (p *reporter) estimate(r *row) float64 {
	sum := 0.0
	for t, n := range r.calls {
		sum += float64(n) * p.scale(t)
	}
	return sum
}

func round(calls float64) int64 { return int64(math.Round(calls)) }

// seen tells of the commands that MONITOR showed.
func (p *reporter) seen() {
	for _, t := range p.census.sortedTallies() {
		if t.calls == 0 {
			continue
		}
		scale := p.scale(t)
		cmd := Command{Name: t.name, Seen: t.calls, Effects: make(map[Effect]Share), Classes: make(map[Class]Share)}
		for effect, n := range t.effects {
			cmd.Effects[effect] = Share{Calls: round(float64(n) * scale)}
			cmd.Calls += cmd.Effects[effect].Calls
		}
		for class, n := range t.classes {
			cmd.Classes[class] = Share{Calls: round(float64(n) * scale)}
		}
		p.report.Commands = append(p.report.Commands, cmd)
	}
}

// unseen tells of the commands that the server counted and MONITOR did not show: it
// never shows some, and others were not called while it ran.
func (p *reporter) unseen() {
	for _, name := range slices.Sorted(maps.Keys(p.totals)) {
		n := p.totals[name]
		if t := p.census.commands[name]; n <= 0 || t != nil && t.lines > 0 {
			continue
		}
		v := p.unseenVerdict(name)
		p.report.Commands = append(p.report.Commands, Command{
			Name: name, Calls: n,
			Effects: map[Effect]Share{v.effect: {Calls: n}}, Classes: map[Class]Share{v.class: {Calls: n}},
		})
		if v.effect != Works {
			p.report.Findings = append(p.report.Findings, Finding{
				Command: name, Effect: v.effect, Reason: v.reason, Text: v.reason.Text(), Calls: n,
				Share: 0, Of: 1, Clients: []Client{}, Samples: [][]string{},
			})
		}
	}
}

// unseenVerdict is what a command's name alone tells.
func (p *reporter) unseenVerdict(name string) verdict {
	v := verdict{class: NoKey, effect: Works}
	b := []byte(name)
	if len(p.static.AppendKeys(nil, [][]byte{b, {}, {}})) > 0 {
		v.class = OneKey
	}
	switch n := natureOf(name); {
	case n == refused:
		v.effect, v.reason = Breaks, Refused
	case n == oneShard:
		v.effect, v.reason = OneShard, SeesOneShard
	case n == eachShard:
		v.effect, v.reason = OneShard, OnEachShard
	case mayHaveSeveral(name), n == selecting, name == "EXEC", !p.static.KnowsKeysOf(b):
		v.effect, v.reason = Unknown, NotSeen
	}
	return v
}

// findings tells of the rows.
func (p *reporter) findings() {
	r := p.report
	for i := range r.Findings {
		r.Findings[i].Share = ratio(float64(r.Findings[i].Calls), float64(r.Calls))
	}
	breaking := make(map[client]bool)
	for _, row := range p.census.rows {
		if row.effect == Breaks {
			for k := range row.clients {
				breaking[k.client] = true
			}
		}
		f := Finding{
			Command: row.command, Script: row.label, Detail: row.detail, Effect: row.effect, Reason: row.reason, Text: row.reason.Text(),
			Calls: round(p.estimate(row)), Clients: []Client{}, Samples: [][]string{},
		}
		for t, n := range row.calls {
			f.Seen += n
			if len(row.calls) == 1 && t.name == row.command {
				f.Of = ratio(float64(n), float64(t.calls))
			}
		}
		f.Share = ratio(float64(f.Calls), float64(r.Calls))
		f.Clients = row.byClient(f.Seen)
		f.More = max(0, len(f.Clients)-clientsShown)
		f.Clients = f.Clients[:min(len(f.Clients), clientsShown)]
		for _, keys := range row.samples {
			f.Samples = append(f.Samples, shown(keys))
		}
		r.Findings = append(r.Findings, f)
	}
	r.Breaking = len(breaking)
	order := []Effect{Breaks, Splits, OneShard, Unknown}
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Effect), slices.Index(order, b.Effect)), cmp.Compare(b.Calls, a.Calls),
			strings.Compare(a.Command, b.Command), strings.Compare(a.Script, b.Script), strings.Compare(string(a.Reason), string(b.Reason)),
			strings.Compare(a.Detail, b.Detail))
	})
}

// byClient are the clients of a row, those with most calls first.
func (r *row) byClient(seen int64) []Client {
	calls := make(map[client]int64)
	connections := make(map[client]int)
	for k, n := range r.clients {
		calls[k.client] += n
		connections[k.client]++
	}
	all := make([]Client, 0, len(calls))
	for who, n := range calls {
		all = append(all, Client{client: who, Connections: connections[who], Share: ratio(float64(n), float64(seen))})
	}
	slices.SortFunc(all, func(a, b Client) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.Name, b.Name), strings.Compare(a.Address, b.Address), strings.Compare(a.Library, b.Library))
	})
	return all
}
