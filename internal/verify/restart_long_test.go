//go:build fault

package verify_test

import (
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// What was compared before a server was started again, with other data, does not
// count for a scan that goes on after it.
func TestScanGoesOnWithRestartedServers(t *testing.T) {
	t.Parallel()
	const keys, extra = 30_000, 500
	for _, role := range []string{"source", "target"} {
		t.Run(role, func(t *testing.T) {
			a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			for _, c := range []*server.Client{from, to} {
				plantKeys(t, c, "common", keys)
			}
			want := plantKeys(t, to, verify.Extra, extra)
			o := order{Source: a.Endpoint().String(), Target: b.Endpoint().String()}
			o.Options = verify.Options{Method: verify.Scan, Dir: t.TempDir(), MaxRate: 160 << 10}
			killedScan(t, o, func(c checkpoint) bool { return c.within(true) })

			changed := map[string]*server.Client{"source": from, "target": to}[role]
			do(t, changed, "SET", "common7", "other")
			do(t, changed, "SAVE")
			restarted := map[string]*sandbox.Server{"source": a, "target": b}[role]
			if err := restarted.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := restarted.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			o.Options.MaxRate = 0
			cfg, err := o.config()
			if err != nil {
				t.Fatal(err)
			}
			mustFind(t, compare(t, cfg), o.Options.Dir, append(want, "value 0 common7")...)
		})
	}
}
