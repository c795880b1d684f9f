package status

import (
	"github.com/prometheus/client_golang/prometheus"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

// verifyMetrics are those of the comparison under way or the last one.
type verifyMetrics struct {
	result, verified, running, differences *prometheus.Desc
	keys, bytes, settled, held             *prometheus.Desc
	duration, ended                        *prometheus.Desc
}

func newVerifyMetrics(desc func(name, help string, labels ...string) *prometheus.Desc) verifyMetrics {
	return verifyMetrics{
		result:      desc("verify_result", "1 for the result of the last comparison; all 0 until there was one.", "result"),
		verified:    desc("verify_verified", "1 while everything is known to be equal: found so, and nothing since that could have changed it."),
		running:     desc("verify_running", "1 while both sides are being compared."),
		differences: desc("verify_differences", "Differences that the last comparison found, by kind.", "kind"),
		keys:        desc("verify_keys", "Keys compared, by the comparison under way or the last one.", "end"),
		bytes:       desc("verify_bytes", "Bytes compared, by the comparison under way or the last one.", "end"),
		settled:     desc("verify_settled_keys", "Keys in flight at the first look of the last comparison that were equal in the end."),
		held:        desc("verify_held_seconds", "The longest that the last comparison held the target's feed."),
		duration:    desc("verify_duration_seconds", "How long the comparison has taken so far, or the last one took."),
		ended:       desc("verify_last_result_timestamp_seconds", "When the last comparison ended, in seconds since 1970; 0 until one has."),
	}
}

// collect reads every metric from one snapshot.
func (m verifyMetrics) collect(v migrate.VerifyStatus, gauge func(*prometheus.Desc, float64, ...string)) {
	for _, result := range []migrate.VerifyState{migrate.VerifyEqual, migrate.VerifyDifferent, migrate.VerifyUnknown} {
		gauge(m.result, boolean(v.State == result), string(result))
	}
	gauge(m.verified, boolean(v.Verified))
	gauge(m.running, boolean(v.State == migrate.VerifyRunning))
	for _, kind := range verify.Kinds() {
		gauge(m.differences, float64(v.Differences[string(kind)]), string(kind))
	}
	gauge(m.keys, float64(v.SourceKeys), "source")
	gauge(m.keys, float64(v.TargetKeys), "target")
	gauge(m.bytes, float64(v.SourceBytes), "source")
	gauge(m.bytes, float64(v.TargetBytes), "target")
	gauge(m.settled, float64(v.Settled))
	gauge(m.held, v.HeldMS/1000)
	gauge(m.duration, v.Seconds)
	ended := 0.0
	if !v.At.IsZero() {
		ended = float64(v.At.UnixMilli()) / 1000
	}
	gauge(m.ended, ended)
}
