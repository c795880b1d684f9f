package psync

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"godwit/internal/resp"
)

// Authenticate judges the credentials of a replica; both are empty when it
// sent none. Identity is what the replica shall be known as from then on.
type Authenticate func(username, password string) (identity string, ok bool)

// Equal compares a secret in constant time.
func Equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Peer is a replica that has asked PSYNC and waits for the answer.
type Peer struct {
	Hello
	Identity string // what Authenticate called it
	ReplID   string // "?" for a full resync
	Offset   int64  // the first byte wanted; NoOffset for a full resync
	Failover bool   // PSYNC … FAILOVER: a primary has demoted itself and commits a switch

	conn net.Conn
	r    *bufio.Reader
}

// ErrStranger ends the connection of a peer that does not authenticate.
var ErrStranger = errors.New("wrong or missing credentials")

// maxHandshake is how many commands a replica gets to come to its PSYNC. The
// longest handshake, that of Valkey 8, has seven.
const maxHandshake = 32

// Accept plays the primary on a fresh connection until the replica asks PSYNC.
// Nothing but the handshake is answered. On an error the connection is the
// caller's to close; when ctx is done it is closed already.
func Accept(ctx context.Context, conn net.Conn, authenticate Authenticate) (*Peer, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	p, err := accept(conn, authenticate)
	if !stop() {
		return nil, fmt.Errorf("%s: handshake: %w", conn.RemoteAddr(), ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func accept(conn net.Conn, authenticate Authenticate) (*Peer, error) {
	p := &Peer{conn: conn, r: bufio.NewReaderSize(conn, 4<<10)}
	identity, known := authenticate("", "")
	p.Identity = identity
	for range maxHandshake {
		// A replica of up to 6.0 waits for its cron between two steps: up to a second.
		if err := conn.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
			return nil, err
		}
		cmd, _, err := resp.ReadCommand(p.r)
		if err != nil {
			return nil, fmt.Errorf("%s: handshake: %w", p.Address(), err)
		}
		name := strings.ToUpper(string(cmd.Name()))
		args := make([]string, 0, len(cmd.Args))
		for _, a := range cmd.Args[1:] {
			args = append(args, string(a))
		}
		reply := ""
		switch {
		case name == "AUTH" && (len(args) == 1 || len(args) == 2):
			user, password := "", args[len(args)-1]
			if len(args) == 2 {
				user = args[0]
			}
			if p.Identity, known = authenticate(user, password); !known {
				_ = p.write("-WRONGPASS invalid username-password pair or user is disabled.\r\n") // it is going away anyway
				return nil, fmt.Errorf("%s: %w", p.Address(), ErrStranger)
			}
			reply = "+OK\r\n"
		case name == "PING" && known:
			reply = "+PONG\r\n"
		case name == "PING":
			reply = "-NOAUTH Authentication required.\r\n" // what a replica expects before its AUTH
		case !known:
			_ = p.write("-NOAUTH Authentication required.\r\n") // likewise
			return nil, fmt.Errorf("%s: %w", p.Address(), ErrStranger)
		case name == "REPLCONF":
			reply = p.replconf(args)
		case name == "PSYNC" && (len(args) == 2 || len(args) == 3):
			return p, p.psync(args)
		default:
			_ = p.write("-ERR only replication is served here\r\n") // likewise
			return nil, fmt.Errorf("%s: unexpected command %.20q in the handshake", p.Address(), name)
		}
		if err := p.write(reply); err != nil {
			return nil, fmt.Errorf("%s: handshake: %w", p.Address(), err)
		}
	}
	return nil, fmt.Errorf("%s: no PSYNC within %d commands", p.Address(), maxHandshake)
}

func (p *Peer) replconf(args []string) string {
	if len(args)%2 != 0 {
		return "-ERR syntax error\r\n"
	}
	for i := 0; i < len(args); i += 2 {
		value := args[i+1]
		switch strings.ToLower(args[i]) {
		case "listening-port":
			port, err := strconv.Atoi(value)
			if err != nil {
				return "-ERR value is not an integer or out of range\r\n"
			}
			p.ListeningPort = port
		case "ip-address":
			p.IPAddress = value
		case "capa":
			// What is not known here is not asked for upstream either.
			switch strings.ToLower(value) {
			case "eof":
				p.EOF = true
			case "psync2":
				p.PSYNC2 = true
			}
		case "version":
			p.Version = value
		default:
			return fmt.Sprintf("-ERR Unrecognized REPLCONF option: %.40q\r\n", args[i])
		}
	}
	return "+OK\r\n"
}

func (p *Peer) psync(args []string) error {
	offset, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return fmt.Errorf("%s: PSYNC: bad offset %.40q", p.Address(), args[1])
	}
	p.ReplID, p.Offset = args[0], offset
	if len(args) == 3 {
		if !strings.EqualFold(args[2], "FAILOVER") {
			return fmt.Errorf("%s: PSYNC: unexpected word %.40q", p.Address(), args[2])
		}
		p.Failover = true
	}
	return p.conn.SetDeadline(time.Time{})
}

// Address is where the peer connects from.
func (p *Peer) Address() string { return p.conn.RemoteAddr().String() }

// Keepalive sends a newline, which a replica takes at any time before the
// snapshot's header as a sign of life.
func (p *Peer) Keepalive() error { return p.write("\n") }

// Continue answers with a partial resync in the stream replid.
func (p *Peer) Continue(replid string) error {
	if !p.PSYNC2 {
		return p.write("+CONTINUE\r\n")
	}
	return p.write("+CONTINUE " + replid + "\r\n")
}

// FullResync answers with a full resync; the snapshot's header follows.
func (p *Peer) FullResync(replid string, offset int64) error {
	return p.write("+FULLRESYNC " + replid + " " + strconv.FormatInt(offset, 10) + "\r\n")
}

// Refuse answers with an error; a primary that asked FAILOVER becomes one again.
func (p *Peer) Refuse(reason string) error { return p.write("-ERR " + reason + "\r\n") }

// Defer answers that the question cannot be served yet. A replica asks it again; one of up
// to 6.2 that gets another error, or no answer at all, forgets where it stands and asks for
// a full resync (replication.c slaveTryPartialResynchronization).
func (p *Peer) Defer(reason string) error { return p.write("-LOADING " + reason + "\r\n") }

// Write sends raw bytes: the snapshot, then the stream. There is no deadline:
// a replica may be stopped for long; Close ends it.
func (p *Peer) Write(b []byte) (int, error) { return p.conn.Write(b) }

// ReadAck waits for the replica's next sign of life: an ACK and its offset, or
// a newline (-1), which it sends while it loads.
func (p *Peer) ReadAck() (int64, error) {
	for {
		b, err := p.r.Peek(1)
		if err != nil {
			return 0, err
		}
		if b[0] == '\n' || b[0] == '\r' {
			if _, err := p.r.Discard(1); err != nil {
				return 0, err
			}
			return -1, nil
		}
		cmd, _, err := resp.ReadCommand(p.r)
		if err != nil {
			return 0, err
		}
		// "REPLCONF ACK offset", from 7.2 on with more words after it (FACK aofoffset).
		if len(cmd.Args) >= 3 && strings.EqualFold(string(cmd.Args[0]), "REPLCONF") && strings.EqualFold(string(cmd.Args[1]), "ACK") {
			offset, err := strconv.ParseInt(string(cmd.Args[2]), 10, 64)
			if err != nil || offset < 0 {
				return 0, fmt.Errorf("%s: REPLCONF ACK: bad offset %.40q", p.Address(), cmd.Args[2])
			}
			return offset, nil
		}
		if !strings.EqualFold(string(cmd.Name()), "REPLCONF") && !strings.EqualFold(string(cmd.Name()), "PING") {
			return 0, fmt.Errorf("%s: unexpected command %.20q from a replica", p.Address(), cmd.Name())
		}
	}
}

// Close ends the connection; a Write or ReadAck under way returns.
func (p *Peer) Close() error { return p.conn.Close() }

func (p *Peer) write(s string) error {
	if s == "" {
		return nil
	}
	if err := p.conn.SetWriteDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return err
	}
	if _, err := p.conn.Write([]byte(s)); err != nil {
		return err
	}
	return p.conn.SetWriteDeadline(time.Time{})
}
