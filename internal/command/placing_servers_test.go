package command_test

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"godwit/internal/audit"
	"godwit/internal/command"
	"godwit/internal/refresh"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
	"godwit/internal/traffic"
)

var placed = flag.Int("placed", 3000, "of TestCarriedToACluster, writes to each server")

// TestCarriedToACluster has a server propagate random writes, and carries each of
// them to a cluster as its placing says: in the end the cluster holds what the server
// does. A second server plays them one at a time, so that it stands at the very
// command when values are read from it.
func TestCarriedToACluster(t *testing.T) {
	for _, name := range []string{"redis-7.0", "redis-8.0", "redis-8.6", "valkey-8.1", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			s := subjects()[slices.IndexFunc(subjects(), func(s subject) bool { return s.name == name })]
			t.Logf("-seed %d -placed %d", *seed, *placed)
			original := start(t, s)
			src := record(t, original)
			src.settle()
			report, err := traffic.Run(t.Context(), original.Endpoint(), traffic.Options{Seed: *seed, Commands: *placed, DBs: []int{0}, FlushAll: true})
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
			t.Logf("%d of %d writes refused, %d commands propagated: %v", report.Total.Refused, report.Total.Sent, len(stream), c.count)
			c.compare(original)
		})
	}
}

// carrier takes the commands of a stream to a cluster.
type carrier struct {
	t       *testing.T
	placer  *command.Placer
	mirror  *sandbox.Server // that plays the stream
	conn    *redis.Conn
	values  *refresh.Conn
	nodes   []*redis.Conn
	writers []*refresh.Conn
	fresh   *sandbox.Server // to gather in what the cluster holds
	db      int
	count   map[string]int // by placing
}

func newCarrier(t *testing.T, s subject, source command.Capabilities) *carrier {
	t.Helper()
	c := &carrier{t: t, placer: command.NewPlacer(source), mirror: start(t, s), fresh: start(t, s), count: make(map[string]int)}
	c.conn, c.values = c.connect(c.mirror)
	for _, node := range sandboxtest.Cluster(t, s.name) {
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

// carry has the mirror play a command, and the cluster what it is there.
func (c *carrier) carry(args [][]byte) error {
	placing, of, err := c.placer.Place(args)
	if err != nil {
		return err
	}
	c.count[placing.String()]++
	if name := strings.ToUpper(string(args[0])); name == "MULTI" || name == "EXEC" {
		return nil // the cluster gets each command by itself
	}
	played := c.play(c.conn, args)
	if played != nil && !isReply(played) {
		return played
	}
	same := func(err error) error {
		if (err == nil) != (played == nil) {
			return fmt.Errorf("the mirror says %v, the cluster %v", played, err) //nolint:errorlint // replies are data here
		}
		return nil
	}
	switch placing {
	case command.OneSlot:
		return same(c.play(c.nodes[c.node(of)], args))
	case command.Parts:
		return c.placer.Split(args, func(of uint16, args [][]byte) error { return same(c.play(c.nodes[c.node(of)], args)) })
	case command.ByValue:
		keys, err := c.placer.AppendWritten(nil, args)
		if err != nil {
			return err
		}
		return c.copy(c.db, keys...)
	case command.Dbs:
		keys, err := c.placer.AppendWritten(nil, args)
		if err != nil {
			return err
		}
		if err := c.copy(c.db, keys...); err != nil {
			return err
		}
		beyond, err := c.placer.Beyond(args)
		if err != nil {
			return err
		}
		return c.copy(beyond.DB, beyond.Key)
	case command.Everywhere:
		for _, node := range c.nodes {
			if err := same(c.play(node, args)); err != nil {
				return err
			}
		}
		return nil
	case command.Once:
		return same(c.play(c.nodes[c.count["once"]%len(c.nodes)], args))
	case command.NoData:
		return nil
	default:
		return fmt.Errorf("%v: not in this test", placing)
	}
}

func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

func (c *carrier) play(conn *redis.Conn, args [][]byte) error {
	words := make([]any, len(args))
	for i, arg := range args {
		words[i] = arg
	}
	err := conn.Do(c.t.Context(), words...).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// copy makes keys of the cluster what they are at the mirror.
func (c *carrier) copy(db int, keys ...[]byte) error {
	values, _, err := c.values.Read(c.t.Context(), db, keys)
	if err != nil {
		return err
	}
	for _, v := range values {
		if err := c.writers[c.node(slot.Of(v.Key))].Write(c.t.Context(), []refresh.Value{v}); err != nil {
			return err
		}
	}
	return nil
}

// compare gathers what the cluster holds in one server, and compares that with the
// original. Where native replication does not carry something either, the mirror
// differs from the original, too.
func (c *carrier) compare(original *sandbox.Server) {
	c.t.Helper()
	ctx := c.t.Context()
	conn, writer := c.connect(c.fresh)
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
			if err == nil {
				err = writer.Write(ctx, values)
			}
			if err != nil {
				c.t.Fatal(err)
			}
		}
		if functions, err := node.FunctionDump(ctx).Result(); err != nil {
			c.t.Error(err)
		} else if err := conn.FunctionRestore(ctx, functions).Err(); i == 0 && err != nil {
			c.t.Error(err)
		}
	}
	against := func(s *sandbox.Server) []audit.Difference {
		report, err := audit.Compare(ctx, s.Endpoint(), c.fresh.Endpoint(), audit.Options{})
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Logf("%d keys of %s compared", report.Keys, s.Address())
		return report.Differences
	}
	for _, d := range against(c.mirror) {
		c.t.Errorf("the mirror and the cluster: %v", d)
	}
	for _, d := range against(original) {
		c.t.Logf("the original and the cluster: %v", d)
	}
}
