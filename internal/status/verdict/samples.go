package verdict

import (
	"fmt"
	"image/color"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"godwit/internal/rdb"
	"godwit/internal/status/units"
	"godwit/internal/verify"
)

// maxName is how many characters of a key's name are shown in a line.
const maxName = 64

// writeSamples prints up to limit differences of each kind, with what either side has.
func writeSamples(b *strings.Builder, samples []verify.Difference, limit int) {
	first := true
	for _, kind := range verify.Kinds() {
		shown := 0
		for i := range samples {
			d := &samples[i]
			if d.Kind != kind || shown == limit {
				continue
			}
			if first {
				b.WriteString("\nsamples:\n")
				first = false
			}
			shown++
			writeSample(b, d)
		}
	}
}

func writeSample(b *strings.Builder, d *verify.Difference) {
	pad := strings.Repeat(" ", max(0, kindWidth-len(d.Kind)))
	fmt.Fprintf(b, "  %s%s  %s  %s", warn(string(d.Kind)), pad, dbName(d.DB), Name(d.Key))
	detail := d.Detail
	if detail == "" && d.Kind == verify.TTL {
		detail = what(d)
	}
	for _, more := range []string{detail, d.Repair} {
		if more != "" {
			b.WriteString("  " + dim(more))
		}
	}
	b.WriteByte('\n')
	for _, side := range []struct {
		name  string
		found *verify.Found
		db    int
	}{{"source", d.Source, d.DB}, {"target", d.Target, d.TargetDB}} {
		text := "does not have it"
		if side.found != nil {
			text = found(side.found)
			if d.Kind == verify.TTL && side.found.ExpireAt == rdb.None {
				text += ", never expires"
			}
			if d.Kind == verify.OtherDB {
				text = dbName(side.db) + ", " + text
			}
			if side.found.Excerpt != "" && !ownTTL(d) {
				text += "  " + side.found.Excerpt
			}
		}
		fmt.Fprintf(b, "  %*s  %s  %s\n", kindWidth, "", dim(side.name), text)
	}
}

// ownTTL tells whether it is the key itself that expires at another time, which is
// said already, not a field of it.
func ownTTL(d *verify.Difference) bool {
	return d.Kind == verify.TTL && d.Source != nil && d.Target != nil && d.Source.ExpireAt != d.Target.ExpireAt
}

// kindWidth is the length of the longest kind.
const kindWidth = len(verify.Unstable)

// found is a key as one side has it, without its value.
func found(f *verify.Found) string {
	if f.ExpireAt == rdb.None {
		return f.Type
	}
	return f.Type + ", expires " + when(f.ExpireAt)
}

// when is a time of a server's, to the millisecond.
func when(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// Name is the name of a key, quoted, on one line, its middle left out where it is long.
func Name(key verify.Binary) string {
	const half = maxName / 2
	if len(key) <= maxName {
		return key.String()
	}
	return strconv.Quote(string(key[:half])) + "…" + strconv.Quote(string(key[len(key)-half:])) + " (" + units.Bytes(int64(len(key))) + ")"
}

// strong is text that catches the eye.
func strong(c color.Color, s string) string {
	return lipgloss.NewStyle().Foreground(c).Bold(true).Render(s)
}

// KindNames are the words of all kinds.
func KindNames() []string {
	kinds := verify.Kinds()
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return slices.Clip(names)
}
