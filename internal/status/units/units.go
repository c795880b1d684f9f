// Package units reads and writes the sizes, counts and durations that people
// see: in flags, in the live view, on the web page and in plain lines.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseBytes reads a size as redis.conf writes it (util.c memtoull): a plain
// number of bytes, or one followed by k, kb, m, mb, g, gb, t or tb in any case,
// where 1k is 1000 and 1kb is 1024.
func ParseBytes(text string) (int64, error) {
	lower := strings.ToLower(strings.TrimSpace(text))
	digits := strings.TrimRight(lower, "bkmgt")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size such as 64mb or 16gb", text)
	}
	factor := int64(1)
	switch lower[len(digits):] {
	case "", "b":
	case "k":
		factor = 1e3
	case "kb":
		factor = 1 << 10
	case "m":
		factor = 1e6
	case "mb":
		factor = 1 << 20
	case "g":
		factor = 1e9
	case "gb":
		factor = 1 << 30
	case "t":
		factor = 1e12
	case "tb":
		factor = 1 << 40
	default:
		return 0, fmt.Errorf("%q is not a size such as 64mb or 16gb", text)
	}
	if n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return n * factor, nil
}

// FlagBytes is a size in the form that ParseBytes reads back exactly.
func FlagBytes(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"tb", 1 << 40}, {"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}} {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Bytes is a size for people: "0 B", "512 B", "1.5 KB", "64 MB". The unit is
// 1024 of the one before, as Redis prints used_memory_human.
func Bytes(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KB", "MB", "GB", "TB", "PB"} {
		value /= 1024
		if value < 999.5 {
			break
		}
	}
	return short(value) + " " + unit
}

// Count is a number with its thousands set apart: 1,234,567.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Rate is a number per second, in three digits: 950, 9.5k, 95k, 1.2M.
func Rate(perSecond float64) string {
	value, unit := perSecond, ""
	for _, next := range []string{"k", "M", "G"} {
		if value < 999.5 {
			break
		}
		value, unit = value/1000, next
	}
	if unit == "" {
		return strconv.FormatFloat(math.Round(value), 'f', 0, 64)
	}
	return short(value) + unit
}

// Duration is a length of time as short as it stays clear: 850 ms, 12 s,
// 3 min 5 s, 2 h 10 min.
func Duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return Milliseconds(float64(d) / float64(time.Millisecond))
	case d < 10*time.Second:
		return short(d.Seconds()) + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
}

// Milliseconds is a short time: 6.2 ms, 48 ms, 1.2 s.
func Milliseconds(ms float64) string {
	if ms >= 1000 {
		return Duration(time.Duration(ms * float64(time.Millisecond)))
	}
	return short(ms) + " ms"
}

// short gives two significant digits below 10 and whole numbers above.
func short(value float64) string {
	if value < 9.95 {
		return strings.TrimSuffix(strconv.FormatFloat(value, 'f', 1, 64), ".0")
	}
	return strconv.FormatFloat(value, 'f', 0, 64)
}
