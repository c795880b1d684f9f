package verdict

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"unicode"
	"unicode/utf8"

	"godwit/internal/verify"
)

// Exporter writes differences for programs.
type Exporter interface {
	Write(*verify.Difference) error
	// Flush writes what is still held; nothing is complete before it.
	Flush() error
}

// NewLines exports JSON lines, each a verify.Difference. A key that is no UTF-8
// is an object, {"base64": "..."}.
func NewLines(w io.Writer) Exporter {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	return &lines{buffered, encoder}
}

type lines struct {
	buffered *bufio.Writer
	encoder  *json.Encoder
}

func (l *lines) Write(d *verify.Difference) error { return l.encoder.Encode(d) }
func (l *lines) Flush() error                     { return l.buffered.Flush() }

// NewCSV exports comma-separated values (RFC 4180), a header first. The column
// key_encoding says whether the key is text or base64: readers of CSV change line
// breaks, and few take control characters, so a key with any of them is base64.
func NewCSV(w io.Writer) Exporter { return &table{csv: csv.NewWriter(w)} }

type table struct {
	csv    *csv.Writer
	headed bool
}

func (t *table) Write(d *verify.Difference) error {
	if err := t.head(); err != nil {
		return err
	}
	key, encoding := string(d.Key), "text"
	if !plain(key) {
		key, encoding = base64.StdEncoding.EncodeToString(d.Key), "base64"
	}
	row := []string{string(d.Kind), strconv.Itoa(d.DB), strconv.Itoa(d.TargetDB), key, encoding}
	for _, found := range []*verify.Found{d.Source, d.Target} {
		if found == nil {
			row = append(row, "", "")
			continue
		}
		row = append(row, found.Type, strconv.FormatInt(found.ExpireAt, 10))
	}
	return t.csv.Write(append(row, d.Detail, d.Repair))
}

// head writes the header, once.
func (t *table) head() error {
	if t.headed {
		return nil
	}
	t.headed = true
	return t.csv.Write([]string{
		"kind", "db", "target_db", "key", "key_encoding",
		"source_type", "source_expire_at", "target_type", "target_expire_at", "detail", "repair",
	})
}

func (t *table) Flush() error {
	if err := t.head(); err != nil {
		return err
	}
	t.csv.Flush()
	return t.csv.Error()
}

// plain tells whether every reader of CSV gives back the same text.
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
