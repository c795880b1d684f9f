package fault

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// byDigit has this test's program be the rule by which writers have divided their keys: the
// first digit of a name is the server's number, from 0 on.
const byDigit = "by-digit"

// shardBy are the flags that say so.
func shardBy() []string { return []string{"--shard-by", os.Args[0] + " " + byDigit} }

func beRule() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		question, encoded, _ := strings.Cut(in.Text(), " ")
		key, err := base64.StdEncoding.DecodeString(encoded)
		at := strings.IndexAny(string(key), "0123456789")
		if err != nil || at < 0 {
			fmt.Println("no server")
			continue
		}
		fmt.Println(question, key[at]-'0'+1)
	}
}
