package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"godwit/internal/server"
)

// side is one of the two servers, and what it can be asked.
type side struct {
	client *server.Client
	dbs    []int // those with keys in them

	// Which commands it has.
	pexpiretime  bool // 7.0
	hpexpiretime bool // Redis 7.4, Valkey 9.0
	function     bool // 7.0
}

func openSide(ctx context.Context, e server.Endpoint) (*side, error) {
	client, err := server.Dial(ctx, e, "godwit-audit")
	if err != nil {
		return nil, err
	}
	s := &side{client: client}
	if err := s.inspect(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *side) close() { _ = s.client.Close() } // every reply has been read

func (s *side) inspect(ctx context.Context) error {
	reply, err := s.client.Do(ctx, "COMMAND", "INFO", "pexpiretime", "hpexpiretime", "function")
	if err != nil {
		return err
	}
	known, ok := reply.([]any)
	if !ok || len(known) != 3 {
		return fmt.Errorf("%s: COMMAND INFO: unexpected reply", s.client.Endpoint().Address)
	}
	s.pexpiretime, s.hpexpiretime, s.function = known[0] != nil, known[1] != nil, known[2] != nil

	info, err := s.client.Info(ctx, "keyspace")
	if err != nil {
		return err
	}
	for field := range info {
		var db int
		if n, err := fmt.Sscanf(field, "db%d", &db); err == nil && n == 1 {
			s.dbs = append(s.dbs, db)
		}
	}
	return nil
}

// open gives a connection of its own that has selected the db.
func (s *side) open(ctx context.Context, db int) (*redis.Conn, error) {
	conn := s.client.Redis().Conn()
	if err := conn.Select(ctx, db).Err(); err != nil {
		_ = conn.Close() // the first error is the one that tells
		return nil, err
	}
	return conn, nil
}

// batchKeys is about how many keys are looked at with one pipeline.
const batchKeys = 1000

// scan sends all keys of a db, in batches.
func (s *side) scan(ctx context.Context, db int, batches chan<- []string) error {
	conn, err := s.open(ctx, db)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // every reply has been read
	for cursor := uint64(0); ; {
		var keys []string
		keys, cursor, err = conn.Scan(ctx, cursor, "", batchKeys).Result()
		if err != nil {
			return fmt.Errorf("%s: SCAN: %w", s.client.Endpoint().Address, err)
		}
		if len(keys) > 0 {
			select {
			case batches <- keys:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if cursor == 0 {
			return nil
		}
	}
}

// command is one command with its arguments.
type command []any

// ask sends commands in one pipeline and gives their replies: string, int64,
// []any or nil. An error reply to any of them is an error.
func ask(ctx context.Context, conn *redis.Conn, commands []command) ([]any, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	pipe := conn.Pipeline()
	for _, c := range commands {
		pipe.Do(ctx, c...)
	}
	cmds, err := pipe.Exec(ctx)
	if err != nil && err != redis.Nil { //nolint:errorlint // the library returns this very value for a nil reply
		for _, cmd := range cmds {
			if cmd.Err() != nil && cmd.Err() != redis.Nil { //nolint:errorlint // as above
				return nil, fmt.Errorf("%s: %w", strings.ToUpper(cmd.Name()), cmd.Err())
			}
		}
		return nil, err
	}
	replies := make([]any, len(cmds))
	for i, cmd := range cmds {
		replies[i] = cmd.(*redis.Cmd).Val()
	}
	return replies, nil
}

// library is one function library.
type library struct{ engine, code string }

func (s *side) libraries(ctx context.Context) (map[string]library, error) {
	libraries := make(map[string]library)
	if !s.function {
		return libraries, nil
	}
	reply, err := s.client.Do(ctx, "FUNCTION", "LIST", "WITHCODE")
	if err != nil {
		return nil, err
	}
	for _, entry := range array(reply) {
		fields := fieldMap(entry)
		libraries[text(fields["library_name"])] = library{
			engine: text(fields["engine"]), code: text(fields["library_code"]),
		}
	}
	return libraries, nil
}

// compareLibraries takes a server without functions for one that has none loaded.
func compareLibraries(ctx context.Context, a, b *side) ([]Difference, error) {
	inA, err := a.libraries(ctx)
	if err != nil {
		return nil, err
	}
	inB, err := b.libraries(ctx)
	if err != nil {
		return nil, err
	}
	var found []Difference
	for name, library := range inA {
		other, ok := inB[name]
		switch {
		case !ok:
			found = append(found, Difference{DB: -1, Key: name, Kind: Missing, Detail: "library not in b"})
		case library.engine != other.engine:
			found = append(found, Difference{DB: -1, Key: name, Kind: Type, Detail: library.engine + ", " + other.engine})
		case library.code != other.code:
			found = append(found, Difference{DB: -1, Key: name, Kind: Value, Detail: quote(library.code) + ", " + quote(other.code)})
		}
	}
	for name := range inB {
		if _, ok := inA[name]; !ok {
			found = append(found, Difference{DB: -1, Key: name, Kind: Extra, Detail: "library not in a"})
		}
	}
	return found, nil
}

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
