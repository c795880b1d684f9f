package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"godwit/internal/refresh"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// TTLs are exact on servers that tell only how much of them is left, too, however
// many there are.
func TestTTLsAreExact(t *testing.T) {
	const keys, looks = 1000, 20
	for _, name := range servers()[:2] {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			c := dial(t, s)
			names, commands := make([][]byte, keys), make([][][]byte, 0, 2*keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "key:%d", i)
				commands = append(commands, [][]byte{[]byte("SET"), names[i], []byte("v")})
				if i%10 != 0 {
					commands = append(commands, [][]byte{[]byte("PEXPIREAT"), names[i], fmt.Append(nil, 4e12+i)})
				}
			}
			err := c.Pipe(t.Context(), 0, commands, func(_ int, reply resp.Reply, r *resp.ReplyReader) error { return r.Skip(reply) })
			if err != nil {
				t.Fatal(err)
			}
			check := func(values []refresh.Value, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range values {
					want := int64(-1)
					if i%10 != 0 {
						want = 4e12 + int64(i)
					}
					if v.ExpireAt != want || string(v.Key) != string(names[i]) || !v.Exists() {
						t.Fatalf("%s: %d, want %d", v.Key, v.ExpireAt, want)
					}
				}
			}
			for range looks {
				check(c.Look(t.Context(), 0, names))
				values, place, err := c.Read(t.Context(), 0, names)
				check(values, err)
				if age := time.Since(time.UnixMilli(place.Time)); age < 0 || age > 10*time.Second {
					t.Errorf("the server's time is %d", place.Time)
				}
				told := false
				values, place, err = c.ReadAt(t.Context(), 0, names, func(p refresh.Place) error { told = p.ReplID != ""; return nil })
				check(values, err)
				if !told {
					t.Errorf("the place %v was not told", place)
				}
			}
		})
	}
}

// Reading does not count as a use of a key where the server can be told so.
func TestReadingIsNoUse(t *testing.T) {
	for name, untouched := range map[string]bool{"redis-7.0": false, "redis-8.0": true, "valkey-9.1": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{})
			client, c := sandboxtest.Client(t, s), dial(t, s)
			do(t, client, "SET", "k", "v")
			time.Sleep(2100 * time.Millisecond)
			keys := [][]byte{[]byte("k")}
			if _, _, err := c.Read(t.Context(), 0, keys); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Look(t.Context(), 0, keys); err != nil {
				t.Fatal(err)
			}
			if types, err := c.Types(t.Context(), 0, append(keys, []byte("none"))); err != nil || strings.Join(types, " ") != "string none" {
				t.Errorf("%v, %v", types, err)
			}
			if sizes, err := c.Sizes(t.Context(), 0, append(keys, []byte("none"))); err != nil || sizes[0] < 16 || sizes[1] != 0 {
				t.Errorf("%v, %v", sizes, err)
			}
			if idle := do(t, client, "OBJECT", "IDLETIME", "k").(int64); idle > 0 != untouched {
				t.Errorf("idle for %d s", idle)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	for _, name := range servers()[:2] {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			client, c := sandboxtest.Client(t, s), dial(t, s)
			do(t, client, "SET", "small", "v")
			do(t, client, "SETRANGE", "large", "9999999", "v")
			c.Limit(1 << 10)
			keys := [][]byte{[]byte("small"), []byte("large"), []byte("none")}
			values, _, err := c.Read(t.Context(), 0, keys)
			if err != nil {
				t.Fatal(err)
			}
			if values[0].TooLarge != 0 || values[1].TooLarge < 10<<10 || values[1].Payload != nil || !values[1].Exists() || values[2].Exists() {
				t.Errorf("%d, %d", values[0].TooLarge, values[1].TooLarge)
			}
			var large *refresh.TooLargeError
			if err := c.Write(t.Context(), values); !errors.As(err, &large) || string(large.Key) != "large" || large.HintText() == "" {
				t.Errorf("written: %v", err)
			}
		})
	}
}

// What a server refuses is said with the key and what helps, and the connection
// is as good as before.
func TestRefusals(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--databases 2"}})
	node := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--cluster-enabled yes", "--cluster-require-full-coverage no"}})
	client, admin := sandboxtest.Client(t, s), sandboxtest.Client(t, node)
	do(t, client, "SET", "k", "v")
	do(t, client, "ACL", "SETUSER", "reader", "on", ">secret", "+@all", "-dump", "~*")
	do(t, client, "ACL", "SETUSER", "blind", "on", ">secret", "+@all", "-xinfo", "-memory", "~*")
	do(t, admin, "CLUSTER", "ADDSLOTSRANGE", 0, 8000) // of a: 15495, of b: 3300
	for deadline := time.Now().Add(10 * time.Second); stat(t, admin, "cluster_enabled") != "1" || !strings.Contains(do(t, admin, "CLUSTER", "INFO").(string), "cluster_state:ok"); {
		if time.Now().After(deadline) {
			t.Fatal("no cluster")
		}
		time.Sleep(20 * time.Millisecond)
	}
	as := func(user string) server.Endpoint {
		e := s.Endpoint()
		e.Username, e.Password = user, "secret"
		return e
	}
	k := [][]byte{[]byte("k")}
	read := func(c *refresh.Conn) error { _, _, err := c.Read(t.Context(), 0, k); return err }
	for _, tt := range []struct {
		name       string
		e          server.Endpoint
		run        func(c *refresh.Conn) error
		want, hint string
	}{
		{"a db too many", s.Endpoint(), func(c *refresh.Conn) error { _, err := c.Look(t.Context(), 2, k); return err }, "SELECT: ERR DB index is out of range", "databases"},
		{"a command that is not permitted", as("reader"), read, `DUMP: NOPERM`, "ACL"},
		{"out of memory", s.Endpoint(), func(c *refresh.Conn) error {
			values, err := c.Look(t.Context(), 0, k)
			if err != nil {
				return err
			}
			do(t, client, "CONFIG", "SET", "maxmemory", "1")
			defer do(t, client, "CONFIG", "SET", "maxmemory", "0")
			return c.Write(t.Context(), values)
		}, `RESTORE: OOM command not allowed when used memory > 'maxmemory'. (db 0, key "k")`, "maxmemory"},
		{"keys of two slots", node.Endpoint(), func(c *refresh.Conn) error {
			if !c.Cluster() {
				t.Error("not seen to be a cluster")
			}
			if _, err := c.Look(t.Context(), 0, [][]byte{[]byte("b"), []byte("f")}); err != nil {
				t.Errorf("each by itself: %v", err)
			}
			_, _, err := c.Read(t.Context(), 0, [][]byte{[]byte("b"), []byte("f")})
			return err
		}, "CROSSSLOT", "one slot"},
		{"a slot that nobody serves", node.Endpoint(), func(c *refresh.Conn) error { _, err := c.Look(t.Context(), 0, [][]byte{[]byte("a")}); return err }, `DUMP: CLUSTERDOWN`, "whole"},
		{"an unknown command", s.Endpoint(), func(c *refresh.Conn) error {
			return c.Pipe(t.Context(), 0, [][][]byte{{[]byte("PING")}, {[]byte("dum"), []byte("k")}}, func(_ int, reply resp.Reply, r *resp.ReplyReader) error { return r.Skip(reply) })
		}, `DUM: ERR unknown command 'dum' (db 0, key "k")`, "rename-command"},
		{"an argument that is wrong", s.Endpoint(), func(c *refresh.Conn) error {
			_, _, err := c.Scan(t.Context(), 0, 0, "", -1)
			return err
		}, "SCAN: ERR syntax error", ""},
		{"sizes that are not permitted", as("blind"), func(c *refresh.Conn) error { _, err := c.Sizes(t.Context(), 0, k); return err }, `MEMORY USAGE: NOPERM this user has no permissions to run the 'memory|usage' command (db 0, key "k")`, "ACL"},
		{"a subcommand that is not permitted", as("blind"), func(c *refresh.Conn) error {
			return c.Pipe(t.Context(), 0, [][][]byte{{[]byte("xinfo"), []byte("stream"), k[0]}}, func(_ int, reply resp.Reply, r *resp.ReplyReader) error { return r.Skip(reply) })
		}, `XINFO STREAM: NOPERM this user has no permissions to run the 'xinfo|stream' command (db 0, key "k")`, "ACL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := refresh.Dial(t.Context(), tt.e)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = tt.run(c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v; want %s", err, tt.want)
			}
			var hinted interface{ HintText() string }
			if !errors.As(err, &hinted) || !strings.Contains(hinted.HintText(), tt.hint) {
				t.Errorf("%v: no hint of %q", err, tt.hint)
			}
			if types, err := c.Types(t.Context(), 0, [][]byte{[]byte("f")}); err != nil || types[0] != "none" {
				t.Errorf("afterwards: %v, %v", types, err)
			}
		})
	}
}

// A slot of another shard is said to be so.
func TestMoved(t *testing.T) {
	o := sandbox.Options{Args: []string{"--cluster-enabled yes"}}
	one, two := sandboxtest.Start(t, "redis-7.0", o), sandboxtest.Start(t, "redis-7.0", o)
	first, second := sandboxtest.Client(t, one), sandboxtest.Client(t, two)
	do(t, first, "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
	do(t, second, "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
	do(t, first, "CLUSTER", "MEET", "127.0.0.1", two.Port())
	c := dial(t, one)
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := c.Look(t.Context(), 0, [][]byte{[]byte("b"), []byte("a")}) // a is in slot 15495
		var key *refresh.KeyError
		if errors.As(err, &key) && server.IsCode(err, "MOVED") && string(key.Key) == "a" && strings.Contains(key.HintText(), "slots") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A connection that fails says so from then on, and nobody waits for it.
func TestConnectionEnds(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	k := [][]byte{[]byte("k")}
	t.Run("the server", func(t *testing.T) {
		c := dial(t, s)
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			var conn *server.ConnError
			if _, _, err := c.Read(t.Context(), 0, k); !errors.As(err, &conn) || !strings.Contains(err.Error(), s.Address()) {
				t.Errorf("%v", err)
			}
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the context", func(t *testing.T) {
		c := dial(t, s)
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		defer s.Resume()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		for range 2 {
			if _, _, err := c.Read(ctx, 0, k); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		}
	})
	t.Run("a mute server", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var conn *server.ConnError
		_, err = refresh.Dial(t.Context(), server.Endpoint{Network: "tcp", Address: l.Addr().String()})
		if !errors.As(err, &conn) || !strings.Contains(conn.HintText(), "no answer in time") {
			t.Errorf("%v", err)
		}
	})
}

func TestDialTLSAndPassword(t *testing.T) {
	files := sandboxtest.Certificates(t)
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{
		Password: "right-secret", TLS: server.TLS{Enabled: true, CAFile: files.CA},
		Args: []string{"--tls-cert-file", files.Cert, "--tls-key-file", files.Key, "--tls-ca-cert-file", files.CA, "--tls-auth-clients", "no"},
	})
	c := dial(t, s)
	if _, err := c.Look(t.Context(), 0, [][]byte{[]byte("k")}); err != nil {
		t.Error(err)
	}
	for name, password := range map[string]string{"wrong": "wrong-secret", "none": ""} {
		e := s.Endpoint()
		e.Password = password
		_, err := refresh.Dial(t.Context(), e)
		var hinted interface{ HintText() string }
		if !errors.As(err, &hinted) || !strings.Contains(hinted.HintText(), "user and password") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Small keys cost no memory once there is enough.
func TestReadingAllocatesLittle(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client, c := sandboxtest.Client(t, s), dial(t, s)
	keys := make([][]byte, 200)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key:%d", i)
		do(t, client, "SET", keys[i], strings.Repeat("v", 50))
	}
	perRead := testing.AllocsPerRun(20, func() {
		if _, _, err := c.Read(t.Context(), 0, keys); err != nil {
			t.Fatal(err)
		}
	})
	if perKey := perRead / float64(len(keys)); perKey > 1 {
		t.Errorf("%.2f allocations for each key", perKey)
	}
}
