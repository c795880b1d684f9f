package plan

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

const (
	// backlogSeconds is how long an interruption a backlog should cover.
	backlogSeconds = 60
	// smallBuffer is a replica output buffer that any burst may fill, in bytes.
	smallBuffer = 64 << 20
	// shortTimeout is a repl-timeout that a short stall exceeds, in seconds.
	shortTimeout = 10
)

// replicationRules see that the settings of replication fit the copy and the fence.
func replicationRules() []rule {
	rules := []rule{
		{"target-min-replicas", blocker, func(in *input) (string, string) {
			want, _ := in.Target.Settings.Int("min-replicas-to-write")
			has := int64(len(in.Target.Replication.Replicas))
			if in.CopyOnly || want <= has || in.Target.Settings["min-replicas-max-lag"] == "0" {
				return "", ""
			}
			return fmt.Sprintf("once it is the primary, the target would refuse writes: min-replicas-to-write is %d, and it has %s", want, count(has, "replica", "replicas")),
				in.Target.CLI("CONFIG", "SET", "min-replicas-to-write", "0")
		}},
		{"fence-lag", blocker, func(in *input) (string, string) {
			if in.CopyOnly || in.method != Fence || in.Source.Settings["min-replicas-max-lag"] != "0" {
				return "", ""
			}
			return "min-replicas-max-lag is 0 at the source, so min-replicas-to-write would not stop writes at the cutover",
				in.Source.CLI("CONFIG", "SET", "min-replicas-max-lag", "10")
		}},
		{"source-output-buffer", warning, smallOutputBuffer},
		{"source-backlog", warning, smallBacklog},
		{"source-sync-delay", note, func(in *input) (string, string) {
			if in.syncDelay() == 0 {
				return "", ""
			}
			return fmt.Sprintf("the source waits %v before it begins a snapshot (repl-diskless-sync-delay)", in.syncDelay()), ""
		}},
	}
	rules = append(rules, each("replica-writable", blocker, func(_ *input, s side) (string, string) {
		if s.Settings["replica-read-only"] != "no" {
			return "", ""
		}
		return fmt.Sprintf("replica-read-only is no at the %s: as a replica it would still accept writes, and they would be lost", s.name),
			s.CLI("CONFIG", "SET", "replica-read-only", "yes")
	})...)
	return append(rules, each("repl-timeout", warning, func(_ *input, s side) (string, string) {
		timeout, ok := s.Settings.Int("repl-timeout")
		if !ok || timeout >= shortTimeout {
			return "", ""
		}
		return fmt.Sprintf("repl-timeout is %d s at the %s: a short stall already cuts the link", timeout, s.name), s.CLI("CONFIG", "SET", "repl-timeout", "60")
	})...)
}

// smallOutputBuffer looks at what the source buffers for us while it sends the
// snapshot: all that is written in the meantime. godwit reads as fast as it is
// sent, but not before.
func smallOutputBuffer(in *input) (string, string) {
	limit, ok := in.Source.Settings.ReplicaBuffer()
	if !ok {
		return "", ""
	}
	need := int64(in.Source.Traffic.InputBytes * in.copySeconds())
	hard := limit.Hard > 0 && limit.Hard < max(need, smallBuffer)
	soft := limit.Soft > 0 && limit.Soft < need && float64(limit.SoftSeconds) < in.copySeconds()
	if !hard && !soft {
		return "", ""
	}
	return fmt.Sprintf("the source cuts off a replica with more than %s unsent, or %s for %d s (client-output-buffer-limit): writes during the copy, about %s at the present rate, must fit",
			limitBytes(limit.Hard), limitBytes(limit.Soft), limit.SoftSeconds, bytes(need)),
		in.Source.CLI("CONFIG", "SET", "client-output-buffer-limit", fmt.Sprintf("replica %d %d 300", max(4*need, 1<<30), max(2*need, 512<<20)))
}

func limitBytes(n int64) string {
	if n == 0 {
		return "any number of bytes"
	}
	return bytes(n)
}

// smallBacklog compares the source's backlog with what comes in now, reads and
// all: an upper bound of what is replicated.
func smallBacklog(in *input) (string, string) {
	size, rate := in.Source.Replication.Backlog.Size, in.Source.Traffic.InputBytes
	if size == 0 || float64(size) >= rate*backlogSeconds {
		return "", ""
	}
	return fmt.Sprintf("the source's backlog of %s may cover only %.0f s of its present input of %s/s: after a longer interruption the copy starts anew", bytes(size), float64(size)/rate, bytes(int64(rate))),
		in.Source.CLI("CONFIG", "SET", "repl-backlog-size", strconv.FormatInt(int64(rate)*2*backlogSeconds, 10))
}

// networkRules see that the servers reach the listener.
func networkRules() []rule {
	rules := []rule{
		{"listener-unreachable", blocker, func(in *input) (string, string) {
			if in.Listener.Unreachable == "" {
				return "", ""
			}
			host, port := in.listenerFor(in.target())
			return fmt.Sprintf("the target cannot connect to godwit at %s: %s", net.JoinHostPort(host, port), in.Listener.Unreachable),
				"name an address that it reaches with --announce host:port, and open that port in the firewall"
		}},
	}
	rules = append(rules, each("listener-translated", warning, func(in *input, s side) (string, string) {
		if in.Announce != "" || !s.SeenFrom.IsValid() || !s.Route.IsValid() || sameHost(s.SeenFrom.Addr(), s.Route) {
			return "", ""
		}
		return fmt.Sprintf("addresses are translated on the way to the %s: it sees godwit at %s, which calls itself %s", s.name, s.SeenFrom.Addr(), s.Route),
			"name the address at which both servers reach this machine: --announce host:port"
	})...)
	return append(rules, each("tls-replication", blocker, func(in *input, s side) (string, string) {
		if s.Settings["tls-replication"] != "yes" || in.Listener.Certificate || s.name == "source" && in.CopyOnly {
			return "", ""
		}
		return fmt.Sprintf("tls-replication is yes at the %s: it connects to godwit by TLS, and godwit has no certificate to show", s.name),
			"give one that the server's CA signed: --listener-cert FILE --listener-key FILE"
	})...)
}

// sameHost compares addresses; an IPv4 one may come wrapped in IPv6.
func sameHost(a, b netip.Addr) bool { return a.Unmap() == b.Unmap() }
