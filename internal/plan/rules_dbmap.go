package plan

import (
	"errors"
	"fmt"
	"strings"

	"godwit/internal/route"
	"godwit/internal/topology"
)

// dbMapRules see that every db of the source has a place in a cluster, of its own or by
// another name, and that nobody takes a mapping for carried out that is not.
func dbMapRules() []rule {
	return []rule{
		{"db-map-relay", blocker, func(in *input) (string, string) {
			if in.toCluster() || in.joint() || !in.Route.Maps() {
				return "", ""
			}
			return "--db-map " + in.Route.String() + ": the target is to be a replica of godwit, which passes the source's stream on as it is, so every db gets to the same number",
				"leave --db-map out; it is for clusters as targets"
		}},
		{"db-map-joint", blocker, func(in *input) (string, string) {
			switch {
			case in.ofCluster() && in.Route.Prefixed():
				return "--db-map " + in.Route.String() + ": keys of a cluster keep their names, as these say what slot they are in", "say N:M for each db, or N:drop, without a prefix"
			case in.file == nil || in.mayMap() || !in.Route.Maps():
				return "", ""
			}
			return "--db-map " + in.Route.String() + ": a server gets the dbs of a file by their own numbers", "leave --db-map out; it is for clusters as targets"
		}},
		{"cluster-dbs", blocker, func(in *input) (string, string) {
			if !in.mayMap() {
				return "", ""
			}
			var found, prefixes, same, drops []string
			for _, db := range in.Source.DBs {
				if _, err := in.Route.Of(db.Number); err == nil {
					continue
				}
				found = append(found, keysOfDB(db))
				prefixes = append(prefixes, fmt.Sprintf("--db-map %d:prefix=db%d:", db.Number, db.Number))
				drops = append(drops, fmt.Sprintf("--db-map %d:drop", db.Number))
				if db.Number < in.targetDBs() {
					same = append(same, fmt.Sprintf("--db-map %d:%d", db.Number, db.Number))
				}
			}
			if found == nil {
				return "", ""
			}
			hint := "say where they go: " + strings.Join(prefixes, " ") + " to have them in db 0 by names that begin so, or " + strings.Join(drops, " ") + " to leave them behind"
			if in.ofCluster() {
				hint = "say where they go: " + strings.Join(drops, " ") + " to leave them behind"
			}
			if len(same) > 0 {
				hint += fmt.Sprintf(", or, as the target has %d dbs, %s", in.targetDBs(), strings.Join(same, " "))
			}
			switch {
			case in.file != nil:
				return "a cluster has one db by default, and the file has keys, or commands, in " + list(found) + " as well", hint
			case in.ofCluster():
				return "what a cluster has goes to db 0 by default, and it has keys in " + list(found) + " as well", hint
			case in.joint() && !in.toCluster():
				return "what several servers have goes to db 0 by default, and they have keys in " + list(found) + " as well", hint
			}
			return "a cluster has one db by default, and the source has keys in " + list(found) + " as well", hint
		}},
		{"db-map-target", blocker, func(in *input) (string, string) {
			if !in.mayMap() {
				return "", ""
			}
			text, hint := found(in.Route.Fits(in.targetDBs()))
			if in.ofCluster() && text != "" {
				hint = "say N:drop, or another db"
			}
			return text, hint
		}},
		{"db-map-source", blocker, func(in *input) (string, string) {
			dbs, known := clusterDBs(in.Sources)
			if !in.ofCluster() || !known {
				return "", ""
			}
			for _, way := range in.mapped() {
				if !way.Stays && way.From >= dbs {
					return fmt.Sprintf("--db-map %s: the source has no db %d, only %d", way, way.From, dbs), "leave it out"
				}
			}
			return "", ""
		}},
		{"db-map-way-back", blocker, func(in *input) (string, string) {
			if !in.toCluster() || !in.wantsBack() || in.severalServers() { // from where there is no way back anyway
				return "", ""
			}
			return found(in.Route.OneWay())
		}},
		{"db-map-drop", warning, func(in *input) (string, string) {
			var left []string
			for _, way := range in.mapped() {
				if way.Stays {
					left = append(left, keysOfDB(in.db(way.From)))
				}
			}
			if left == nil {
				return "", ""
			}
			if in.file != nil {
				return "what the file has in " + list(left) + ", and " + count(in.file.Left, "command", "commands") + " there, stay behind (--db-map)", ""
			}
			return "what the source has, and gets, in " + list(left) + " stays behind (--db-map)", ""
		}},
		{"db-map", note, func(in *input) (string, string) {
			var moved []string
			prefixed := false
			for _, way := range in.mapped() {
				if !way.Stays {
					moved = append(moved, keysOfDB(in.db(way.From))+" to "+placeOf(way))
					prefixed = prefixed || len(way.Others) > 0
				}
			}
			if moved == nil {
				return "", ""
			}
			text := "keys go from " + list(moved)
			if prefixed {
				text += "; a key whose name would begin with the prefix of another db is named, and stops the migration"
			}
			return text, ""
		}},
	}
}

// mayMap tells whether dbs of the source may go to others, or by other names: those of a
// server or a file to a cluster, and those of several servers; those of a cluster to others.
func (in *input) mayMap() bool {
	return in.toCluster() || in.joint()
}

// ofCluster tells whether the source is a cluster.
func (in *input) ofCluster() bool { return in.joint() && in.SourceCluster != nil }

// found is a finding of package route, nothing if there is none.
func found(err error) (text, hint string) {
	if err == nil {
		return "", ""
	}
	var hinted interface{ HintText() string }
	if errors.As(err, &hinted) {
		hint = hinted.HintText()
	}
	return err.Error(), hint
}

// mapped are the ways of a mapping that counts.
func (in *input) mapped() []*route.Way {
	if !in.mayMap() || !in.Route.Maps() {
		return nil
	}
	return in.Route.Ways()
}

// targetDBs is how many dbs the target has.
func (in *input) targetDBs() int {
	if in.toCluster() {
		dbs, _ := clusterDBs(in.Shards)
		return dbs
	}
	return int(databases(in.Target))
}

// clusterDBs is how many dbs every shard of a cluster has. known is false if one does not
// say.
func clusterDBs(shards []topology.Node) (dbs int, known bool) {
	dbs, known = 1, true
	for i, n := range shards {
		has, says := n.ClusterDBs()
		if i == 0 || has < dbs {
			dbs = has
		}
		known = known && says
	}
	return dbs, known
}

// db is what the source has in one.
func (in *input) db(number int) topology.DB {
	for _, db := range in.Source.DBs {
		if db.Number == number {
			return db
		}
	}
	return topology.DB{Number: number}
}

func keysOfDB(db topology.DB) string {
	return fmt.Sprintf("db %d (%s)", db.Number, count(db.Keys, "key", "keys"))
}

func placeOf(way *route.Way) string {
	if len(way.Prefix) > 0 {
		return fmt.Sprintf("db %d by names that begin with %q", way.To, way.Prefix)
	}
	return fmt.Sprintf("db %d", way.To)
}
