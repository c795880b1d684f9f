package census

// Class is how the keys of a call lie on a cluster, as the manuals of Redis Cluster
// and Valkey tell them apart.
type Class string

// The classes.
const (
	NoKey       Class = "no-key"
	OneKey      Class = "one-key"
	OneSlot     Class = "one-slot"         // several keys, all of one hash slot
	Independent Class = "independent-keys" // of several slots, and the call could be split
	Crossing    Class = "several-slots"    // of several slots, and they belong together
)

// Effect is what becomes of a call on a cluster.
type Effect string

// The effects, from harmless to fatal.
const (
	Works    Effect = "works"
	Unknown  Effect = "unknown"   // the call was not seen, or its keys are not known
	OneShard Effect = "one-shard" // it sees, or reaches, one shard only
	Splits   Effect = "splits"    // refused, unless the client splits it
	Breaks   Effect = "breaks"    // refused, or means something else
)

// Reason is why a call does not work as it is.
type Reason string

// The reasons.
const (
	CrossSlot       Reason = "cross-slot"       // keys of several slots in one command
	Transaction     Reason = "transaction"      // keys of several slots between MULTI and EXEC
	Watched         Reason = "watch"            // WATCH and the transaction it is for differ in slots
	Undeclared      Reason = "undeclared-keys"  // a script or function uses keys that are not its KEYS
	NoCluster       Reason = "no-cluster"       // the script or function has that flag
	DB              Reason = "db"               // in a db other than 0, or selects one
	Refused         Reason = "refused"          // a cluster does not have the command, or the option
	SeesOneShard    Reason = "sees-one-shard"   // answers for the keys of one shard only
	OnEachShard     Reason = "on-each-shard"    // has to be sent to each shard
	UnknownCommand  Reason = "unknown-command"  // where it has its keys is not known
	NotSeen         Reason = "not-seen"         // counted by the server, but not seen by MONITOR
	ByOtherKeys     Reason = "sort-by-get"      // SORT with BY or GET of other keys
	ByTaggedKeys    Reason = "sort-by-get-tag"  // those keys have its hash tag
	UnboundedScript Reason = "keyless-script"   // a script with no KEYS that uses some all the same
	WithinScript    Reason = "script-one-shard" // a script that calls what sees one shard only
)

// Text says a reason to people, as the end of a line.
func (r Reason) Text() string {
	switch r {
	case CrossSlot:
		return "keys of several hash slots: CROSSSLOT"
	case Transaction:
		return "keys of several hash slots in one transaction"
	case Watched:
		return "keys of other hash slots than WATCH had before"
	case Undeclared:
		return "uses keys of other hash slots than its declared KEYS"
	case UnboundedScript:
		return "uses keys and declares none, so it runs on any shard: give it its keys as KEYS"
	case WithinScript:
		return "calls a command that sees one shard only"
	case NoCluster:
		return "has the flag no-cluster"
	case DB:
		return "a cluster has db 0 only (Valkey 9 and later: see cluster-databases)"
	case Refused:
		return "refused in cluster mode"
	case ByOtherKeys:
		return "BY or GET of other keys is refused in cluster mode"
	case ByTaggedKeys:
		return "BY or GET of keys with the same hash tag is refused by older clusters, such as of Redis 7.0"
	case SeesOneShard:
		return "answers for one shard only"
	case OnEachShard:
		return "has to be sent to each shard"
	case UnknownCommand:
		return "where it has its keys is not known"
	case NotSeen:
		return "not seen by MONITOR: it depends on its arguments"
	}
	return string(r)
}

// verdict is what was found of one call.
type verdict struct {
	class  Class
	effect Effect
	reason Reason // empty if it works
	detail string // beside the command: the number of a db, a subcommand
}
