package live

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/migrate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// example is a status in phase, with what is known by then.
func example(phase migrate.Phase) migrate.Status {
	at := time.Date(2026, 3, 4, 12, 31, 28, 0, time.UTC)
	s := migrate.Status{
		Name: "sessions", Phase: phase, Running: true, PID: 4242, Engine: "relay",
		Source:    migrate.ServerStatus{URL: "redis://10.0.0.1:6379", Version: "Redis 7.0.15", Role: "primary", Keys: 300012, UsedMemory: 47 << 20},
		Target:    migrate.ServerStatus{URL: "redis://10.0.0.2:6379", Version: "Valkey 8.1.3", Role: "replica", Keys: 300012, UsedMemory: 45 << 20},
		Spool:     migrate.SpoolStatus{MemoryLimit: 64 << 20, DiskLimit: 16 << 30},
		StartedAt: at.Add(-83 * time.Second), At: at,
	}
	event := func(ago time.Duration, level, text string) {
		s.Events = append(s.Events, migrate.Event{At: at.Add(-ago), Level: level, Text: text})
	}
	event(83*time.Second, "info", "planned: relay, 300,000 keys, 47 MB")
	if phase == migrate.Planned {
		s.NotReady = "the copy has not begun"
		return s
	}
	event(82*time.Second, "info", "copying from 10.0.0.1:6379 to 10.0.0.2:6379")
	link := migrate.LinkStatus{Source: "10.0.0.1:6379", Target: "10.0.0.2:6379", State: "copying", ReplID: "f00d"}
	s.Copy = migrate.CopyStatus{Keys: 246000, TotalKeys: 300000, Bytes: 31 << 20, KeysPerSecond: 95123, BytesPerSecond: 12 << 20, ETASeconds: 0.6, Fraction: 0.82, Seconds: 2.6, FullResyncs: 1}
	if phase == migrate.Copying {
		s.NotReady = "copying"
		s.Target.Keys = 246000
		s.Links = []migrate.LinkStatus{link}
		return s
	}
	s.Copy.Keys, s.Copy.Fraction, s.Copy.ETASeconds, s.Copy.Seconds = 300000, 1, 0, 3.2
	link.State, link.SourceOffset, link.TargetOffset, link.LagBytes, link.LagMS, link.BytesPerSec = "streaming", 123456789, 123456700, 89, 2, 4.5*(1<<20)
	s.Links = []migrate.LinkStatus{link}
	event(79*time.Second, "info", "copied 300,000 keys in 3.2 s")
	event(78*time.Second, "info", "following, the target has caught up")
	event(40*time.Second, "warn", "the target is slow: 2.1 MB wait in the spool")
	s.Ready, s.NextSteps = true, []string{"godwit cutover --name sessions", "godwit abort --name sessions"}
	if phase == migrate.Following {
		return s
	}
	s.Verify = migrate.VerifyStatus{State: migrate.VerifyEqual, Required: true, Verified: true, SourceKeys: 300010, TargetKeys: 300010, ReplID: "f00d", Offset: 123400000, At: at.Add(-30 * time.Second)}
	s.Cutover = migrate.CutoverStatus{Direction: "cutover", WriteStallMS: 6.2, Switches: 1, Steps: []migrate.StepStatus{
		{Name: "pause", Server: "10.0.0.1:6379", Command: "FAILOVER TO 10.0.0.9 7000 TIMEOUT 1000", State: "done", TookMS: 0.4},
		{Name: "drain", Server: "10.0.0.2:6379", Command: "INFO replication", State: "done", TookMS: 3.1},
		{Name: "promote", Server: "10.0.0.2:6379", Command: "REPLICAOF NO ONE", State: "done", TookMS: 1.9},
		{Name: "kill clients", Server: "10.0.0.1:6379", Command: "CLIENT KILL TYPE normal", State: "done", TookMS: 0.8},
	}}
	event(2*time.Second, "info", "cut over: writes stalled for 6.2 ms")
	s.Source.Role, s.Target.Role = "replica", "primary"
	s.Dropped = []migrate.DroppedStatus{{Feature: "hash-field-ttl", Server: "10.0.0.2:6379", Count: 1234, Copy: 1230, Stream: 4}}
	s.NextSteps = []string{"godwit rollback --name sessions", "godwit complete --name sessions"}
	s.Emergency = []string{"redis-cli -h 10.0.0.1 -p 6379 REPLICAOF 10.0.0.2 6379"}
	if phase == migrate.Failed {
		s.Ready, s.Error, s.Hint = false, "10.0.0.2:6379: the primary is gone", "start it again, then the same godwit run"
		event(time.Second, "error", "10.0.0.2:6379: the primary is gone")
	}
	return s
}
