package audit

import "context"

// library is one function library.
type library struct{ engine, code string }

// libraries are those of all shards together. What a cluster does not have on all of
// its primaries, in the same words, is a difference already.
func (s *side) libraries(ctx context.Context) (map[string]library, []Difference, error) {
	all := make(map[string]library)
	count := make(map[string]int)
	var found []Difference
	for i, client := range s.deployment.Shards() {
		if !s.known[i].function {
			continue
		}
		reply, err := client.Do(ctx, "FUNCTION", "LIST", "WITHCODE")
		if err != nil {
			return nil, nil, err
		}
		for _, entry := range array(reply) {
			fields := fieldMap(entry)
			name := text(fields["library_name"])
			l := library{engine: text(fields["engine"]), code: text(fields["library_code"])}
			if other, known := all[name]; known && other != l {
				found = append(found, Difference{DB: -1, Key: name, Kind: Value, Detail: "not the same on all shards of " + s.name})
			}
			all[name] = l
			count[name]++
		}
	}
	for name, n := range count {
		if s.deployment.IsCluster() && n < len(s.known) {
			found = append(found, Difference{DB: -1, Key: name, Kind: Missing, Detail: "not on all shards of " + s.name})
		}
	}
	return all, found, nil
}

// compareLibraries takes a server without functions for one that has none loaded.
func compareLibraries(ctx context.Context, a, b *side) ([]Difference, error) {
	inA, found, err := a.libraries(ctx)
	if err != nil {
		return nil, err
	}
	inB, more, err := b.libraries(ctx)
	if err != nil {
		return nil, err
	}
	found = append(found, more...)
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
