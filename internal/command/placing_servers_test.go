package command_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/audit"
	"godwit/internal/command"
	"godwit/internal/refresh"
	"godwit/internal/resp"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
	"godwit/internal/traffic"
)

var placed = flag.Int("placed", 4000, "of TestCarriedToACluster, writes to each server")

// TestCarriedToACluster has a server propagate random writes, and carries each of
// them to a cluster as its placing says: in the end the cluster holds what the server
// does. What is carried by value is read from a mirror, which stands at the very
// command. The keys of db 1 get a prefix.
func TestCarriedToACluster(t *testing.T) {
	for _, name := range []string{"redis-7.0", "redis-8.6", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			s := subjects()[slices.IndexFunc(subjects(), func(s subject) bool { return s.name == name })]
			original := start(t, s)
			src := record(t, original)
			src.settle()
			report, err := traffic.Run(t.Context(), original.Endpoint(), traffic.Options{Seed: *seed, Commands: *placed, DBs: []int{0, 1}, FlushAll: true})
			if err != nil {
				t.Fatal(err)
			}
			stream := append(src.new(), src.expire().propagated...)
			c := newCarrier(t, s, s.asked(t, src.client))
			for _, p := range stream {
				if err := c.carry(p.args); err != nil {
					t.Fatalf("%.300q: %v", p.args, err)
				}
			}
			t.Logf("-seed %d -placed %d: %d of %d writes refused, %d commands propagated, %d of them late: %v",
				*seed, *placed, report.Total.Refused, report.Total.Sent, len(stream), c.lates, c.count)
			for _, p := range []command.Placing{command.OneSlot, command.Parts, command.ByValue, command.Everywhere, command.Once, command.Dbs} {
				if c.count[p] == 0 {
					t.Errorf("nothing was placed %v", p)
				}
			}
			c.compare(original)
		})
	}
}

// prefix is that of db 1's keys at the cluster.
const prefix = "db1:"

// carrier takes the commands of a stream to a cluster.
type carrier struct {
	t       *testing.T
	subject subject
	placer  *command.Placer
	route   route.Route
	renamer route.Renamer
	words   *command.Rewriter
	mirror  *mirror
	values  *refresh.Conn // of the mirror
	nodes   []*redis.Conn
	writers []*refresh.Conn
	db      int
	count   map[command.Placing]int
	short   map[place]bool // keys that may have expired too early
	lates   int
}

// place is where the source has a key.
type place struct {
	db  int
	key string
}

func newCarrier(t *testing.T, s subject, capabilities command.Capabilities) *carrier {
	t.Helper()
	c := &carrier{t: t, subject: s, placer: command.NewPlacer(capabilities), mirror: newMirror(t, s), count: make(map[command.Placing]int), short: make(map[place]bool)}
	c.words = command.NewRewriter(capabilities, capabilities, command.Options{Client: true})
	var err error
	if c.route, err = route.Parse([]string{"1:prefix=" + prefix}); err != nil {
		t.Fatal(err)
	}
	_, c.values = c.connect(c.mirror.server)
	for _, node := range sandboxtest.Cluster(t, s.name, sandbox.ClusterOptions{}).Nodes() {
		conn, values := c.connect(node)
		c.nodes, c.writers = append(c.nodes, conn), append(c.writers, values)
	}
	return c
}

func (c *carrier) connect(s *sandbox.Server) (*redis.Conn, *refresh.Conn) {
	c.t.Helper()
	conn := sandboxtest.Client(c.t, s).Redis().Conn()
	c.t.Cleanup(func() { _ = conn.Close() })
	values, err := refresh.Dial(c.t.Context(), s.Endpoint())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = values.Close() })
	return conn, values
}

// node is which one has a slot, see sandboxtest.Cluster.
func (c *carrier) node(of uint16) int { return int(of) / (slot.Count/len(c.nodes) + 1) }

// carry has the mirror play a command, and the cluster get its effect.
func (c *carrier) carry(args [][]byte) error {
	switch name := strings.ToUpper(string(args[0])); name {
	case "MULTI", "EXEC":
		return nil // each command by itself, so that the mirror stands between them
	case "SELECT":
		c.db = int(args[1][0] - '0')
	}
	c.mirror.play(args)
	way, err := c.route.Of(c.db)
	if err != nil {
		return err
	}
	positions, err := c.placer.AppendKeyPositions(nil, args)
	if err != nil {
		return err
	}
	renamed, err := c.renamer.Rename(way, args, positions)
	if err != nil {
		return err
	}
	placing, of, err := c.placer.Place(renamed)
	if err != nil {
		return err
	}
	c.count[placing]++
	late, err := c.late(args)
	if err != nil {
		return err
	}
	if late && (placing == command.OneSlot || placing == command.Parts) {
		placing = command.ByValue
	}
	switch placing {
	case command.OneSlot:
		return c.send(of, renamed)
	case command.Parts:
		return c.placer.Split(renamed, c.send)
	case command.ByValue, command.Dbs:
		keys, err := c.placer.AppendWritten(nil, args)
		if err == nil {
			err = c.copy(c.db, keys)
		}
		if err != nil || placing == command.ByValue {
			return err
		}
		beyond, err := c.placer.Beyond(args)
		if err != nil {
			return err
		}
		if late {
			c.short[place{beyond.DB, string(beyond.Key)}] = true
		}
		return c.copy(beyond.DB, [][]byte{beyond.Key})
	case command.Everywhere:
		return c.everywhere(args)
	case command.Once:
		return c.play(c.nodes[c.count[placing]%len(c.nodes)], args)
	case command.NoData:
		return nil
	default:
		return fmt.Errorf("placed %v", placing)
	}
}

// late tells whether the command is about a key that has expired by the cluster's
// clock, and had not at the source: it comes too late for it. Such keys are all those
// that have got a short TTL, and what was made of them, until they are replaced.
func (c *carrier) late(args [][]byte) (bool, error) {
	read, err := c.placer.AppendRead(nil, args)
	if err != nil {
		return false, err
	}
	late := slices.ContainsFunc(read, func(key []byte) bool { return c.short[place{c.db, string(key)}] })
	written, err := c.placer.AppendWritten(nil, args)
	if err != nil {
		return false, err
	}
	expires := slices.ContainsFunc(args, func(arg []byte) bool {
		at, err := strconv.ParseInt(string(arg), 10, 64)
		return err == nil && time.Since(time.UnixMilli(at)).Abs() < time.Hour
	})
	for _, key := range written {
		if late || expires {
			c.short[place{c.db, string(key)}] = true
		} else if c.placer.Overwrites(args) {
			delete(c.short, place{c.db, string(key)})
		}
	}
	if late {
		c.lates++
	}
	return late, nil
}

// send has the node of a slot play a command, in the words of a client.
func (c *carrier) send(of uint16, args [][]byte) error {
	node := c.nodes[c.node(of)]
	out, verdict, err := c.words.Rewrite(nil, args)
	if err != nil {
		return err
	}
	if verdict == command.Pass {
		return c.play(node, args)
	}
	for len(out) > 0 {
		e, err := resp.Scan(out, nil)
		if err != nil {
			return err
		}
		if err := c.play(node, e.Args); err != nil {
			return err
		}
		out = out[e.Size:]
	}
	return nil
}

func (c *carrier) play(conn *redis.Conn, args [][]byte) error {
	words := make([]any, len(args))
	for i, arg := range args {
		words[i] = arg
	}
	if err := conn.Do(c.t.Context(), words...).Err(); !errors.Is(err, redis.Nil) {
		return err
	}
	return nil
}

// everywhere has every node play a command, and a FLUSHDB empty what is that db's.
func (c *carrier) everywhere(args [][]byte) error {
	for _, node := range c.nodes {
		if !strings.EqualFold(string(args[0]), "FLUSHDB") {
			if err := c.play(node, args); err != nil {
				return err
			}
			continue
		}
		keys, err := node.Keys(c.t.Context(), "*").Result()
		if err != nil {
			return err
		}
		for _, key := range keys {
			if from, _, ok := c.route.Back(0, []byte(key)); ok && from == c.db {
				if err := node.Del(c.t.Context(), key).Err(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// copy makes keys of the cluster what they are at the mirror.
func (c *carrier) copy(db int, keys [][]byte) error {
	c.mirror.settle()
	values, _, err := c.values.Read(c.t.Context(), db, keys)
	if err != nil {
		return err
	}
	for _, v := range values {
		if v.DB, v.Key, _, err = c.route.Key(nil, v.DB, v.Key); err != nil {
			return err
		}
		if err := c.writers[c.node(slot.Of(v.Key))].Write(c.t.Context(), []refresh.Value{v}); err != nil {
			return err
		}
	}
	return nil
}

// compare gathers what the cluster holds in one server, and compares that with the
// original. Where the mirror is not like it either, native replication does not carry
// something.
func (c *carrier) compare(original *sandbox.Server) {
	c.t.Helper()
	ctx := c.t.Context()
	c.mirror.settle()
	gathered := start(c.t, c.subject)
	conn, writer := c.connect(gathered)
	for i, node := range c.nodes {
		keys, err := node.Keys(ctx, "*").Result()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, key := range keys {
			if of := c.node(slot.Of([]byte(key))); of != i {
				c.t.Errorf("%q is on node %d, and belongs to %d", key, i, of)
			}
			values, err := c.writers[i].Look(ctx, 0, [][]byte{[]byte(key)})
			if err != nil {
				c.t.Fatal(err)
			}
			if own, is := bytes.CutPrefix(values[0].Key, []byte(prefix)); is {
				values[0].DB, values[0].Key = 1, own
			}
			if err := writer.Write(ctx, values); err != nil {
				c.t.Fatal(err)
			}
		}
		functions, err := node.FunctionDump(ctx).Result()
		if err != nil {
			c.t.Fatal(err)
		}
		if err := conn.Do(ctx, "FUNCTION", "RESTORE", functions, "FLUSH").Err(); err != nil {
			c.t.Fatal(err)
		}
		for _, d := range c.differences(c.mirror.server, gathered) {
			if d.DB < 0 || i == len(c.nodes)-1 {
				c.t.Errorf("the mirror and node %d: %v", i, d)
			}
		}
	}
	for _, d := range c.differences(original, gathered) {
		c.t.Logf("the original and the cluster, not the mirror: %v", d)
	}
}

func (c *carrier) differences(a, b *sandbox.Server) []audit.Difference {
	c.t.Helper()
	report, err := audit.Compare(c.t.Context(), a.Endpoint(), b.Endpoint(), audit.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	return report.Differences
}
