package rdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"godwit/internal/rdb"
)

// A relay passes a snapshot on and watches its hashes go by.
func ExampleScanner() {
	var snapshot bytes.Buffer
	w := rdb.NewWriter(&snapshot, rdb.Format{Version: 9}, rdb.WriterOptions{})
	for _, v := range []*rdb.Value{
		{Kind: rdb.StringValue, Elements: []rdb.Element{{Value: []byte("text")}}},
		{Kind: rdb.HashValue, Elements: []rdb.Element{{Field: []byte("field"), Value: []byte("value"), ExpireAt: rdb.None}}},
	} {
		name := fmt.Appendf(nil, "key:%d", v.Kind)
		if err := w.Value(name, rdb.Attributes{ExpireAt: rdb.None, Idle: rdb.None, Freq: rdb.None}, v); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if err := w.End(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}

	var hashes rdb.Set
	hashes.AddType(rdb.TypeHash, rdb.TypeHashZiplist, rdb.TypeHashListpack)
	s := rdb.NewScanner(&snapshot, rdb.ScannerOptions{Single: hashes})
	passed := 0
	for {
		span, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		if span.Kind == rdb.KindKey {
			fmt.Printf("%s is a %s of %d bytes\n", span.Key, span.Type, len(span.Value()))
		}
		passed += len(span.Bytes) // where a relay writes them
	}
	fmt.Printf("%s: %d bytes, %d keys\n", s.Format(), passed, s.Keys())
	// Output:
	// key:4 is a hash-ziplist of 26 bytes
	// REDIS0009: 63 bytes, 2 keys
}
