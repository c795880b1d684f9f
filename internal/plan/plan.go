// Package plan decides how a migration would be done, and whether it can be,
// from what was found and what is wanted. It is pure: it asks no server, reads
// no clock and changes nothing.
package plan

import (
	"fmt"
	"strconv"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/topology"
)

// Facts are what was found.
type Facts struct {
	Source, Target topology.Node
	Listener       Listener

	// Cluster is the target as a whole where it is one, and Shards its primaries.
	Cluster *topology.ClusterMap
	Shards  []topology.Node

	// Sources are the primaries of a source that is several servers, or a cluster: then
	// SourceCluster is that as a whole. Source and Target are made of these and of Shards.
	Sources       []topology.Node
	SourceCluster *topology.ClusterMap
}

// Listener is where the servers find godwit.
type Listener struct {
	// SourceAddress and TargetAddress are host:port of the listener as seen from
	// each server; empty while the listener is not open, and then the host is that
	// of the route to the server and the port is a free one.
	SourceAddress, TargetAddress string
	Certificate                  bool   // it has one, for servers with tls-replication yes
	Unreachable                  string // why the target could not connect to it; empty if it could, or was not asked to
}

// Wants are what the user asked for.
type Wants struct {
	Name     string // of the migration
	Replace  bool   // the keys of the target may be wiped
	Announce string // host:port of the listener for both servers; empty: found from the route
	CopyOnly bool   // --cutover never: it is not meant to be switched
	NoKill   bool   // leave the clients of the demoted server connected
	Verify   bool   // both sides are compared before the cutover
	MaxPause time.Duration
	// RollbackWindow is how long the way back is kept after the cutover; negative:
	// until complete, 0: not at all.
	RollbackWindow         time.Duration
	Drop                   []rdb.Feature // what the target lacks and may be left out
	AcceptModules          []string      // modules that may be of another version at the target
	Route                  route.Route   // where the source's dbs go in a cluster
	ShardBy                string        // by what rule clients have divided their keys among several sources, empty if nobody knows
	SpoolMemory, SpoolDisk int64         // bytes
}

// The engines.
const (
	// Relay is a replica of the source and the primary of the target: one standalone
	// server to another.
	Relay = "relay"
	// Apply is a replica of the source and a client of the target's shards.
	Apply = "apply"
)

// Method is how writes are stopped at a primary that is to be demoted.
type Method string

// The methods.
const (
	Failover Method = "failover" // FAILOVER TO godwit, from 6.2 on
	Fence    Method = "fence"    // min-replicas-to-write, then REPLICAOF
	Pause    Method = "pause"    // CLIENT PAUSE at every primary, then ACL SETUSER
)

// Plan is what would happen. It holds no password.
type Plan struct {
	Name             string     `json:"name"`
	Engine           string     `json:"engine"`
	EngineWhy        string     `json:"engine_why"`
	Shards           []End      `json:"shards,omitempty"`       // of a cluster as target
	Slots            string     `json:"slots,omitempty"`        // likewise, as a picture
	Sources          []End      `json:"sources,omitempty"`      // of a cluster as source, or several servers
	SourceSlots      string     `json:"source_slots,omitempty"` // of a cluster as source, as a picture
	Method           Method     `json:"method"`
	Source           End        `json:"source"`
	Target           End        `json:"target"`
	Blockers         []Finding  `json:"blockers"` // each of them must be mended first
	Warnings         []Finding  `json:"warnings"` // worth knowing before the start
	Notes            []Finding  `json:"notes"`
	Steps            []Step     `json:"steps"`
	Sizes            Sizes      `json:"sizes"`
	EstimatedSeconds float64    `json:"estimated_seconds"` // of the copy
	MaxPauseMS       int64      `json:"max_pause_ms"`
	WayBack          bool       `json:"way_back"` // a rollback after the cutover is possible
	WayBackReason    string     `json:"way_back_reason"`
	Verify           Comparison `json:"verify"`

	File *FileContents `json:"file,omitempty"` // where that is the source
}

// End is one of the two servers in short.
type End struct {
	URL       string `json:"url"`
	Version   string `json:"version"`
	Role      string `json:"role"`
	Keys      int64  `json:"keys"`
	Memory    int64  `json:"used_memory"` // bytes
	MaxMemory int64  `json:"maxmemory"`   // bytes, 0 for none
}

// Finding is something that was found, and what to do about it.
type Finding struct {
	Code string `json:"code"` // stable, for programs
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Step is one step of the migration.
type Step struct {
	Phase   string `json:"phase"`
	Server  string `json:"server"`  // source, target or godwit
	Address string `json:"address"` // of that server
	Command string `json:"command"` // what is sent to it; in parentheses what happens by itself
	Why     string `json:"why"`
}

// Sizes are how much there is to move.
type Sizes struct {
	Keys        int64         `json:"keys"`
	Expires     int64         `json:"expires"` // keys with a TTL
	DBs         []topology.DB `json:"dbs"`
	Libraries   int           `json:"function_libraries"`
	UsedMemory  int64         `json:"used_memory"` // bytes, at the source
	SpoolMemory int64         `json:"spool_memory"`
	SpoolDisk   int64         `json:"spool_disk"`
}

// Refused tells whether there are blockers.
func (p Plan) Refused() bool { return len(p.Blockers) > 0 }

// Make makes the plan.
func Make(f Facts, w Wants) Plan {
	in := newInput(f, w)
	p := Plan{
		Name:   w.Name,
		Method: in.method,
		Source: endOf(in.Source), Target: endOf(in.Target),
		Sizes: Sizes{
			Keys: in.Source.Keys(), DBs: in.Source.DBs, Libraries: in.Source.Libraries,
			UsedMemory: in.Source.Memory.Used, SpoolMemory: w.SpoolMemory, SpoolDisk: w.SpoolDisk,
		},
		EstimatedSeconds: in.copySeconds(),
		MaxPauseMS:       w.MaxPause.Milliseconds(),
		// Lists in JSON, not null.
		Blockers: []Finding{}, Warnings: []Finding{}, Notes: []Finding{}, Steps: []Step{},
	}
	p.Engine, p.EngineWhy = in.engine()
	if in.joint() {
		p.Source.Role = fmt.Sprintf("%d servers", len(in.Sources))
		if in.SourceCluster != nil {
			p.SourceSlots = picture(in.SourceCluster)
			p.Source.Role = fmt.Sprintf("cluster of %d", len(in.Sources))
		}
		for _, n := range in.Sources {
			p.Sources = append(p.Sources, endOf(n))
		}
	}
	if in.toCluster() {
		p.Slots = picture(in.Cluster)
		p.Target.Role = fmt.Sprintf("cluster of %d", len(in.Shards))
		for _, n := range in.Shards {
			p.Shards = append(p.Shards, endOf(n))
		}
	}
	for _, db := range in.Source.DBs {
		p.Sizes.Expires += db.Expires
	}
	if !p.judge(in) {
		p.WayBackReason = "the migration cannot be made"
		return p
	}
	p.Verify = in.comparison()
	p.WayBack, p.WayBackReason = in.wayBack()
	p.Steps = in.steps(p.WayBack)
	return p
}

// judge applies the rules. Where the servers are not what a migration is between,
// the rules about their details would only mislead, and it returns false.
func (p *Plan) judge(in *input) bool {
	for i, rules := range ruleGroups(in) {
		for _, r := range rules {
			if !in.skips(r.code) {
				p.apply(r, in)
			}
		}
		if i == 0 && p.Refused() {
			return false
		}
	}
	return true
}

// ruleGroups are all rules, those about the servers' identity first.
func ruleGroups(in *input) [][]rule {
	return [][]rule{
		identityRules(), jointRules(), clusterRules(), dbMapRules(), roleRules(), dataRules(), memoryRules(), versionRules(), featureRules(),
		replicationRules(), networkRules(), permissionRules(in), verifyRules(),
	}
}

func (p *Plan) apply(r rule, in *input) {
	text, hint := r.find(in)
	if text == "" {
		return
	}
	finding := Finding{Code: r.code, Text: text, Hint: hint}
	switch r.severity {
	case blocker:
		p.Blockers = append(p.Blockers, finding)
	case warning:
		p.Warnings = append(p.Warnings, finding)
	case note:
		p.Notes = append(p.Notes, finding)
	}
}

func endOf(n topology.Node) End {
	return End{
		URL: n.URL, Version: n.Version.String(), Role: string(n.Replication.Role),
		Keys: n.Keys(), Memory: n.Memory.Used, MaxMemory: n.Memory.Max,
	}
}

// RefusedError says that a plan has blockers.
type RefusedError struct {
	Plan Plan
}

func (e *RefusedError) Error() string {
	text := "the plan has " + count(int64(len(e.Plan.Blockers)), "blocker", "blockers")
	for i, b := range e.Plan.Blockers {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		text += separator + b.Text
	}
	return text
}

// HintText is what to do about each blocker, one a line.
func (e *RefusedError) HintText() string {
	var text string
	for _, b := range e.Plan.Blockers {
		if b.Hint == "" {
			continue
		}
		if text != "" {
			text += "\n"
		}
		text += b.Hint
	}
	return text
}

// count is a number with its noun, thousands separated.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// number writes 1234567 as 1,234,567.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
