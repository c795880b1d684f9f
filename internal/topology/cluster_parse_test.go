package topology

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"godwit/internal/server"
)

const (
	idA = "bdfb959572d8ce6ebc3fc8c1e9845437c4c40af1"
	idB = "dcbd456a9972c083089fb045ab2e53d4fd71b301"
	idC = "1e3528332ed8c017a66eeda086751c27309f7424"
	idD = "adf75d89168e9a662e5cd8314e355ce2b7fb0cc9"
)

func TestParseNodesLine(t *testing.T) {
	for _, c := range []struct {
		name, address string
		want          nodesLine
		reached       string // by its IP address
	}{
		{"Redis 6.0", "127.0.0.1:7000@17000", nodesLine{host: "127.0.0.1", port: "7000"}, "127.0.0.1:7000"},
		{"before 4.0", "127.0.0.1:7000", nodesLine{host: "127.0.0.1", port: "7000"}, "127.0.0.1:7000"},
		{"a hostname", "10.0.0.1:7000@17000,one.example", nodesLine{host: "10.0.0.1", port: "7000", hostname: "one.example"}, "10.0.0.1:7000"},
		{"no hostname", "10.0.0.1:7000@17000,?", nodesLine{host: "10.0.0.1", port: "7000"}, "10.0.0.1:7000"},
		{"fields of nodes.conf", "10.0.0.1:7000@17000,one.example,shard-id=9ab,tls-port=0", nodesLine{host: "10.0.0.1", port: "7000", hostname: "one.example"}, "10.0.0.1:7000"},
		{"fields without a hostname", "10.0.0.1:7000@17000,,shard-id=9ab", nodesLine{host: "10.0.0.1", port: "7000"}, "10.0.0.1:7000"},
		{"fields at once", "10.0.0.1:7000@17000,shard-id=9ab", nodesLine{host: "10.0.0.1", port: "7000"}, "10.0.0.1:7000"},
		{"IPv6", "fd00::1:2:7000@17000", nodesLine{host: "fd00::1:2", port: "7000"}, "[fd00::1:2]:7000"},
		{"IPv6 in brackets", "[fd00::1]:7000@17000", nodesLine{host: "fd00::1", port: "7000"}, "[fd00::1]:7000"},
		{"itself, not met yet", ":7000@17000", nodesLine{port: "7000"}, ""},
		{"no host", "?:7000@17000", nodesLine{port: "7000"}, ""},
		{"noaddr", ":0@0", nodesLine{port: "0"}, ""},
		{"no client port", "10.0.0.1:0@17000", nodesLine{host: "10.0.0.1", port: "0"}, ""},
	} {
		v, err := parseNodes(idA + " " + c.address + " myself,master,nofailover - 0 1795266148000 6 connected 0-99 101")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := v.nodes[0]
		c.want.id, c.want.flags, c.want.epoch, c.want.linkUp = idA, []string{"myself", "master", "nofailover"}, 6, true
		if !reflect.DeepEqual(got, c.want) || got.address(got.host) != c.reached {
			t.Errorf("%s: %+v at %q", c.name, got, got.address(got.host))
		}
		if fmt.Sprint(v.owners.ranges(0)) != "[0-99 101]" {
			t.Errorf("%s: slots %v", c.name, v.owners.ranges(0))
		}
	}
}

func TestParseNodesWrong(t *testing.T) {
	good := idA + " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-99"
	for text, want := range map[string]string{
		"":                                      "myself",
		"x":                                     "1 fields",
		strings.Replace(good, "myself,", "", 1): "myself",
		strings.Replace(good, " 1 connected", " x connected", 1): `config epoch "x"`,
		strings.Replace(good, ":7000@", "@", 1):                  "no address",
		strings.Replace(good, ":7000@", ":70000@", 1):            "no address",
		strings.Replace(good, "0-99", "0-16384", 1):              `"16384" is not a slot`,
		strings.Replace(good, "0-99", "99-0", 1):                 "no range",
		strings.Replace(good, "0-99", "-", 1):                    "not a slot",
		good + " [7->>" + idB + "]":                              "neither",
		good + " [x->-" + idB + "]":                              `"x" is not a slot`,
	} {
		if _, err := parseNodes(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		}
	}
}

func FuzzParseNodes(f *testing.F) {
	f.Add(idA + " 127.0.0.1:7000@17000,h,shard-id=1 myself,master - 0 0 1 connected 0-99 [7->-" + idB + "] [8-<-" + idB + "]\n" + idB + " :0@0 slave,fail,noaddr " + idA + " 0 0 1 disconnected\n")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseNodes(text)
		if err != nil {
			return
		}
		c := merge([]answer{{view: v, ok: true}}, naming{as: server.Endpoint{Network: "tcp", Address: "127.0.0.1:7000"}})
		n := 0
		for _, node := range c.Nodes {
			n += CountSlots(node.Slots)
		}
		if n+CountSlots(c.Unserved()) != 16384 {
			t.Errorf("%d slots are owned, %d are not", n, CountSlots(c.Unserved()))
		}
		c.DrawSlots(80, nil)
		if d := c.Compare(c); !d.Empty() {
			t.Errorf("different from itself: %v", d)
		}
	})
}

func TestParseJobs(t *testing.T) {
	job := func(fields ...any) []any { return fields }
	valkey := job("name", "j1", "operation", "EXPORT", "slot_ranges", "100-102 200", "target_node", idB, "source_node", idA,
		"create_time", int64(1795266464), "state", "snapshotting", "message", "", "cow_size", int64(0))
	redis := job("id", "j2", "slots", "5-6", "source", idA, "dest", idB, "operation", "migrate", "state", "send-bulk-and-stream", "retries", int64(0))
	atReplica := job("name", "j1", "operation", "IMPORT", "slot_ranges", "100-102", "state", "occurring-on-primary")
	over := job("name", "j3", "slot_ranges", "1", "target_node", idB, "source_node", idA, "state", "success")
	failed := job("name", "j4", "slot_ranges", "2", "target_node", idB, "source_node", idA, "state", "failed")
	got, arrived, err := parseJobs([]any{valkey, atReplica, over, failed, redis})
	want := []Move{
		{Kind: MoveAtomic, Job: "j1", From: idA, To: idB, State: "snapshotting", Slots: []SlotRange{{100, 102}, {200, 200}}},
		{Kind: MoveAtomic, Job: "j2", From: idA, To: idB, State: "send-bulk-and-stream", Slots: []SlotRange{{5, 6}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if len(arrived) != 1 || arrived[0].Job != "j3" || !reflect.DeepEqual(arrived[0].Slots, []SlotRange{{1, 1}}) {
		t.Errorf("arrived: %+v", arrived)
	}
	for _, wrong := range []any{"x", []any{"x"}, []any{job("name")}, []any{job("name", "j", "slots", "x", "dest", idB)}} {
		if _, _, err := parseJobs(wrong); err == nil {
			t.Errorf("%v: no error", wrong)
		}
	}
}

func TestParseRedirection(t *testing.T) {
	asked := server.Endpoint{Network: "tcp", Address: "here:1", Password: "p"}
	for text, want := range map[string]struct {
		r       Redirection
		reached string
	}{
		"MOVED 3999 127.0.0.1:6381":  {Redirection{Moved, 3999, "127.0.0.1:6381"}, "127.0.0.1:6381"},
		"ASK 16383 one.example:6381": {Redirection{Ask, 16383, "one.example:6381"}, "one.example:6381"},
		"MOVED 0 fd00::1:6381":       {Redirection{Moved, 0, "[fd00::1]:6381"}, "[fd00::1]:6381"},
		"MOVED 0 [fd00::1]:6381":     {Redirection{Moved, 0, "[fd00::1]:6381"}, "[fd00::1]:6381"},
		"MOVED 0 :6381":              {Redirection{Moved, 0, ":6381"}, "here:6381"},
		"MOVED 0 ?:6381":             {Redirection{Moved, 0, ":6381"}, "here:6381"},
	} {
		r, ok := ParseRedirection(fmt.Errorf("wrapped: %w", server.NewError("here:1", "GET", text)))
		if e := r.Endpoint(asked); !ok || r != want.r || e.Address != want.reached || e.Password != "p" {
			t.Errorf("%s: %+v, %v, to %v", text, r, ok, e)
		}
	}
	for _, text := range []string{"CLUSTERDOWN The cluster is down", "MOVED", "MOVED x 127.0.0.1:1", "MOVED 16384 127.0.0.1:1", "MOVED 1 127.0.0.1", "MOVED 1 127.0.0.1:0", "ASK 1 127.0.0.1:x"} {
		if r, ok := ParseRedirection(server.NewError("here:1", "GET", text)); ok {
			t.Errorf("%s: %+v", text, r)
		}
	}
	if _, ok := ParseRedirection(errors.New("MOVED 1 127.0.0.1:1")); ok {
		t.Error("an error that is no reply was taken for one")
	}
}
