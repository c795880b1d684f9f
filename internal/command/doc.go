// Package command knows the commands of Redis, Valkey and Redict servers: which
// version knows which command and which option of it, what keys a command has,
// and how to say in the words of one server what another one has said.
//
//   - [Capabilities] are what one server knows, from its own answers where there
//     are any, and from tables otherwise.
//   - A [Rewriter] takes the commands of a replication stream and gives those that
//     have the same effect on the target.
//   - A [Placer] says how a command of the stream gets to a cluster: sent as it is,
//     in parts, by the values that it wrote, …
//   - [Capabilities.AppendKeys] finds the keys of any command.
//
// What a primary propagates is not what its clients sent: see docs/facts.md for
// what the servers were observed to propagate. Two rules follow, on which the
// rewriting rests:
//
//   - A command is propagated only if it changed something. So a condition (NX, XX,
//     IFEQ, GT of a single member, …) has held, and need not be said again.
//   - The target's data is the source's, as of this command. So what has its effect
//     according to the data (ZADD GT of several members, XTRIM ACKED) has the same
//     effect when it is worked out there, by a script if need be.
package command

// Revision is that of the rewriting: it changes whenever a command becomes
// something else than it did before, or of another length, or when it depends on
// more than a checkpoint had: from 2 on that has the selected db.
const Revision = 5
