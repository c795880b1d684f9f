package migrate_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/audit"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// Both servers speak nothing but TLS with client certificates, replicate over
// it, and have passwords: there and back, and no password anywhere on disk.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	files := sandboxtest.Certificates(t)
	secure := func(password string) sandbox.Options {
		return sandbox.Options{
			Password: password,
			TLS:      server.TLS{Enabled: true, CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key},
			Args: []string{
				"--tls-cert-file", files.Cert, "--tls-key-file", files.Key, "--tls-ca-cert-file", files.CA,
				"--tls-auth-clients", "yes", "--tls-replication", "yes",
			},
		}
	}
	p := &pair{t: t,
		source: sandboxtest.Start(t, "redis-7.0", secure("source-secret")),
		target: sandboxtest.Start(t, "redis-8.0", secure("target-secret")),
	}
	p.fill(1000)
	c := p.config()
	if _, err := migrate.MakePlan(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	refused, err := migrate.MakePlan(t.Context(), c)
	if err != nil || !refused.Refused() {
		t.Fatalf("without a certificate for the listener the plan is not refused: %v", err)
	}
	c.ListenerCert, c.ListenerKey = files.Cert, files.Key
	m := start(t, c)
	m.ready()
	m.cutover()
	m.ready()
	m.rollback()
	m.ready()
	p.equal(p.source)
	if err := m.stop(); err == nil {
		t.Error("stopped without an error")
	}
	noSecret(t, c.StateDir, "source-secret", "target-secret")
}

// noSecret sees that no file below dir holds any of these.
func noSecret(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds the password %s", path, secret)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files below %s: %v", files, dir, err)
	}
}

// ACL users with no more than docs/security.md names are enough, and a
// masterauth that a server has already is used and left as it is.
func TestACLUsers(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	source, target := connect(t, p.source), connect(t, p.target)
	const rules = "on >pw resetkeys -@all +psync +replconf +info +ping +command +config|get +config|set +failover +replicaof +client|kill +multi +exec"
	for _, c := range []*server.Client{source, target} {
		args := []any{"ACL", "SETUSER", "mover"}
		for _, r := range bytes.Fields([]byte(rules)) {
			args = append(args, string(r))
		}
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	// The password that both servers present to any primary.
	for _, c := range []*server.Client{source, target} {
		if err := c.ConfigSet(t.Context(), "masterauth", "their-own"); err != nil {
			t.Fatal(err)
		}
	}
	c := p.config()
	for _, e := range []*server.Endpoint{&c.From, &c.To} {
		e.Username, e.Password = "mover", "pw"
	}
	m := start(t, c)
	m.ready()
	m.cutover()
	m.ready()
	m.rollback()
	m.ready()
	m.cutover()
	m.ready()
	r, err := audit.Compare(t.Context(), p.target.Endpoint(), p.source.Endpoint(), audit.Options{})
	if err != nil || !r.Equal() {
		t.Errorf("%d keys differ: %v", r.Different, err)
	}
	// A user for replicas, at the target, whom the old primary can be: its own
	// masterauth is the default user's password there.
	if _, err := target.Do(t.Context(), "ACL", "SETUSER", "default", "resetpass", ">their-own"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Complete(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if info := info(t, source, "replication"); info["master_link_status"] != "up" || info.Int("master_port") != int64(p.target.Port()) {
		t.Errorf("the old primary does not follow the new one natively: %v", info)
	}
	for _, c := range []*server.Client{source, target} {
		if got, _, err := c.ConfigGet(t.Context(), "masterauth"); err != nil || got != "their-own" {
			t.Errorf("masterauth is %q: %v", got, err)
		}
	}
	if err := m.stop(); err != nil {
		t.Errorf("the run ended with %v", err)
	}
	noSecret(t, c.StateDir, "their-own")
}
