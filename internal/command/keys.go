package command

import "strconv"

// KeySpec says where a command has its keys, as COMMAND tells it.
type KeySpec struct {
	First, Last, Step int // Last is counted from the end if negative; First is 0 if there are none
}

// AppendKeys appends the keys of a command, which point into args. Commands whose
// keys are counted by an argument are taken care of; a command that is not known
// has its first argument taken for one.
func (c *Capabilities) AppendKeys(dst, args [][]byte) [][]byte {
	if len(args) < 2 {
		return dst
	}
	name := string(upper(make([]byte, 0, maxName), args[0][:min(len(args[0]), maxName)]))
	switch name {
	case "PING", "SELECT", "SWAPDB", "FLUSHALL", "FLUSHDB", "PUBLISH", "SPUBLISH", "SCRIPT", "FUNCTION", "REPLCONF", "MULTI", "EXEC":
		return dst
	case "BITOP", "XGROUP", "PFDEBUG":
		if len(args) < 3 {
			return dst
		}
		if name != "BITOP" {
			return append(dst, args[2])
		}
		return append(dst, args[2:]...)
	case "EVAL", "EVALSHA", "FCALL":
		return counted(dst, args, 2, 1)
	case "MSETEX":
		return counted(dst, args, 1, 2)
	case "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE":
		return counted(append(dst, args[1]), args, 2, 1)
	case "LMPOP", "ZMPOP":
		return counted(dst, args, 1, 1)
	case "SORT", "GEORADIUS", "GEORADIUSBYMEMBER":
		dst = append(dst, args[1])
		for i := 2; i+1 < len(args); i++ {
			if isOneOf(args[i], "STORE", "STOREDIST") {
				dst = append(dst, args[i+1])
			}
		}
		return dst
	}
	if keys, found := appendCounted(dst, args, name); found {
		return keys
	}
	if command, known := c.Learnt.commands[name]; known {
		return command.keys.append(dst, args)
	}
	return keySpec(name).append(dst, args)
}

func (s KeySpec) append(dst, args [][]byte) [][]byte {
	last := s.Last
	if last < 0 {
		last += len(args)
	}
	if s.First < 1 || s.Step < 1 {
		return dst
	}
	for i := s.First; i <= last && i < len(args); i += s.Step {
		dst = append(dst, args[i])
	}
	return dst
}

// counted appends keys of which args[at] says how many follow, each step
// arguments after the one before.
func counted(dst, args [][]byte, at, step int) [][]byte {
	if at >= len(args) {
		return dst
	}
	n, err := strconv.Atoi(string(args[at]))
	if err != nil {
		return dst
	}
	for i := at + 1; i < len(args) && n > 0; i += step {
		dst = append(dst, args[i])
		n--
	}
	return dst
}

// keySpec is for servers that were not asked.
func keySpec(name string) KeySpec {
	switch name {
	case "DEL", "UNLINK", "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "PFMERGE", "PFCOUNT",
		"MGET", "EXISTS", "TOUCH", "WATCH", "SINTER", "SUNION", "SDIFF", "SSUBSCRIBE", "SUNSUBSCRIBE":
		return KeySpec{1, -1, 1}
	case "BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX":
		return KeySpec{1, -2, 1}
	case "MSET", "MSETNX":
		return KeySpec{1, -1, 2}
	case "RENAME", "RENAMENX", "COPY", "SMOVE", "RPOPLPUSH", "LMOVE", "BRPOPLPUSH", "BLMOVE", "GEOSEARCHSTORE", "ZRANGESTORE", "LCS":
		return KeySpec{1, 2, 1}
	}
	if keyless(name) {
		return KeySpec{}
	}
	return KeySpec{1, 1, 1}
}
