// Package server talks to one Redis or Valkey server: where it is, how to
// reach it, what it says of itself, and its errors as types. Bulk data never
// goes through here; the engines take a plain connection from DialConn.
package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// DialTimeout bounds connecting, including TLS.
const DialTimeout = 5 * time.Second

// Quiet keeps the client library from writing to stderr by itself: it logs
// failures to dial, which are returned as errors anyway. It is for the whole
// process, so only a main program calls it.
func Quiet() { redis.SetLogger(silent{}) }

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Client sends control commands to one server. It is safe for concurrent use.
// A command is never retried: some are not idempotent.
type Client struct {
	endpoint Endpoint
	rdb      *redis.Client

	mu  sync.Mutex
	ids []int64 // CLIENT ID of the last connections, oldest first
}

// Dial connects, authenticates and sees that a Redis or Valkey server answers.
// name is what CLIENT LIST shows, empty for none. Errors are *ConnError or *Error.
func Dial(ctx context.Context, e Endpoint, name string) (*Client, error) {
	c, err := New(e, name)
	if err != nil {
		return nil, err
	}
	if _, err := c.Do(ctx, "PING"); err != nil {
		_ = c.Close() // the first error is the one that tells
		return nil, err
	}
	return c, nil
}

// poolSize is how many connections a client has at most.
const poolSize = 4

// New prepares a client without connecting; every command dials when it needs to.
// It fails only when the TLS files cannot be read.
func New(e Endpoint, name string) (*Client, error) {
	if _, err := e.TLS.config(e.Host()); err != nil {
		return nil, &ConnError{Server: e.Address, Op: "tls", Err: err, Hint: "check the certificate files"}
	}
	c := &Client{endpoint: e}
	c.rdb = redis.NewClient(&redis.Options{
		Addr:    e.Address,
		Network: e.Network,
		// Our own dialer: TLS as the endpoint wants it, and no library retries.
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.DialConn(ctx) },
		OnConnect: func(ctx context.Context, conn *redis.Conn) error {
			if name != "" {
				// A courtesy to whoever reads CLIENT LIST; an ACL user may lack it.
				_ = conn.ClientSetName(ctx, name).Err()
			}
			return c.remember(ctx, conn)
		},
		Protocol:                 2,
		Username:                 e.Username,
		Password:                 e.Password,
		MaxRetries:               -1,
		DialerRetries:            1,
		PoolSize:                 poolSize,
		ReadTimeout:              5 * time.Second,
		WriteTimeout:             5 * time.Second,
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return c, nil
}

// Close ends every connection of the client.
func (c *Client) Close() error { return c.rdb.Close() }

// Endpoint is where the client connects.
func (c *Client) Endpoint() Endpoint { return c.endpoint }

// Do sends one command and returns its reply: string, int64, []any or nil.
func (c *Client) Do(ctx context.Context, args ...any) (any, error) {
	reply, err := c.rdb.Do(ctx, args...).Result()
	if err == redis.Nil { //nolint:errorlint // the library returns this very value for a nil reply
		return nil, nil
	}
	if err != nil {
		return nil, wrap(c.endpoint.Address, commandName(args), err)
	}
	return reply, nil
}

// Transaction runs commands in MULTI and EXEC and returns their replies.
func (c *Client) Transaction(ctx context.Context, commands ...[]any) ([]any, error) {
	pipe := c.rdb.TxPipeline()
	cmds := make([]*redis.Cmd, len(commands))
	for i, args := range commands {
		cmds[i] = pipe.Do(ctx, args...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, wrap(c.endpoint.Address, "EXEC", err)
	}
	replies := make([]any, len(cmds))
	for i, cmd := range cmds {
		replies[i] = cmd.Val()
	}
	return replies, nil
}

// Text is Do for a command that replies with a string.
func (c *Client) Text(ctx context.Context, args ...any) (string, error) {
	reply, err := c.Do(ctx, args...)
	if err != nil {
		return "", err
	}
	s, ok := reply.(string)
	if !ok {
		return "", fmt.Errorf("%s: %s: unexpected reply of type %T", c.endpoint.Address, commandName(args), reply)
	}
	return s, nil
}

// Redis gives the library's client, for pipelines.
func (c *Client) Redis() *redis.Client { return c.rdb }

// Info runs INFO with the named sections, one command each (several in one
// command are understood only from 7.0 on), or the default ones when none is named.
func (c *Client) Info(ctx context.Context, sections ...string) (Info, error) {
	if len(sections) == 0 {
		text, err := c.Text(ctx, "INFO")
		return ParseInfo(text), err
	}
	all := make(Info)
	for _, section := range sections {
		text, err := c.Text(ctx, "INFO", section)
		if err != nil {
			return nil, err
		}
		for k, v := range ParseInfo(text) {
			all[k] = v
		}
	}
	return all, nil
}

// ConfigGet returns one setting and whether the server has it.
func (c *Client) ConfigGet(ctx context.Context, name string) (string, bool, error) {
	reply, err := c.Do(ctx, "CONFIG", "GET", name)
	if err != nil {
		return "", false, err
	}
	pairs, ok := reply.([]any)
	if !ok || len(pairs) < 2 {
		return "", false, nil
	}
	value, ok := pairs[1].(string)
	return value, ok, nil
}

// ConfigSet changes one setting of the running server.
func (c *Client) ConfigSet(ctx context.Context, name, value string) error {
	_, err := c.Do(ctx, "CONFIG", "SET", name, value)
	return err
}

// DialConn opens a plain or TLS connection to the server, not authenticated.
func (e Endpoint) DialConn(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	config, err := e.TLS.config(e.Host())
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, e.Network, e.Address)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return conn, nil
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error is the one that tells
		return nil, &handshakeError{err}
	}
	return secure, nil
}

func commandName(args []any) string {
	if len(args) == 0 {
		return ""
	}
	name := strings.ToUpper(fmt.Sprint(args[0]))
	if len(args) > 1 && (name == "CONFIG" || name == "CLIENT" || name == "ACL") {
		name += " " + strings.ToUpper(fmt.Sprint(args[1]))
	}
	return name
}
