package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) {
	server.Quiet()
	goleak.VerifyTestMain(m)
}

func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want server.Endpoint
		text string // of String
	}{
		{"redis://h", server.Endpoint{Network: "tcp", Address: "h:6379"}, "redis://h:6379"},
		{"h:7000", server.Endpoint{Network: "tcp", Address: "h:7000"}, "redis://h:7000"},
		{"valkey://h:1", server.Endpoint{Network: "tcp", Address: "h:1"}, "redis://h:1"},
		{"redis://:secret@h:1/3", server.Endpoint{Network: "tcp", Address: "h:1", Password: "secret", DB: 3}, "redis://h:1/3"},
		{"redis://me:s%40cret@h", server.Endpoint{Network: "tcp", Address: "h:6379", Username: "me", Password: "s@cret"}, "redis://me@h:6379"},
		{"rediss://h", server.Endpoint{Network: "tcp", Address: "h:6379", TLS: server.TLS{Enabled: true}}, "rediss://h:6379"},
		{"redis://[::1]:1", server.Endpoint{Network: "tcp", Address: "[::1]:1"}, "redis://[::1]:1"},
		{"unix:///run/r.sock?db=2", server.Endpoint{Network: "unix", Address: "/run/r.sock", DB: 2}, "unix:///run/r.sock?db=2"},
		{"redis://s:26379?master=m", server.Endpoint{Network: "tcp", Address: "s:26379", Master: "m"}, "redis://s:26379?master=m"},
	} {
		got, err := server.ParseEndpoint(c.raw)
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.raw, got, err, c.want)
		}
		for _, text := range []string{got.String(), fmt.Sprintf("%v %+v %#v", got, got, got)} {
			if strings.Contains(text, "secret") || strings.Contains(text, "s@cret") {
				t.Errorf("%s: prints its password: %s", c.raw, text)
			}
		}
		if got.String() != c.text {
			t.Errorf("%s: String is %s, want %s", c.raw, got, c.text)
		}
	}
}

func TestParseEndpointErrors(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                 "empty URL",
		"http://h":                         "unknown scheme",
		"redis://h:0":                      "port 0",
		"redis://h:99999":                  "port 99999",
		"redis://h/x":                      `db "x"`,
		"redis://h/-1":                     `db "-1"`,
		"redis://h?mater=x":                `unknown parameter "mater"`,
		"unix://":                          "needs the path",
		"redis://u:topsecret@h:port":       "not a URL",
		"redis://u:topsecret@h/x":          `db "x"`,
		"redis://u:top%zzsecret@h":         "not a URL",
		"redis://u:topsecret@h?master=a&b": `unknown parameter "b"`,
	} {
		_, err := server.ParseEndpoint(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error holds the password: %v", raw, err)
		}
	}
}

// What goes wrong with a connection is said with what helps, and without the password.
func TestDialErrors(t *testing.T) {
	files, others := sandboxtest.Certificates(t), sandboxtest.Certificates(t)
	tls := func(ca string) server.TLS { return server.TLS{Enabled: true, CAFile: ca} }
	secure := sandboxtest.Start(t, "redis-7.0", sandbox.Options{
		TLS:  tls(files.CA),
		Args: []string{"--tls-cert-file", files.Cert, "--tls-key-file", files.Key, "--tls-ca-cert-file", files.CA, "--tls-auth-clients", "no"},
	})
	known := sandboxtest.Start(t, "redis-7.0", sandbox.Options{
		TLS:  server.TLS{Enabled: true, CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key},
		Args: []string{"--tls-cert-file", files.Cert, "--tls-key-file", files.Key, "--tls-ca-cert-file", files.CA, "--tls-auth-clients", "yes"},
	})
	plain := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Password: "right-secret"})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(web.Close)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()

	at := func(address string) server.Endpoint { return server.Endpoint{Network: "tcp", Address: address} }
	with := func(e server.Endpoint, change func(*server.Endpoint)) server.Endpoint { change(&e); return e }
	for _, c := range []struct {
		name     string
		endpoint server.Endpoint
		op, hint string
	}{
		{"nothing listens", at(closed.Addr().String()), "dial", "nothing listens"},
		{"not a Redis", at(strings.TrimPrefix(web.URL, "http://")), "PING", "not a Redis or Valkey server"},
		{"no answer", at(mute.Addr().String()), "PING", "no answer in time"},
		{"unknown host", at("no-such-host.invalid:6379"), "dial", "host name"},
		{"no password", at(plain.Address()), "auth", "user and password"},
		{"wrong password", with(at(plain.Address()), func(e *server.Endpoint) { e.Password = "wrong-secret" }), "auth", "user and password"},
		{"unknown user", with(at(plain.Address()), func(e *server.Endpoint) { e.Username, e.Password = "nobody", "wrong-secret" }), "auth", "user and password"},
		{"a certificate of another CA", with(secure.Endpoint(), func(e *server.Endpoint) { e.TLS = tls(others.CA) }), "tls", "not trusted"},
		{"a certificate for another name", with(secure.Endpoint(), func(e *server.Endpoint) { e.TLS.ServerName = "elsewhere" }), "tls", "--tls-server-name"},
		{"TLS to a plain port", with(at(plain.Address()), func(e *server.Endpoint) { e.TLS = tls(files.CA) }), "tls", "not speak TLS"},
		{"no client certificate", with(known.Endpoint(), func(e *server.Endpoint) { e.TLS = tls(files.CA) }), "PING", "--tls-cert"},
		{"no TLS to a TLS port", at(secure.Address()), "PING", "rediss://"},
		{"no such socket", server.Endpoint{Network: "unix", Address: "/no/such/socket"}, "dial", "unixsocket"},
		{"no such CA file", with(secure.Endpoint(), func(e *server.Endpoint) { e.TLS = tls("/no/such/file") }), "tls", "certificate files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), server.DialTimeout+3*time.Second)
			defer cancel()
			client, err := server.Dial(ctx, c.endpoint, "")
			if err == nil {
				_ = client.Close()
				t.Fatal("no error")
			}
			var conn *server.ConnError
			if !errors.As(err, &conn) || conn.Op != c.op || !strings.Contains(conn.HintText(), c.hint) {
				t.Errorf("error %v (%+v), want op %s and a hint with %q", err, conn, c.op, c.hint)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds a password: %v", err)
			}
		})
	}
	client, err := server.Dial(t.Context(), secure.Endpoint(), "")
	if err != nil {
		t.Fatalf("with the right CA: %v", err)
	}
	_ = client.Close()
}

func TestErrorReplies(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := sandboxtest.Client(t, s)
	if _, err := c.Do(t.Context(), "RESTORE", "k", "0", "x"); !server.IsCode(err, "ERR") {
		t.Errorf("RESTORE of nonsense: %v", err)
	}
	if _, err := c.Do(t.Context(), "ACL", "SETUSER", "less", "on", ">pw", "+ping", "+info"); err != nil {
		t.Fatal(err)
	}
	e := s.Endpoint()
	e.Username, e.Password = "less", "pw"
	less, err := server.Dial(t.Context(), e, "named") // may not CLIENT SETNAME
	if err != nil {
		t.Fatalf("a user who may not set a name: %v", err)
	}
	defer func() { _ = less.Close() }()
	_, err = less.Do(t.Context(), "CONFIG", "GET", "masterauth")
	var conn *server.ConnError
	if !server.IsCode(err, "NOPERM") || !errors.As(err, &conn) || conn.Op != "CONFIG GET" || conn.Hint == "" {
		t.Errorf("a command that is denied: %v", err)
	}
	reply, err := c.Do(t.Context(), "GET", "absent")
	if reply != nil || err != nil {
		t.Errorf("GET of an absent key: %v, %v", reply, err)
	}
	if _, err := c.Transaction(t.Context(), []any{"SET", "k", "1"}, []any{"NO-SUCH-COMMAND"}); err == nil {
		t.Error("a transaction with an unknown command: no error")
	}
}

func TestVersion(t *testing.T) {
	for name, want := range map[string]string{
		"redis-6.0": "Redis 6.0", "redis-newest": "Redis 8.", "valkey-8.1": "Valkey 8.1", "valkey-newest": "Valkey 9.", "redict-7.3": "Redict 7.3",
	} {
		c := sandboxtest.Client(t, sandboxtest.Start(t, name, sandbox.Options{}))
		info, err := c.Info(t.Context(), "server", "replication")
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Version().String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s says %s, want %s", name, got, want)
		}
		if info["role"] != "master" {
			t.Errorf("%s: several sections in one call: %v", name, info)
		}
	}
}

// After CLIENT KILL no command fails for want of a connection, TLS or not.
func TestRenew(t *testing.T) {
	files := sandboxtest.Certificates(t)
	encrypted := sandbox.Options{
		TLS:  server.TLS{Enabled: true, CAFile: files.CA},
		Args: []string{"--tls-cert-file", files.Cert, "--tls-key-file", files.Key, "--tls-ca-cert-file", files.CA, "--tls-auth-clients", "no"},
	}
	for name, o := range map[string]sandbox.Options{"plain": {}, "TLS": encrypted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := sandboxtest.Client(t, sandboxtest.Start(t, "redis-7.0", o))
			together := func() (failed int) {
				errs := make(chan error, 4)
				for range cap(errs) {
					go func() { _, err := c.Do(t.Context(), "BLPOP", "nothing", "0.05"); errs <- err }()
				}
				for range cap(errs) {
					if err := <-errs; err != nil {
						t.Log(err)
						failed++
					}
				}
				return failed
			}
			if n := together(); n > 0 { // opens as many connections as there may be
				t.Fatalf("%d commands failed", n)
			}
			if _, err := c.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal"); err != nil {
				t.Fatal(err)
			}
			c.Renew(t.Context())
			if n := together(); n > 0 {
				t.Errorf("%d commands failed", n)
			}
		})
	}
}
