package topology

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/server"
)

// seen is what one node says: lines of a letter, its role, its epoch and its slots;
// the first line is the node itself.
func seen(t *testing.T, epoch int64, lines ...string) answer {
	t.Helper()
	ids := strings.NewReplacer("A", idA, "B", idB, "C", idC, "a", idD)
	var text strings.Builder
	for i, line := range lines {
		f := strings.SplitN(line, " ", 5)
		flags, port := f[1], map[string]string{"A": "7000", "B": "7001", "C": "7002", "a": "7003"}[f[0]]
		if i == 0 {
			flags = "myself," + flags
		}
		slots := ""
		if len(f) > 4 {
			slots = ids.Replace(f[4])
		}
		fmt.Fprintf(&text, "%s 127.0.0.1:%s@1%s %s %s 0 0 %s connected %s\n", ids.Replace(f[0]), port, port, flags, ids.Replace(f[2]), f[3], slots)
	}
	v, err := parseNodes(text.String())
	if err != nil {
		t.Fatal(err)
	}
	return answer{view: v, epoch: epoch, ok: true}
}

func here() naming { return naming{as: server.Endpoint{Network: "tcp", Address: "127.0.0.1:7000"}} }

// told is the map that the answers make, in a line: nodes by their letters.
func told(c *ClusterMap) string {
	letters := strings.NewReplacer(idA, "A", idB, "B", idC, "C", idD, "a")
	var words []string
	for _, n := range c.Nodes {
		word := n.ID
		if n.Role == Replica {
			word += "(of " + n.Primary + ")"
		}
		if n.Health != Healthy {
			word += "(" + string(n.Health) + ")"
		}
		if len(n.Slots) > 0 {
			word += " " + FormatSlots(n.Slots, 60)
		}
		words = append(words, word)
	}
	if u := c.Unserved(); len(u) > 0 {
		words = append(words, "unserved "+FormatSlots(u, 60))
	}
	for _, m := range c.Moves {
		words = append(words, fmt.Sprintf("%s %s %s>%s %s", m.Kind, FormatSlots(m.Slots, 60), m.From, m.To, m.State))
	}
	return letters.Replace(strings.Join(words, "; "))
}

// Nodes that disagree, as real ones were seen to.
func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []answer
		want    string
	}{
		{"they agree", []answer{
			seen(t, 5, "A master - 0 0-8191", "B master - 1 8192-16383", "a slave A 0"),
			seen(t, 5, "B master - 1 8192-16383", "A master - 0 0-8191", "a slave A 0"),
		}, "A 0-8191; a(of A); B 8192-16383"},
		{"a failover that B has not heard of, and the old primary, too", []answer{
			seen(t, 5, "B master - 1 8192-16383", "A master - 0 0-8191", "a slave A 0"),
			seen(t, 5, "A master - 0 0-8191", "a slave A 0", "B master - 1 8192-16383"),
			seen(t, 6, "a master - 6 0-8191", "A master - 0", "B master - 1 8192-16383"),
		}, "a 0-8191; B 8192-16383; A"},
		{"a failover that the primaries know of and the new one does not say yet", []answer{
			seen(t, 6, "B master - 1 8192-16383", "a master - 6 0-8191", "A slave,fail a 6"),
			seen(t, 6, "C master - 2", "a master - 6 0-8191", "B master - 1 8192-16383", "A slave,fail? a 6"),
		}, "a 0-8191; A(of a)(fail); B 8192-16383; C"},
		{"a slot that has arrived: the target's new epoch counts", []answer{
			seen(t, 5, "A master - 4 0-8191 [100->-B]", "B master - 1 8192-16383"),
			seen(t, 6, "B master - 6 100 8192-16383", "A master - 4 0-99 101-8191"),
		}, "A 0-99, 101-8191; B 100, 8192-16383"},
		{"a mark that Redis leaves at the old owner", []answer{
			seen(t, 6, "A master - 4 0-99 101-8191 [100->-B]", "B master - 6 100 8192-16383"),
			seen(t, 6, "B master - 6 100 8192-16383", "A master - 4 0-99 101-8191"),
		}, "A 0-99, 101-8191; B 100, 8192-16383"},
		{"slots on the move, one of them marked at one end only", []answer{
			seen(t, 5, "A master - 4 0-8191 [100->-B] [101->-B] [200->-B]", "B master - 1 8192-16383"),
			seen(t, 5, "B master - 1 8192-16383 [100-<-A] [101-<-A] [300-<-A]", "A master - 4 0-8191"),
		}, "A 0-8191; B 8192-16383; by keys 100-101 A>B ; by keys 200 A>B migrating; by keys 300 A>B importing"},
		{"DELSLOTS, which the others are not told", []answer{
			seen(t, 5, "B master - 1 8192-16383", "A master - 0 0-8191"),
			seen(t, 5, "A master - 0 0-99", "B master - 1 8192-16383"),
		}, "A 0-99; B 8192-16383; unserved 100-8191"},
		{"the same epoch twice: a slot is whose node says so itself", []answer{
			seen(t, 5, "C master - 2", "A master - 0 0-8192", "B master - 0 8193-16383"),
			seen(t, 5, "A master - 0 0-8191", "B master - 0 8193-16383"),
			seen(t, 5, "B master - 0 8192-16383", "A master - 0 0-8191"),
		}, "A 0-8191; B 8192-16383; C"},
		{"a restarted node that has missed its failover", []answer{
			seen(t, 5, "A master - 0 0-8191", "B master - 1 8192-16383", "a slave A 0"),
			seen(t, 6, "a master - 6 0-8191", "A master,fail - 0", "B master - 1 8192-16383"),
			seen(t, 6, "B master - 1 8192-16383", "a master - 6 0-8191", "A master,fail - 0"),
		}, "a 0-8191; B 8192-16383; A(fail)"},
		{"a node that is being met", []answer{
			seen(t, 5, "A master - 0 0-16383", "C handshake - 0"),
		}, "A 0-16383; C"},
	} {
		if got := told(merge(c.answers, here())); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// An atomic move is told by both its ends.
func TestMergeJobs(t *testing.T) {
	a := seen(t, 5, "A master - 0 0-8191", "B master - 1 8192-16383")
	b := seen(t, 5, "B master - 1 8192-16383", "A master - 0 0-8191")
	m := Move{Kind: MoveAtomic, Job: "j", From: idA, To: idB, Slots: []SlotRange{{7, 9}}, State: "receiving-snapshot"}
	b.moves = []Move{m}
	m.State = "snapshotting"
	a.moves = []Move{m}
	for _, answers := range [][]answer{{a, b}, {b, a}} {
		c := merge(answers, here())
		if got := told(c); got != "A 0-8191; B 8192-16383; atomic 7-9 A>B snapshotting" {
			t.Error(got)
		}
		if m, ok := c.Moving(8); !ok || m.Job != "j" {
			t.Errorf("slot 8: %+v, %v", m, ok)
		}
		if _, ok := c.Moving(10); ok {
			t.Error("slot 10 is not on the move")
		}
	}
}

func TestCompare(t *testing.T) {
	before := merge([]answer{seen(t, 5, "A master - 0 0-8191", "B master - 1 8192-16383", "C master - 2", "a slave A 0")}, here())
	for _, c := range []struct {
		name  string
		later answer
		want  string
	}{
		{"nothing", seen(t, 5, "B master - 1 8192-16383", "A master - 0 0-8191", "C master - 2", "a slave A 0"), ""},
		{"a failover", seen(t, 6, "a master - 6 0-8191", "A master - 0", "B master - 1 8192-16383", "C master - 2"),
			"127.0.0.1:7003 was promoted in place of 127.0.0.1:7000"},
		{"a failover, and slots of it moved at once", seen(t, 7, "a master - 6 10-8191", "A slave a 0", "B master - 7 0-9 8192-16383", "C master - 2"),
			"127.0.0.1:7003 was promoted in place of 127.0.0.1:7000; slots 0-9 from 127.0.0.1:7000 to 127.0.0.1:7001"},
		{"the old primary has left", seen(t, 6, "a master - 6 0-8191", "B master - 1 8192-16383", "C master - 2"),
			"127.0.0.1:7003 was promoted in place of 127.0.0.1:7000"},
		{"a shard more", seen(t, 6, "A master - 0 0-8191", "B master - 1 8192-9999 10001-16383", "C master - 6 10000", "a slave A 0"),
			"slots 10000 from 127.0.0.1:7001 to 127.0.0.1:7002; new shard 127.0.0.1:7002"},
		{"a shard less", seen(t, 6, "A master - 6 0-16383", "B master - 1", "C master - 2", "a slave A 6"),
			"slots 8192-16383 from 127.0.0.1:7001 to 127.0.0.1:7000; shard gone: 127.0.0.1:7001"},
		{"slots that nobody serves", seen(t, 5, "A master - 0 0-8000", "B master - 1 8192-16383", "C master - 2", "a slave A 0"),
			"slots 8001-8191 from 127.0.0.1:7000 to nobody"},
		{"a move begins", seen(t, 5, "A master - 0 0-8191 [5->-B]", "B master - 1 8192-16383", "C master - 2", "a slave A 0"),
			"other slots are being moved"},
	} {
		d := before.Compare(merge([]answer{c.later}, here()))
		if d.String() != c.want || d.Empty() != (c.want == "") {
			t.Errorf("%s: %s", c.name, d)
		}
		if agrees := before.agrees(c.later, here()); agrees != (c.want == "") {
			t.Errorf("%s: agrees is %v", c.name, agrees)
		}
	}
	if d := (&ClusterMap{}).Compare(before); !d.Empty() {
		t.Errorf("the first map: %v", d)
	}
}

// A node that does not know its own address is where it was asked, if no other says.
func TestMergeAddress(t *testing.T) {
	v, err := parseNodes(idA + " :7000@17000 myself,master - 0 0 1 connected 0")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[server.Endpoint]string{
		{Network: "tcp", Address: "10.0.0.9:7000"}:   "10.0.0.9:7000",
		{Network: "unix", Address: "/run/node.sock"}: "127.0.0.1:7000",
	} {
		c := merge([]answer{{at: at, view: v}}, naming{as: server.Endpoint{Network: "tcp", Address: "10.0.0.1:1", Username: "me"}})
		if n := c.Nodes[0]; n.Address != want || n.Endpoint.Network != "tcp" || n.Endpoint.Username != "me" {
			t.Errorf("asked at %s: %s", at, n.Address)
		}
	}
}

// By which host nodes are called, as CLUSTER SLOTS tells it.
func TestNaming(t *testing.T) {
	v, err := parseNodes(idA + " 10.0.0.1:7000@17000,one.example myself,master - 0 0 1 connected 0\n" +
		idB + " 10.0.0.2:7000@17000 master - 0 0 2 connected 1\n" + idC + " :0@0 slave,noaddr,fail - 0 0 0 disconnected\n")
	if err != nil {
		t.Fatal(err)
	}
	slots := func(host any, id string) any {
		return []any{[]any{int64(0), int64(0), []any{host, int64(7000), id, []any{}}}}
	}
	for _, c := range []struct {
		name  string
		slots any
		want  string
	}{
		{"by IP address", slots("10.0.0.1", idA), "10.0.0.1:7000 10.0.0.2:7000 "},
		{"by hostname", slots("one.example", idA), "one.example:7000 10.0.0.2:7000 "},
		{"by hostname, told by a node without one", slots("?", idB), "one.example:7000 10.0.0.2:7000 "},
		{"unknown-endpoint", slots(nil, idA), "proxy:7000 proxy:7000 "},
		{"not learnt", []any{}, "10.0.0.1:7000 10.0.0.2:7000 "},
	} {
		n := naming{as: server.Endpoint{Network: "tcp", Address: "proxy:1"}}
		n.learnNaming(c.slots, v)
		var addresses []string
		for i := range v.nodes {
			addresses = append(addresses, n.endpoint(&v.nodes[i], nil).Address)
		}
		if got := strings.Join(addresses, " "); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
