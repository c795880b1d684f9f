package command

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"godwit/internal/rdb"
)

// Lacking lists what the source may propagate and the target does not know, as far
// as both have said, and by the tables otherwise: commands, and options of those
// that both have. Those of modules whose values the target does not load are among
// them, known or not. It is sorted.
func Lacking(source, target *Capabilities) []Option {
	lacking := make(map[Option]bool)
	for _, name := range source.writes() {
		if !target.knows(name) {
			lacking[Option(name)] = true
			continue
		}
		// An option that no table knows of yet. A command says nothing where its
		// arguments are not documented.
		for _, token := range source.Learnt.tokens(name) {
			if known, told := target.Learnt.documents(name, token); told && !known {
				lacking[Option(name+" "+token)] = true
			}
		}
	}
	if !target.loadsModules() {
		for name, writes := range source.ofModules() {
			if writes {
				lacking[Option(name)] = true
			}
		}
	}
	for _, name := range propagated(source.Learnt.renamed) {
		lacking[Option(name+" by another name")] = true // as it is propagated, too
	}
	for o := range source.options {
		name, _, isPart := strings.Cut(string(o), " ")
		if source.Has(o) && !target.Has(o) && (!isPart || !lacking[Option(name)]) {
			lacking[o] = true
		}
	}
	return slices.Sorted(maps.Keys(lacking))
}

// Understands tells whether the target understands whatever the source propagates,
// payloads of RESTORE among it, so that the stream can pass without a look at it.
// Relative TTLs stay relative then, and a db that the target has not is not noticed.
func Understands(target, source *Capabilities) bool {
	if !target.Version.Includes(source.Version) && !compared(source, target) {
		return false
	}
	return target.Format.Loads(source.Format) && len(Lacking(source, target)) == 0
}

// compared tells whether Lacking is complete: both servers have documented their
// commands, or the source is none that is newer than the tables.
func compared(source, target *Capabilities) bool {
	if len(source.Learnt.words) > 0 && len(target.Learnt.words) > 0 {
		return true
	}
	newest := map[rdb.Family][2]int{rdb.Redis: {8, 6}, rdb.Valkey: {9, 1}, rdb.Redict: {7, 3}}[source.Version.Product]
	return !source.Version.AtLeast(newest[0], newest[1]+1)
}

// Fingerprint is that of all that decides what a Rewriter makes of a command and
// that the servers were asked: as long as it is the same, and the versions and
// formats are, the same command becomes the same bytes.
func Fingerprint(source, target *Capabilities) string {
	var known []string
	for _, name := range target.names() {
		known = append(known, "target "+name)
	}
	for o := range target.options {
		known = append(known, fmt.Sprintf("target %s %v", o, target.Has(o)), fmt.Sprintf("source %s %v", o, source.Has(o)))
	}
	if len(source.ofModules()) > 0 {
		known = append(known, fmt.Sprintf("modules %v", target.loadsModules()))
	}
	known = append(known, fmt.Sprintf("understood %v", Understands(target, source)))
	slices.Sort(known)
	sum := sha256.Sum256([]byte(strings.Join(known, "\n")))
	return hex.EncodeToString(sum[:8])
}
