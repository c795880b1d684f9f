package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
	"godwit/internal/shards"
)

// side is one of the two deployments, and what it can be asked.
type side struct {
	name       string // "a" or "b"
	deployment *shards.Deployment
	dbs        map[int]int64 // keys of the dbs that have any
	known      []commands    // by shard
}

// commands tells which commands a server has.
type commands struct {
	pexpiretime  bool // 7.0
	hpexpiretime bool // Redis 7.4, Valkey 9.0
	function     bool // 7.0
}

func openSide(ctx context.Context, name string, endpoints []server.Endpoint) (*side, error) {
	deployment, err := shards.Open(ctx, endpoints...)
	if err != nil {
		return nil, err
	}
	s := &side{name: name, deployment: deployment, dbs: make(map[int]int64)}
	for _, client := range deployment.Shards() {
		if err := s.inspect(ctx, client); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *side) close() { s.deployment.Close() }

func (s *side) inspect(ctx context.Context, client *server.Client) error {
	reply, err := client.Do(ctx, "COMMAND", "INFO", "pexpiretime", "hpexpiretime", "function")
	if err != nil {
		return err
	}
	known, ok := reply.([]any)
	if !ok || len(known) != 3 {
		return fmt.Errorf("%s: COMMAND INFO: unexpected reply", client.Endpoint().Address)
	}
	s.known = append(s.known, commands{known[0] != nil, known[1] != nil, known[2] != nil})

	info, err := client.Info(ctx, "keyspace")
	if err != nil {
		return err
	}
	for field, value := range info {
		var db int
		var keys int64
		if n, err := fmt.Sscanf(field+" "+value, "db%d keys=%d", &db, &keys); err == nil && n == 2 {
			s.dbs[db] += keys
		}
	}
	return nil
}

// fieldTTLs tells whether fields of hashes can have a TTL.
func (s *side) fieldTTLs() bool {
	for _, known := range s.known {
		if known.hpexpiretime {
			return true
		}
	}
	return false
}

// hasDB tells whether all shards have a db of that number. A cluster has only one,
// unless it is Valkey from 9.0 on and set up so.
func (s *side) hasDB(ctx context.Context, db int) (bool, error) {
	session, err := s.deployment.Session(ctx, db)
	var reply redis.Error
	if errors.As(err, &reply) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	session.Close()
	return true, nil
}

// batchKeys is about how many keys are looked at with one pipeline.
const batchKeys = 1000

// batch is some keys that one shard has.
type batch struct {
	shard int
	keys  []string
}

// scan sends all keys of a db, in batches, but for those to be ignored, which it counts.
func (s *side) scan(ctx context.Context, db int, ignore string, batches chan<- batch) (ignored int64, err error) {
	session, err := s.deployment.Session(ctx, db)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	for shard := range s.deployment.Shards() {
		err := session.Scan(ctx, shard, batchKeys, func(keys []string) error {
			kept := keys[:0]
			for _, key := range keys {
				if ignore != "" && strings.HasPrefix(key, ignore) {
					ignored++
					continue
				}
				kept = append(kept, key)
			}
			select {
			case batches <- batch{shard, kept}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil {
			return 0, err
		}
	}
	return ignored, nil
}

// headers are what is known of keys before their values are read.
func (s *side) headers(ctx context.Context, session *shards.Session, keys []string) ([]header, error) {
	at := make([][]int, len(s.known)) // indexes of keys, by shard
	for i, key := range keys {
		shard := session.Owner(key)
		at[shard] = append(at[shard], i)
	}
	headers := make([]header, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	for shard, indexes := range at {
		if len(indexes) == 0 {
			continue
		}
		group.Go(func() error {
			own := make([]string, len(indexes))
			for i, index := range indexes {
				own[i] = keys[index]
			}
			found, err := s.shardHeaders(ctx, session, shard, own)
			for i, h := range found {
				headers[indexes[i]] = h
			}
			return err
		})
	}
	return headers, group.Wait()
}

func (s *side) shardHeaders(ctx context.Context, session *shards.Session, shard int, keys []string) ([]header, error) {
	ttl, absolute := "PTTL", s.known[shard].pexpiretime
	if absolute {
		ttl = "PEXPIRETIME"
	}
	asked := make([]command, 0, 3*len(keys)+2)
	// Only the times of before and after bound when a PTTL was answered.
	asked = append(asked, command{"TIME"})
	for _, key := range keys {
		asked = append(asked, command{"TYPE", key}, command{ttl, key}, command{"MEMORY", "USAGE", key})
	}
	asked = append(asked, command{"TIME"})
	replies, err := session.AskShard(ctx, shard, asked)
	if err != nil {
		return nil, err
	}
	before, after := milliseconds(replies[0]), milliseconds(replies[len(replies)-1])
	headers := make([]header, len(keys))
	for i := range keys {
		reply := replies[1+3*i:]
		h := header{typ: text(reply[0]), memory: number(reply[2])}
		at := number(reply[1])
		switch {
		case at < 0:
			h.expiry = expiry{never, never}
		case absolute:
			h.expiry = expiry{at, at}
		default:
			h.expiry = expiry{before + at, after + at}
		}
		headers[i] = h
	}
	return headers, nil
}

// command is one command with its arguments.
type command = shards.Command

// array, text and number read a reply of the type that is expected, and give
// the zero value for any other.
func array(reply any) []any  { v, _ := reply.([]any); return v }
func text(reply any) string  { v, _ := reply.(string); return v }
func number(reply any) int64 { v, _ := reply.(int64); return v }
func fieldMap(reply any) map[string]any {
	flat := array(reply)
	fields := make(map[string]any, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		fields[text(flat[i])] = flat[i+1]
	}
	return fields
}
