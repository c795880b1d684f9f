package status

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"godwit/internal/migrate"
)

// metricsHandler serves the migration's metrics and those of the process from
// a registry of its own.
func metricsHandler(c Controller, version string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(c, version),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// collector reads every metric of a scrape from one snapshot.
type collector struct {
	controller Controller
	version    string

	info, phase, ready                                       *prometheus.Desc
	serverUp, serverKeys, serverMemory                       *prometheus.Desc
	copyKeys, copyTotalKeys, copyBytes, copyDone, fullResync *prometheus.Desc
	sourceOffset, targetOffset, lagBytes, lagSeconds         *prometheus.Desc
	spoolBytes, spoolLimit, spoolFull                        *prometheus.Desc
	dropped                                                  *prometheus.Desc
	switches, stall                                          *prometheus.Desc
	verify                                                   verifyMetrics
}

func newCollector(c Controller, version string) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("godwit_"+name, help, labels, nil)
	}
	return &collector{
		controller: c, version: version,
		info:          desc("info", "Always 1; the labels say what runs.", "version", "name", "engine"),
		phase:         desc("phase", "1 for the phase that the migration is in.", "phase"),
		ready:         desc("ready", "1 when a cutover or rollback now would succeed within its limits."),
		serverUp:      desc("server_up", "1 when the server answers.", "end", "server"),
		serverKeys:    desc("server_keys", "Keys in all dbs of the server.", "end", "server"),
		serverMemory:  desc("server_used_memory_bytes", "used_memory of the server.", "end", "server"),
		copyKeys:      desc("copy_keys", "Keys of the snapshot that the target has loaded."),
		copyTotalKeys: desc("copy_total_keys", "Keys of the source when the copy began."),
		copyBytes:     desc("copy_bytes", "Bytes of the snapshot received."),
		copyDone:      desc("copy_fraction", "Progress of the copy, 0 to 1."),
		fullResync:    desc("full_resyncs_total", "Full resyncs of this migration."),
		sourceOffset:  desc("link_source_offset_bytes", "Replication offset of the source.", "source", "target"),
		targetOffset:  desc("link_target_offset_bytes", "Replication offset that the target has applied.", "source", "target"),
		lagBytes:      desc("link_lag_bytes", "Bytes of the replication stream not yet applied.", "source", "target"),
		lagSeconds:    desc("link_lag_seconds", "Age of the oldest byte not yet applied.", "source", "target"),
		spoolBytes:    desc("spool_bytes", "Bytes read from the source and not yet taken by the target.", "place"),
		spoolLimit:    desc("spool_limit_bytes", "Limit of the spool.", "place"),
		spoolFull:     desc("spool_full", "1 while the source is slowed down because the spool is full."),
		dropped:       desc("dropped", "What --drop has left out because the server does not have it.", "feature", "server", "of"),
		switches:      desc("switches_total", "Cutovers and rollbacks done."),
		stall:         desc("switch_write_stall_seconds", "Time that writes stalled in the last switch."),
		verify:        newVerifyMetrics(desc),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descs)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	s := c.controller.Status()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	counter := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, labels...)
	}
	gauge(c.info, 1, c.version, s.Name, s.Engine)
	for _, phase := range phases() {
		gauge(c.phase, boolean(s.Phase == phase), string(phase))
	}
	gauge(c.ready, boolean(s.Ready))
	for _, end := range ends(s) {
		gauge(c.serverUp, boolean(end.Unreachable == ""), end.Name, end.URL)
		gauge(c.serverKeys, float64(end.Keys), end.Name, end.URL)
		gauge(c.serverMemory, float64(end.UsedMemory), end.Name, end.URL)
	}
	gauge(c.copyKeys, float64(s.Copy.Keys))
	gauge(c.copyTotalKeys, float64(s.Copy.TotalKeys))
	gauge(c.copyBytes, float64(s.Copy.Bytes))
	gauge(c.copyDone, s.Copy.Fraction)
	counter(c.fullResync, float64(s.Copy.FullResyncs))
	for _, link := range s.Links {
		gauge(c.sourceOffset, float64(link.SourceOffset), link.Source, link.Target)
		gauge(c.targetOffset, float64(link.TargetOffset), link.Source, link.Target)
		gauge(c.lagBytes, float64(link.LagBytes), link.Source, link.Target)
		gauge(c.lagSeconds, float64(link.LagMS)/1000, link.Source, link.Target)
	}
	gauge(c.spoolBytes, float64(s.Spool.MemoryBytes), "memory")
	gauge(c.spoolBytes, float64(s.Spool.DiskBytes), "disk")
	gauge(c.spoolLimit, float64(s.Spool.MemoryLimit), "memory")
	gauge(c.spoolLimit, float64(s.Spool.DiskLimit), "disk")
	gauge(c.spoolFull, boolean(s.Spool.Full))
	for _, d := range s.Dropped {
		gauge(c.dropped, float64(d.Copy), d.Feature, d.Server, "copy")
		gauge(c.dropped, float64(d.Stream), d.Feature, d.Server, "stream")
	}
	counter(c.switches, float64(s.Cutover.Switches))
	gauge(c.stall, s.Cutover.WriteStallMS/1000)
	c.verify.collect(s.Verify, gauge)
}

// end is one of the two servers with its name.
type end struct {
	Name string
	migrate.ServerStatus
}

func ends(s migrate.Status) []end {
	return []end{{"source", s.Source}, {"target", s.Target}}
}

// phases are all of them, so that each has a series from the start.
func phases() []migrate.Phase {
	return []migrate.Phase{
		migrate.Planned, migrate.Copying, migrate.Following, migrate.Switching, migrate.Switched,
		migrate.Completed, migrate.Aborted, migrate.RolledBack, migrate.Failed,
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
