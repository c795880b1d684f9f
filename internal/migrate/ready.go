package migrate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"godwit/internal/relay"
)

// ready tells whether a switch now would succeed within its limits, or why not.
func (m *Migration) ready(l relay.Snapshot, from, to *end) (bool, string) {
	switch {
	case m.rec.Phase != Following && m.rec.Phase != Switched && m.rec.Phase != RolledBack:
		return false, "phase " + string(m.rec.Phase)
	case from.down() != "":
		return false, from.down()
	case to.down() != "":
		return false, to.down()
	case to.side == Target && to.outOfMemory() != "":
		return false, to.outOfMemory()
	case l.State != relay.Streaming:
		return false, fmt.Sprintf("the link is %s %s", l.State, l.Reason)
	case m.lagging(l):
		return false, fmt.Sprintf("%s is %d ms behind", to.address(), l.Lag.Milliseconds())
	}
	if why := unheard(l, from); why != "" {
		return false, why
	}
	if ping := from.pingPeriod(); l.Silent > ping+pingGrace {
		return false, fmt.Sprintf("nothing has come from %s for %v, not even the PING of every %v", from.address(), l.Silent.Round(time.Second), ping)
	}
	if why := from.deaf(); why != "" {
		return false, why
	}
	if why := m.unverified(); why != "" {
		return false, why
	}
	return true, ""
}

// lagging tells whether the replica is so far behind that a switch would not succeed
// at once. One that is held back is released by it.
func (m *Migration) lagging(l relay.Snapshot) bool {
	return !l.Held && l.Lag > max(readyLag, m.cfg.MaxPause/2)
}

const (
	// unheardLimit is for how long nothing may arrive of what a primary says
	// that it has written.
	unheardLimit = 2 * time.Second
	// pingGrace is how late a primary's PING to its replicas may be
	// (replication.c replicationCron): with nothing to write, it is all there is.
	pingGrace = 3 * time.Second
	// deafLimit is for how many seconds a primary may not have heard an ACK,
	// which is sent every second at least.
	deafLimit = 5
	// defaultPing is repl-ping-replica-period where it is not known.
	defaultPing = 10 * time.Second
)

// unheard tells why a link that is up must be half-open: the primary, asked on
// another connection, has written more than has arrived, and nothing more comes.
func unheard(l relay.Snapshot, primary *end) string {
	missing := primary.offset() - l.ReadOffset
	if missing <= 0 || l.Silent <= unheardLimit {
		return ""
	}
	return fmt.Sprintf("nothing has come from %s for %v, and %d bytes are missing", primary.address(), l.Silent.Round(time.Second), missing)
}

// pingPeriod is how often the server writes a PING to its replicas.
func (e *end) pingPeriod() time.Duration {
	if seconds, ok := e.found().Settings.Int("repl-ping-replica-period"); ok && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return defaultPing
}

// deaf tells why a primary does not hear godwit's ACKs: its FAILOVER would wait
// for one in vain. INFO replication has a line for each replica, named by what
// it announced: slave0:ip=…,port=…,state=…,offset=…,lag=SECONDS.
func (e *end) deaf() string {
	info := e.seen()
	host, port := e.announced()
	godwit := fmt.Sprintf("ip=%s,port=%d,", host, port)
	for i := range int(info.Int("connected_slaves")) {
		line := info["slave"+strconv.Itoa(i)]
		_, last, _ := strings.Cut(line, ",lag=")
		lag, err := strconv.Atoi(last)
		if err == nil && lag > deafLimit && strings.HasPrefix(line, godwit) {
			return fmt.Sprintf("%s has not heard an ACK of godwit for %d s", e.address(), lag)
		}
	}
	return ""
}
