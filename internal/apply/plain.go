package apply

// plain takes off a command what only a primary may say: a server that has made an
// approximate trimming exact keeps its LIMIT (t_stream.c streamRewriteTrimArgument),
// which it refuses of others (streamParseAddOrTrimArgsOrReply).
func plain(args [][]byte) (dst [][]byte, changed bool) {
	if len(args) < 6 || !is(args[0], "xadd") && !is(args[0], "xtrim") {
		return args, false
	}
	for i := 2; i+4 < len(args); i++ {
		if (is(args[i], "maxlen") || is(args[i], "minid")) && string(args[i+1]) == "=" && is(args[i+3], "limit") {
			return append(append(dst, args[:i+3]...), args[i+5:]...), true
		}
		if is(args[i], "*") || !option(args[i]) {
			break
		}
	}
	return args, false
}

// option tells whether an argument is a word that may come before the trimming.
func option(arg []byte) bool {
	for _, word := range []string{"nomkstream", "maxlen", "minid", "keepref", "delref", "acked"} {
		if is(arg, word) {
			return true
		}
	}
	return false
}
