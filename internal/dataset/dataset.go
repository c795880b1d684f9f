// Package dataset fills a server with keys of every type and encoding that it
// has, so that whoever copies them meets each one. What it writes depends only
// on the options and the server's version, never on chance.
package dataset

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
)

// Options say what is written. The zero value writes nothing but a function library.
type Options struct {
	Keys   int       // over all of DBs together
	DBs    []int     // the keys are spread over them evenly; default: the endpoint's own
	Seed   uint64    // the same seed gives the same keys and values
	Prefix string    // of every key's name
	Now    time.Time // what TTLs are counted from; default: the present time

	NoTTLs      bool // no key expires
	NoFieldTTLs bool // no hash field expires, for a target that cannot hold such a hash
	NoFunctions bool // no function library, for a target that has none
	VectorSets  bool // vector sets too, where the server has them (Redis 8.0)
}

const (
	// chunkKeys is how many keys one pipeline carries.
	chunkKeys = 500
	// connections is how many chunks are on their way at once: enough to keep
	// the server busy while the next chunk is made.
	connections = 3
)

// Fill writes the keys and, where the server has functions, a library. Keys of
// the same names are replaced, other keys stay. 300,000 keys take a few seconds.
func Fill(ctx context.Context, e server.Endpoint, o Options) error {
	if err := fill(ctx, e, o); err != nil {
		return fmt.Errorf("filling %s: %w", e, err)
	}
	return nil
}

func fill(ctx context.Context, e server.Endpoint, o Options) error {
	if len(o.DBs) == 0 {
		o.DBs = []int{e.DB}
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	client, err := server.Dial(ctx, e, "godwit-dataset")
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // every reply has been read
	info, err := client.Info(ctx, "server")
	if err != nil {
		return err
	}
	kinds := kindsFor(info.Version(), o)
	if !o.NoFunctions && info.Version().AtLeast(7, 0) {
		if _, err := client.Do(ctx, "FUNCTION", "LOAD", "REPLACE", functionLibrary); err != nil {
			return err
		}
	}

	group, ctx := errgroup.WithContext(ctx)
	chunks := make(chan chunk)
	group.Go(func() error {
		defer close(chunks)
		for _, c := range split(o) {
			select {
			case chunks <- c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range connections {
		group.Go(func() error {
			conn := client.Redis().Conn()
			defer conn.Close() //nolint:errcheck // every reply has been read
			for c := range chunks {
				if err := c.write(ctx, conn, kinds, o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// chunk is a run of keys in one db. Keys are counted from 0 in every db, so
// that the same names occur in several with other types and values.
type chunk struct {
	db          int
	first, keys int
}

func split(o Options) []chunk {
	var chunks []chunk
	for i, db := range o.DBs {
		keys := o.Keys / len(o.DBs)
		if i < o.Keys%len(o.DBs) {
			keys++
		}
		for first := 0; first < keys; first += chunkKeys {
			chunks = append(chunks, chunk{db: db, first: first, keys: min(chunkKeys, keys-first)})
		}
	}
	return chunks
}

func (c chunk) write(ctx context.Context, conn *redis.Conn, kinds []kind, o Options) error {
	// A generator of its own, so that the order of chunks does not matter.
	seed := uint64(c.db)<<32 | uint64(c.first) //nolint:gosec // neither is negative
	rng := rand.New(rand.NewPCG(o.Seed, seed)) //nolint:gosec // test data, not secrets
	pipe := conn.Pipeline()
	pipe.Do(ctx, "SELECT", c.db)
	for n := c.first; n < c.first+c.keys; n++ {
		k := &key{Rand: rng, name: o.Prefix + keyName(n), now: o.Now}
		k.do = func(args ...any) { pipe.Do(ctx, args...) }
		k.do("DEL", k.name)
		pick(kinds, rng, n).write(k)
		if !o.NoTTLs && rng.IntN(5) == 0 {
			k.do("PEXPIREAT", k.name, k.expiry())
		}
	}
	cmds, err := pipe.Exec(ctx)
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			return fmt.Errorf("db %d: %s: %w", c.db, strings.ToUpper(cmd.Name()), cmd.Err())
		}
	}
	return err
}

// keyName is unique for each n. Most names are plain; some hold a hash tag,
// bytes that no text has, or are long.
func keyName(n int) string {
	switch n % 16 {
	case 3:
		return fmt.Sprintf("user:{%d}:profile:%d", n%97, n)
	case 7:
		return fmt.Sprintf("\x00\xff\r\n %d", n)
	case 11:
		return fmt.Sprintf("%0200d", n)
	default:
		return fmt.Sprintf("key:%d", n)
	}
}

// pick makes the first keys of a db one of each kind, the rest by weight.
func pick(kinds []kind, rng *rand.Rand, n int) kind {
	if n < len(kinds) {
		return kinds[n]
	}
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	at := rng.IntN(total)
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			return k
		}
	}
	return kinds[0]
}

const functionLibrary = `#!lua name=godwit_dataset
redis.register_function('godwit_dataset_echo', function(keys, args) return args[1] end)
redis.register_function{function_name='godwit_dataset_get', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}
`
