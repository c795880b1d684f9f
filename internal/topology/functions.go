package topology

import (
	"slices"
	"strings"
)

// Library is a library of functions.
type Library struct {
	Name   string
	Engine string // LUA, or another one that a module brings
	// Server tells that its code may call the server by that name, which Valkey
	// has had from 8.0 on beside redis.
	Server bool
}

// libraries reads the reply to FUNCTION LIST WITHCODE (functions.c
// functionListCommand), whose maps are lists of names and values in turn over
// RESP2. It is nil for anything else.
func libraries(reply any) []Library {
	list, ok := reply.([]any)
	if !ok {
		return nil
	}
	all := make([]Library, 0, len(list))
	for _, element := range list {
		fields, _ := element.([]any)
		var l Library
		for i := 0; i+1 < len(fields); i += 2 {
			text, _ := fields[i+1].(string) // the functions are none
			switch fields[i] {
			case "library_name":
				l.Name = text
			case "engine":
				l.Engine = text
			case "library_code":
				l.Server = strings.Contains(text, "server.")
			}
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Library) int { return strings.Compare(a.Name, b.Name) })
	return all
}
