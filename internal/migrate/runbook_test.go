package migrate_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// runbook holds the blocks of docs/runbook.md by the names in their comments.
func runbook(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := make(map[string]string)
	for _, m := range regexp.MustCompile("(?s)<!-- (.*?) -->\n```\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks[m[1]] = m[2]
	}
	return blocks
}

// byHand carries out blocks of the runbook with the servers' addresses in them.
func (p *pair) byHand(blocks ...string) string {
	p.t.Helper()
	book := runbook(p.t)
	var all string
	for _, name := range blocks {
		block, found := book[name]
		if !found {
			p.t.Fatalf("docs/runbook.md has no block %q", name)
		}
		all += p.shell(name, p.address(block))
	}
	return all
}

func (p *pair) address(block string) string {
	return strings.NewReplacer(
		"A_USER", "replicator", "A_HOST", "127.0.0.1", "A_PORT", strconv.Itoa(p.source.Port()),
		"B_HOST", "127.0.0.1", "B_PORT", strconv.Itoa(p.target.Port())).Replace(block)
}

// shell runs lines as an operator would, with redis-cli on the PATH.
func (p *pair) shell(name, lines string, env ...string) string {
	p.t.Helper()
	bin := p.t.TempDir()
	if err := os.Symlink(p.source.Binary().Tool("cli"), filepath.Join(bin, "redis-cli")); err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), "bash", "-c", lines)
	cmd.Env = append(append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")), env...)
	out, err := cmd.CombinedOutput()
	p.t.Logf("%s:\n%s%s", name, lines, out)
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	return string(out)
}

// The lines of the runbook, for each phase in which godwit is killed for good:
// service is back, and no acknowledged write is lost.
func TestRunbook(t *testing.T) {
	t.Parallel()
	const failover, fence = "redis-7.0", "redis-6.0"
	for _, c := range []struct {
		name, version, killAt string
		switched              bool // killed after a whole cutover
		lost                  bool // the source is, too
		blocks                []string
		role                  string // that the new primary says, where it is asked
		primary               string // who serves at the end
		follows               bool   // the other one follows it
	}{
		{name: "following, detach", version: failover, blocks: []string{"following: detach"}, primary: "A"},
		{name: "following, attach", version: failover, blocks: []string{"following: attach"}, primary: "A", follows: true},
		{name: "paused", version: failover, killAt: "cutover-pause-after", blocks: []string{"switching: ask", "switching: back", "following: attach"}, role: "slave", primary: "A", follows: true},
		{name: "demoted", version: failover, killAt: "cutover-demote-after", blocks: []string{"switching: ask", "switching: back", "following: attach"}, role: "slave", primary: "A", follows: true},
		{name: "promoted", version: failover, killAt: "cutover-promote-after", blocks: []string{"switching: ask", "switching: forward"}, role: "master", primary: "B", follows: true},
		{name: "demoted, source lost", version: failover, killAt: "cutover-demote-after", lost: true, blocks: []string{"switching: ask", "switching: source lost"}, role: "slave", primary: "B"},
		{name: "fenced", version: fence, killAt: "cutover-drain-after", blocks: []string{"switching: ask", "switching: back, fence", "following: detach"}, role: "slave", primary: "A"},
		{name: "fenced and demoted", version: fence, killAt: "cutover-demote-after", blocks: []string{"switching: ask", "switching: back, fence", "following: attach"}, role: "slave", primary: "A", follows: true},
		{name: "fenced and promoted", version: fence, killAt: "cutover-promote-after", blocks: []string{"switching: ask", "switching: forward", "switching: forward, fence"}, role: "master", primary: "B", follows: true},
		{name: "switched, attach", version: failover, switched: true, blocks: []string{"switched: attach"}, primary: "B", follows: true},
		{name: "switched, attach and back", version: failover, switched: true, blocks: []string{"switched: attach", "switched: back"}, primary: "A", follows: true},
		{name: "switched, free", version: failover, switched: true, blocks: []string{"switched: free"}, primary: "B"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, c.version, c.version)
			l := p.load()
			config := p.config()
			run := startChild(t, config, c.killAt)
			run.must("ready")
			switch {
			case c.killAt != "":
				if _, ok := run.ask("cutover"); ok {
					t.Fatalf("not killed at %s", c.killAt)
				}
				run.killedItself()
			case c.switched:
				run.must("cutover")
				run.must("ready")
			}
			run.kill()
			p.emergencyIsInTheRunbook(config)
			if c.lost {
				kill(t, p.source)
			}
			primary := p.source
			if c.primary == "B" {
				primary = p.target
			}
			for _, block := range c.blocks {
				if block == "switched: free" {
					l.Stop() // clients that still know A would write to it
				}
				if block == "following: detach" {
					// From here on both take writes: no client may be on its way to B.
					before := l.Snapshot().Acked
					eventually(t, "all clients write to A", func() bool {
						s := l.Snapshot()
						return s.Acked > before+2000 && s.Writing[p.source.Address()] == 8
					})
				}
				if block == "switched: back" {
					eventually(t, "A follows B", func() bool {
						return info(t, connect(t, p.source), "replication")["master_link_status"] == "up"
					})
				}
				out := p.byHand(block)
				if block == "switching: ask" && !strings.Contains(out, c.role) {
					t.Fatalf("the new primary says %q, want %s", out, c.role)
				}
			}
			before := l.Snapshot().Acked
			if c.blocks[len(c.blocks)-1] != "switched: free" {
				eventually(t, "clients write again", func() bool { return l.Snapshot().Acked > before+1000 })
			}
			if c.follows {
				p.settled(l, primary)
			} else {
				audited(t, l, primary)
			}
			noSettings(t, primary)
		})
	}
}

// emergencyIsInTheRunbook sees that what status and --dry-run print is what the
// runbook explains.
func (p *pair) emergencyIsInTheRunbook(c migrate.Config) {
	p.t.Helper()
	s, err := migrate.ReadStatus(c.StateDir, c.Name)
	if err != nil {
		p.t.Fatal(err)
	}
	var book string
	for _, block := range runbook(p.t) {
		book += p.address(block)
	}
	commands := 0
	for _, line := range s.Emergency {
		if strings.HasPrefix(line, "#") {
			continue
		}
		commands++
		if !strings.Contains(book, line+"\n") {
			p.t.Errorf("in phase %s the status says %q, which docs/runbook.md does not", s.Phase, line)
		}
	}
	if commands == 0 {
		p.t.Errorf("in phase %s the status has no emergency lines: %+v", s.Phase, s.Emergency)
	}
}

// With passwords, ACL users and settings of the servers' own the lines that
// status prints are other ones, and do.
func TestEmergencyWithPasswords(t *testing.T) {
	t.Parallel()
	const ofSource, ofTarget = "source-secret", "target-secret"
	p := &pair{t: t,
		source: sandboxtest.Start(t, "redis-7.0", sandbox.Options{Password: ofSource}),
		target: sandboxtest.Start(t, "redis-7.0", sandbox.Options{Password: ofTarget}),
	}
	p.fill(500)
	source, target := connect(t, p.source), connect(t, p.target)
	if _, err := source.Do(t.Context(), "ACL", "SETUSER", "replicator", "on", ">"+ofSource, "~*", "&*", "+@all"); err != nil {
		t.Fatal(err)
	}
	config := p.config()
	config.From.Username = "replicator"
	m := start(t, config)
	m.ready()
	r, err := m.Cutover(t.Context(), migrate.SwitchOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	asReplicator := fmt.Sprintf("redis-cli -h 127.0.0.1 -p %d --user replicator ", p.source.Port())
	for _, want := range []string{asReplicator + "FAILOVER ABORT", asReplicator + "CONFIG SET masterauth ''"} {
		if !slices.Contains(r.Emergency, want) {
			t.Errorf("cutover --dry-run does not say %q: %q", want, r.Emergency)
		}
	}
	m.interrupted()
	p.emergencyIsInTheRunbook(config)
	lines := section(t, config, "or let it follow")
	p.shell("following: attach, password", lines, "REDISCLI_AUTH="+ofTarget, "MASTERAUTH="+ofSource)
	p.equal(p.source)
	if i := info(t, target, "replication"); i.Int("master_port") != int64(p.source.Port()) {
		t.Errorf("the target does not follow the source itself: %v", i)
	}
	noSecret(t, config.StateDir, ofSource, ofTarget)
}

// A masterauth that is a server's own stays, by the printed lines too.
func TestEmergencyKeepsAMasterauth(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-8.0")
	if err := connect(t, p.source).ConfigSet(t.Context(), "masterauth", "its-own"); err != nil {
		t.Fatal(err)
	}
	config := p.config()
	m := start(t, config)
	m.ready()
	m.cutover()
	m.ready()
	m.interrupted()
	s, err := migrate.ReadStatus(config.StateDir, config.Name)
	if err != nil {
		t.Fatal(err)
	}
	// Nor may 7.0 be sent to follow 8.0.
	want := []string{fmt.Sprintf("redis-cli -h 127.0.0.1 -p %d REPLICAOF NO ONE", p.source.Port())}
	if got := slices.DeleteFunc(s.Emergency, func(line string) bool { return strings.HasPrefix(line, "#") }); !slices.Equal(got, want) {
		t.Errorf("the lines are %q", got)
	}
}

// section is the printed lines below the comment that holds a text.
func section(t *testing.T, c migrate.Config, comment string) string {
	t.Helper()
	s, err := migrate.ReadStatus(c.StateDir, c.Name)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	within := false
	for _, line := range s.Emergency {
		if strings.HasPrefix(line, "#") {
			within = strings.Contains(line, comment)
		} else if within {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		t.Fatalf("no lines below %q: %q", comment, s.Emergency)
	}
	return strings.Join(lines, "\n") + "\n"
}
