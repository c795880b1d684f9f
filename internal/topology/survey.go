package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/server"
)

// Survey is what can be seen from outside of what a server's data and clients use,
// of the things that another server may have no equal for. Hashes with TTLs on
// fields are counted in DB already.
type Survey struct {
	// Calls are how often each command has run since the server started, or since
	// its CONFIG RESETSTAT: by name in capitals, subcommands after a bar.
	Calls map[string]int64
	// Libraries are nil where they could not be listed, and were not asked for.
	Libraries []Library
	// Samples are by feature, of those that were asked for and could be sampled.
	Samples map[rdb.Feature]Sample
}

// Sample is what a bounded scan of a server has found of one feature.
type Sample struct {
	Found int64
	DB    int    // of the first one found
	Key   string // likewise
	Whole bool   // every key was looked at
}

// SurveyOptions say what is looked for; the command statistics always are.
type SurveyOptions struct {
	VectorSets bool
	Producers  bool // of XADD IDMP, which streams remember
	Libraries  bool
}

// The bounds of a scan. A SCAN of a thousand keys takes a server less than a
// millisecond, and others run between two of them.
const (
	scanCount  = 1000
	scanPerDB  = 200 * time.Millisecond
	scanAll    = 2 * time.Second
	maxStreams = 100 // that are asked for their producers, in one db
)

// TakeSurvey looks at a server that was inspected. It changes nothing; what our
// user may not ask, and what is not found out in a short time, stays unknown.
// Only a broken connection is an error.
func TakeSurvey(ctx context.Context, n Node, o SurveyOptions) (Survey, error) {
	// Its own connection, because it selects dbs.
	client, err := server.New(n.Endpoint, "")
	if err != nil {
		return Survey{}, err
	}
	defer client.Close() //nolint:errcheck // nothing was left unsent
	conn := client.Redis().Conn()
	defer conn.Close() //nolint:errcheck // likewise
	s := Survey{Samples: make(map[rdb.Feature]Sample)}
	text, err := client.Text(ctx, "INFO", "commandstats")
	if err != nil {
		return s, surveyError(n, err)
	}
	s.Calls = infoCalls(text)
	if o.Libraries && n.Libraries > 0 {
		reply := pipeline(ctx, conn, [][]any{{"FUNCTION", "LIST", "WITHCODE"}})[0]
		if !isReply(reply.err) {
			return s, surveyError(n, reply.err)
		}
		s.Libraries = libraries(reply.value)
	}
	scanner := scanner{conn: conn, dbs: n.DBs, until: time.Now().Add(scanAll)}
	for _, look := range []struct {
		feature  rdb.Feature
		wanted   bool
		typeName string
		has      func(context.Context, []string) ([]string, error)
	}{
		{rdb.FeatureVectorSet, o.VectorSets, "vectorset", nil},
		{rdb.FeatureStreamIDMP, o.Producers, "stream", scanner.withProducers},
	} {
		if !look.wanted {
			continue
		}
		sample, err := scanner.sample(ctx, look.typeName, look.has)
		switch {
		case err == nil:
			s.Samples[look.feature] = sample
		case !isReply(err) && !errors.Is(err, errUnexpected):
			return s, surveyError(n, err)
		}
	}
	return s, nil
}

func surveyError(n Node, err error) error {
	return fmt.Errorf("looking at what %s uses: %w", n.URL, err)
}

// scanner reads the keys of a server.
type scanner struct {
	conn  pipeliner
	dbs   []DB
	until time.Time
}

// sample looks for keys of one type (SCAN … TYPE, from 6.0 on), and keeps those
// that has, if not nil, leaves of them. An error reply ends it.
func (s *scanner) sample(ctx context.Context, typeName string, has func(context.Context, []string) ([]string, error)) (Sample, error) {
	found := Sample{Whole: true}
	for _, db := range s.dbs {
		if err := pipeline(ctx, s.conn, [][]any{{"SELECT", db.Number}})[0].err; err != nil {
			return found, err
		}
		until := time.Now().Add(scanPerDB)
		if s.until.Before(until) {
			until = s.until
		}
		whole, err := s.scan(ctx, until, typeName, func(keys []string) (more bool, err error) {
			more = true
			if has != nil {
				more = len(keys) <= maxStreams
				keys, err = has(ctx, keys[:min(len(keys), maxStreams)])
			}
			if found.Found == 0 && len(keys) > 0 {
				found.DB, found.Key = db.Number, keys[0]
			}
			found.Found += int64(len(keys))
			return more, err
		})
		if err != nil {
			return found, err
		}
		found.Whole = found.Whole && whole
	}
	return found, nil
}

// scan gives the keys of one db in batches, each key at least once (dict.c
// dictScan), until they or the time are over, or take has enough.
func (s *scanner) scan(ctx context.Context, until time.Time, typeName string, take func([]string) (bool, error)) (whole bool, err error) {
	for cursor := "0"; ; {
		r := pipeline(ctx, s.conn, [][]any{{"SCAN", cursor, "COUNT", scanCount, "TYPE", typeName}})[0]
		if r.err != nil {
			return false, r.err
		}
		reply, ok := r.value.([]any)
		if !ok || len(reply) != 2 {
			return false, errUnexpected
		}
		next, ok := reply[0].(string)
		list, ok1 := reply[1].([]any)
		if !ok || !ok1 {
			return false, errUnexpected
		}
		var keys []string
		for _, element := range list {
			if key, ok := element.(string); ok {
				keys = append(keys, key)
			}
		}
		more, err := take(keys)
		if err != nil || next == "0" {
			return more, err
		}
		if cursor = next; !more || time.Now().After(until) {
			return false, nil
		}
	}
}

var errUnexpected = errors.New("SCAN: unexpected reply")

// withProducers leaves the streams that remember producers (XINFO STREAM, field
// pids-tracked, Redis 8.6).
func (s *scanner) withProducers(ctx context.Context, keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	commands := make([][]any, len(keys))
	for i, key := range keys {
		commands[i] = []any{"XINFO", "STREAM", key}
	}
	var having []string
	for i, r := range pipeline(ctx, s.conn, commands) {
		if server.IsCode(r.err, "NOPERM") || !isReply(r.err) {
			return nil, r.err
		}
		fields, _ := r.value.([]any) // nil for a key that has gone meanwhile
		at := slices.Index(fields, any("pids-tracked"))
		if at < 0 || at+1 >= len(fields) {
			continue
		}
		if n, ok := fields[at+1].(int64); ok && n > 0 {
			having = append(having, keys[i])
		}
	}
	return having, nil
}
