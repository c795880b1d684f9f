package census

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"unicode/utf8"
)

// rowKey is what calls have in common that are told as one finding.
type rowKey struct {
	command string // in capitals; MULTI … EXEC for what is within; any for a db
	label   string
	effect  Effect
	reason  Reason
	detail  string
}

// row is one finding.
type row struct {
	rowKey
	class   Class
	calls   map[*tally]int64 // that were seen, by command
	clients map[*conn]int64
	samples [][][]byte // groups of keys
}

// samplesKept is how many groups of keys a finding shows.
const samplesKept = 3

// row finds the finding that a call belongs to.
func (c *Census) row(this call) *row {
	key := rowKey{command: this.tally.name, label: this.label, effect: this.effect, reason: this.reason, detail: this.detail}
	switch this.reason {
	case Transaction, Watched:
		key.command, key.label = "MULTI … EXEC", ""
	case DB:
		key.command, key.label = "any command", ""
	}
	r := c.rows[key]
	if r != nil {
		return r
	}
	if len(c.rows) >= maxRows {
		c.leftOut.Rows++
		key = rowKey{command: "(other)", effect: this.effect, reason: this.reason}
		if r = c.rows[key]; r != nil {
			return r
		}
	}
	r = &row{rowKey: key, class: this.class, calls: make(map[*tally]int64), clients: make(map[*conn]int64)}
	c.rows[key] = r
	return r
}

// sample keeps a few groups of keys, different ones.
func (r *row) sample(keys [][]byte) {
	if len(keys) == 0 || len(r.samples) >= samplesKept {
		return
	}
	for _, s := range r.samples {
		if slices.EqualFunc(s, keys, func(a, b []byte) bool { return string(a) == string(b) }) {
			return
		}
	}
	r.samples = append(r.samples, clones(keys[:min(len(keys), keysShown+1)]))
}

// Limits of what is shown of keys.
const (
	keysShown  = 4
	bytesShown = 64
)

// shown are the keys of a sample as text, the last one an ellipsis if there are more.
func shown(keys [][]byte) []string {
	texts := make([]string, 0, len(keys))
	for i, key := range keys {
		if i == keysShown {
			return append(texts, "…")
		}
		texts = append(texts, Show(key))
	}
	return texts
}

// Show is a key, or a part of one, as text: as it is if it can be read, else in quotes
// and with escapes as redis-cli shows it; cut to 64 bytes.
func Show(key []byte) string {
	tail := ""
	if len(key) > bytesShown {
		key, tail = key[:bytesShown], "…"
		for cut := 1; cut < utf8.UTFMax && !utf8.Valid(key); cut++ {
			key = key[:len(key)-1] // not within a character
		}
	}
	plain := len(key) > 0 && utf8.Valid(key)
	for _, r := range string(key) {
		plain = plain && r != '"' && r != '\\' && r != '…' && r != ' ' && strconv.IsPrint(r)
	}
	if plain {
		return string(key) + tail
	}
	return quote(key) + tail
}

// quote escapes as sdscatrepr does, but leaves letters of all scripts.
func quote(key []byte) string {
	if utf8.Valid(key) {
		return strconv.Quote(string(key))
	}
	b := []byte{'"'}
	for _, c := range key {
		if c >= utf8.RuneSelf {
			b = append(b, '\\', 'x', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
			continue
		}
		text := strconv.QuoteRune(rune(c))
		switch c {
		case '\'':
			b = append(b, c)
		case '"':
			b = append(b, '\\', c)
		default:
			b = append(b, text[1:len(text)-1]...)
		}
	}
	return string(append(b, '"'))
}

// group are keys that were used together and are of several slots.
type group struct {
	row  *row
	keys [][]byte
}

// groups are an even sample of them, for either effect (Vitter's algorithm R).
type groups struct {
	breaking, splitting reservoir
}

type reservoir struct {
	kept []group
	seen int64
}

// Limits of the sample.
const (
	groupsKept   = 4096
	groupKeys    = 32
	groupKeySize = 256 // bytes
)

// add tells whether the keys are not too many, or too long, to be kept.
func (g *groups) add(r *row, keys [][]byte) bool {
	to := &g.breaking
	if r.effect == Splits {
		to = &g.splitting
	}
	to.seen++
	if len(keys) < 2 || len(keys) > groupKeys || slices.ContainsFunc(keys, func(key []byte) bool { return len(key) > groupKeySize }) {
		return len(keys) < 2 // one call of a transaction stands for all
	}
	if len(to.kept) < groupsKept {
		to.kept = append(to.kept, group{r, clones(keys)})
		return true
	}
	//nolint:gosec // a sample, not a secret
	if i := rand.Int64N(to.seen); i < groupsKept {
		to.kept[i] = group{r, clones(keys)}
	}
	return true
}
