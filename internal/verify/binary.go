package verify

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Binary is bytes of which JSON makes a string where they are valid UTF-8, and
// else an object: {"base64": "..."}.
type Binary []byte

// MarshalJSON loses no byte.
func (b Binary) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal(map[string][]byte{"base64": b})
}

// UnmarshalJSON reads either form.
func (b *Binary) UnmarshalJSON(p []byte) error {
	var s string
	if err := json.Unmarshal(p, &s); err == nil {
		*b = Binary(s)
		return nil
	}
	var o struct{ Base64 []byte }
	if err := json.Unmarshal(p, &o); err != nil {
		return err
	}
	*b = o.Base64
	return nil
}

// String quotes what cannot be printed.
func (b Binary) String() string { return strconv.Quote(string(b)) }
