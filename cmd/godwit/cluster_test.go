package main

import (
	"strings"
	"testing"
)

func TestClusterLines(t *testing.T) {
	for args, want := range map[string]string{
		"create a:1 b:1 c:1":             "redis-cli --cluster create a:1 b:1 c:1\n",
		"create a:1 b:1 c:1 d:1 e:1 f:1": "redis-cli --cluster create a:1 b:1 c:1 d:1 e:1 f:1 --cluster-replicas 1\n",
		"check a:1":                      "redis-cli --cluster check a:1\n",
		"fix a:1":                        "redis-cli --cluster fix a:1\n",
	} {
		if got := godwit(t, nil, append([]string{"cluster"}, strings.Fields(args)...)...); got.out != want || got.err != "" || got.code != 0 {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
