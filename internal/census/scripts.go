package census

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // it is how the servers name a script (eval.c sha1hex)
	"encoding/hex"
	"strings"
)

// scriptLabel tells one script or function from another: the name of a function, or
// the beginning of a script's SHA1, which EVAL and EVALSHA have in common.
func scriptLabel(name string, args [][]byte) string {
	if len(args) < 2 {
		return ""
	}
	switch {
	case strings.HasPrefix(name, "FCALL"):
		return Show(args[1][:min(len(args[1]), maxName)])
	case strings.HasPrefix(name, "EVALSHA"):
		sha := strings.ToLower(string(args[1][:min(len(args[1]), shaShown)]))
		for _, c := range []byte(sha) {
			if !strings.ContainsRune("0123456789abcdef", rune(c)) {
				return "" // no SHA1, so it is not known what it is
			}
		}
		return sha
	}
	sum := sha1.Sum(args[1]) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])[:shaShown]
}

// shaShown is how many digits of a SHA1 are shown.
const shaShown = 12

// noCluster tells whether a script or function has the flag no-cluster (script.c
// scriptPrepareForRun): a function by FUNCTION LIST, a script by its first line.
func (c *Census) noCluster(name string, which []byte) bool {
	switch {
	case strings.HasPrefix(name, "FCALL"):
		return c.options.Functions[string(which)].NoCluster
	case strings.HasPrefix(name, "EVALSHA"):
		return false // the text is not known
	}
	first, _, _ := bytes.Cut(which, []byte("\n"))
	return bytes.HasPrefix(first, []byte("#!")) && bytes.Contains(first, []byte("no-cluster"))
}

// functions reads the reply to FUNCTION LIST (functions.c functionListCommand): maps
// as lists of names and values in turn. What is none is left out.
func functions(reply any) map[string]Function {
	all := make(map[string]Function)
	libraries, _ := reply.([]any)
	for _, library := range libraries {
		list, _ := field(library, "functions").([]any)
		for _, f := range list {
			name, ok := field(f, "name").(string)
			if !ok {
				continue
			}
			var is Function
			flags, _ := field(f, "flags").([]any)
			for _, flag := range flags {
				is.NoCluster = is.NoCluster || flag == "no-cluster"
			}
			all[name] = is
		}
	}
	return all
}

// field is the value of a name in a list of names and values.
func field(reply any, name string) any {
	list, _ := reply.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		if list[i] == name {
			return list[i+1]
		}
	}
	return nil
}
