package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Error is an error reply. Code is the reply's first word in capitals, such
// as NOPERM, WRONGPASS, READONLY or ERR; match it with errors.As.
type Error struct {
	Server  string // address of the server that replied
	Command string // name of the command it replied to, never its arguments
	Code    string
	Message string // the reply without its code
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s: %s %s", e.Server, e.Command, e.Code, e.Message)
}

// NewError splits the text of an error reply (without its leading '-').
func NewError(server, command, reply string) *Error {
	// An unknown command is answered with its arguments, a password among them.
	reply, _, _ = strings.Cut(reply, ", with args beginning with")
	code, message, found := strings.Cut(reply, " ")
	if !found || code != strings.ToUpper(code) {
		code, message = "ERR", reply
	}
	return &Error{Server: server, Command: command, Code: code, Message: message}
}

// IsCode tells whether err is, or wraps, an error reply with that code.
func IsCode(err error, code string) bool {
	var reply *Error
	return errors.As(err, &reply) && reply.Code == code
}

// ConnError says why a server could not be talked to, and what helps.
type ConnError struct {
	Server string
	Op     string // dial, tls, auth, or a command's name
	Hint   string
	Err    error
}

func (e *ConnError) Error() string {
	var reply *Error
	if errors.As(e.Err, &reply) {
		return e.Err.Error() // names the server and the command already
	}
	var dial *net.OpError
	if errors.As(e.Err, &dial) && dial.Op == "dial" && e.Op == dial.Op {
		return fmt.Sprintf("%s: %s: %v", e.Server, e.Op, dial.Err) // not the address once more
	}
	return fmt.Sprintf("%s: %s: %v", e.Server, e.Op, e.Err)
}
func (e *ConnError) Unwrap() error { return e.Err }

// HintText is what the user can do about it; commands print it after the error.
func (e *ConnError) HintText() string { return e.Hint }

// handshakeError is a TLS handshake that failed.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// wrap turns an error of the client library into one of this package's.
func wrap(addr, command string, err error) error {
	if err == nil {
		return nil
	}
	var reply redis.Error
	if errors.As(err, &reply) && !errors.Is(err, redis.Nil) {
		return Replied(addr, command, reply.Error())
	}
	return Failed(addr, command, err)
}

// Replied is the error that an error reply is, its leading '-' taken off: an *Error,
// in a *ConnError if something helps against it.
func Replied(addr, command, reply string) error {
	e := NewError(addr, command, reply)
	switch e.Code {
	case "WRONGPASS", "NOAUTH":
		return &ConnError{Server: addr, Op: "auth", Err: e, Hint: "give the right user and password in the URL, or in the environment or a file"}
	case "NOPERM":
		return &ConnError{Server: addr, Op: command, Err: e, Hint: "allow the command to this ACL user, or use another user"}
	}
	return e
}

// Failed is the error of a connection that was not made, or broke during a command:
// a *ConnError.
func Failed(addr, command string, err error) error {
	e := &ConnError{Server: addr, Op: command, Err: err}
	var unknown x509.UnknownAuthorityError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var handshake *handshakeError
	switch text := err.Error(); {
	case errors.As(err, &unknown) || errors.As(err, &verify):
		e.Op, e.Hint = "tls", "the server's certificate is not trusted: name its CA with --tls-ca, or the name it is issued for with --tls-server-name"
	case errors.As(err, &record):
		e.Op, e.Hint = "tls", "the server does not speak TLS here: use redis:// or its TLS port"
	case errors.As(err, &handshake):
		e.Op, e.Hint = "tls", "no TLS handshake came about: if the server does not speak TLS on this port, use redis:// or its TLS port"
	case strings.Contains(text, "tls: certificate required"), strings.Contains(text, "tls: bad certificate"):
		// TLS 1.3 tells after the handshake, and a reset may come before it.
		e.Hint = "the server wants a client certificate that it trusts: --tls-cert and --tls-key"
	case strings.Contains(text, "dial unix") && strings.Contains(text, "no such file or directory"):
		e.Op, e.Hint = "dial", "there is no such socket: check the path, and that the server runs (its setting unixsocket)"
	case strings.Contains(text, "connection reset by peer"), errors.Is(err, io.EOF):
		e.Hint = "the server closed the connection: if it speaks TLS on this port, use rediss://, and the client certificate that it may want (--tls-cert, --tls-key); it may also be shutting down, or refuse this address (protected-mode, maxclients)"
	case strings.Contains(text, "connection refused"):
		e.Op, e.Hint = "dial", "nothing listens there: check host and port, and that the server runs"
	case strings.Contains(text, "no such host"):
		e.Op, e.Hint = "dial", "the host name is not known: check it"
	case strings.Contains(text, "i/o timeout") || strings.Contains(text, "deadline exceeded"):
		e.Hint = "no answer in time: check host, port and firewall"
	case strings.Contains(text, "can't parse") || strings.Contains(text, "invalid reply"):
		e.Hint = "what listens there is not a Redis or Valkey server"
	}
	return e
}
