package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// DefaultPort is where a server listens when a URL names no port.
const DefaultPort = "6379"

// Endpoint is where one server is reached and as whom.
// Its String never holds the password.
type Endpoint struct {
	Network  string // "tcp" or "unix"
	Address  string // host:port, or the path of a Unix socket
	Username string // ACL user, empty for the default user
	Password string
	DB       int
	Master   string // name of a Sentinel master, empty when the URL names none
	TLS      TLS
}

// TLS says whether and how a connection is encrypted. Certificates are always
// verified, against the system's roots unless CAFile is given.
type TLS struct {
	Enabled    bool
	CAFile     string // PEM bundle that signs the server's certificate
	CertFile   string // PEM client certificate, with KeyFile
	KeyFile    string
	ServerName string // SNI and the name that is verified; the URL's host when empty
}

// ParseEndpoint reads a URL of the form
// redis://user:password@host:port/db?master=NAME, rediss:// for TLS or
// unix://user:password@/path/to/socket?db=N. A bare host:port is accepted too.
func ParseEndpoint(raw string) (Endpoint, error) {
	if raw == "" {
		return Endpoint{}, fmt.Errorf("empty URL: expected redis://host:port")
	}
	if !strings.Contains(raw, "://") {
		raw = "redis://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error repeats the whole URL, password included.
		return Endpoint{}, fmt.Errorf("%s: not a URL of the form redis://user:password@host:port/db", Redact(raw))
	}
	e := Endpoint{Network: "tcp"}
	if u.User != nil {
		e.Username = u.User.Username()
		e.Password, _ = u.User.Password()
	}
	query := u.Query()
	db := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "redis", "valkey":
	case "rediss", "valkeys":
		e.TLS.Enabled = true
	case "unix":
		e.Network, e.Address = "unix", u.Path
		db = query.Get("db")
		query.Del("db")
		if e.Address == "" {
			return Endpoint{}, fmt.Errorf("%s: a unix:// URL needs the path of a socket", Redact(raw))
		}
	default:
		return Endpoint{}, fmt.Errorf("%s: unknown scheme %q: expected redis://, rediss:// or unix://", Redact(raw), u.Scheme)
	}
	if e.Network == "tcp" {
		host, port := u.Hostname(), u.Port()
		if host == "" {
			host = "127.0.0.1"
		}
		if port == "" {
			port = DefaultPort
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return Endpoint{}, fmt.Errorf("%s: port %s is not between 1 and 65535", Redact(raw), port)
		}
		e.Address = net.JoinHostPort(host, port)
	}
	if db != "" {
		n, err := strconv.Atoi(db)
		if err != nil || n < 0 {
			return Endpoint{}, fmt.Errorf("%s: db %q is not a number", Redact(raw), db)
		}
		e.DB = n
	}
	e.Master = query.Get("master")
	query.Del("master")
	for name := range query {
		return Endpoint{}, fmt.Errorf("%s: unknown parameter %q: expected master", Redact(raw), name)
	}
	return e, nil
}

// Redact replaces the password of a URL, well-formed or not, by ***.
func Redact(raw string) string {
	scheme, rest, found := strings.Cut(raw, "://")
	if !found {
		scheme, rest = "", raw
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return raw
	}
	user, _, hasPassword := strings.Cut(rest[:at], ":")
	if hasPassword {
		user += ":***"
	}
	if found {
		scheme += "://"
	}
	return scheme + user + rest[at:]
}

// String is the URL without its password.
func (e Endpoint) String() string {
	scheme := "redis://"
	switch {
	case e.Network == "unix":
		scheme = "unix://"
	case e.TLS.Enabled:
		scheme = "rediss://"
	}
	var b strings.Builder
	b.WriteString(scheme)
	if e.Username != "" {
		b.WriteString(e.Username + "@")
	}
	b.WriteString(e.Address)
	if e.DB != 0 {
		if e.Network == "unix" {
			fmt.Fprintf(&b, "?db=%d", e.DB)
		} else {
			fmt.Fprintf(&b, "/%d", e.DB)
		}
	}
	if e.Master != "" {
		b.WriteString("?master=" + e.Master)
	}
	return b.String()
}

// GoString keeps the password out of %#v.
func (e Endpoint) GoString() string { return e.String() }

// Host is the host of a TCP endpoint, empty for a Unix socket.
func (e Endpoint) Host() string {
	if e.Network != "tcp" {
		return ""
	}
	host, _, err := net.SplitHostPort(e.Address)
	if err != nil {
		return ""
	}
	return host
}

// Port is the port of a TCP endpoint, 0 for a Unix socket.
func (e Endpoint) Port() int {
	if e.Network != "tcp" {
		return 0
	}
	_, port, err := net.SplitHostPort(e.Address)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// config builds the client side of TLS, nil when it is off.
func (t TLS) config(host string) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s holds no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
