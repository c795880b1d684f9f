package relay_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/psync"
	"godwit/internal/relay"
	"godwit/internal/resp"
	"godwit/internal/server"
)

// door is a listener whose peers come to served.
type door struct {
	address string
	served  chan *psync.Peer
	mu      sync.Mutex
	heard   string
}

// hears waits until the user is told so: after the peer has been closed.
func (d *door) hears(t *testing.T, text string) {
	t.Helper()
	told := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		d.mu.Lock()
		told = d.heard
		d.mu.Unlock()
		if strings.Contains(told, text) {
			return
		}
	}
	t.Errorf("the user heard %q, and not %q", told, text)
}

func openDoor(t *testing.T, c relay.ListenerConfig) *door {
	t.Helper()
	d := &door{served: make(chan *psync.Peer, 10)}
	c.Address = "127.0.0.1:0"
	c.Serve = func(p *psync.Peer) { d.served <- p }
	c.Notify = func(_ slog.Level, text string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.heard += text + "\n"
	}
	l, err := relay.Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	d.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port()))
	run(t, func(ctx context.Context) {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return d
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask does what a replica does first, until it is answered or turned away.
func ask(conn net.Conn, password string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := psync.Attach(ctx, conn, psync.Hello{Password: password, ListeningPort: 1}, "?", psync.NoOffset, nil)
	return err
}

func onlySecret(_, password string) (string, bool) { return "target", psync.Equal(password, "secret") }

func TestListenerServesNoStranger(t *testing.T) {
	d := openDoor(t, relay.ListenerConfig{Authenticate: onlySecret, Allowed: loopback})
	for _, password := range []string{"", "wrong"} {
		err := ask(dial(t, d.address), password)
		var reply *server.Error
		if !errors.As(err, &reply) || reply.Code != "NOAUTH" && reply.Code != "WRONGPASS" {
			t.Errorf("with the password %q: %v", password, err)
		}
	}
	d.hears(t, "127.0.0.1 was turned away: wrong or missing credentials")
	answer := make(chan error, 1)
	go func() { answer <- ask(dial(t, d.address), "secret") }()
	p := <-d.served
	if p.Identity != "target" || p.ReplID != "?" {
		t.Errorf("%+v", p)
	}
	if err := p.Refuse("not now"); err != nil {
		t.Error(err)
	}
	if err := <-answer; err == nil || !strings.Contains(err.Error(), "not now") {
		t.Error(err)
	}
	p.Close()
	if len(d.served) > 0 {
		t.Error("a stranger was served")
	}
}

func TestListenerLooksAtTheAddress(t *testing.T) {
	d := openDoor(t, relay.ListenerConfig{
		Authenticate: anyone, Allowed: func(a netip.Addr) bool { return a == netip.MustParseAddr("10.1.2.3") },
	})
	if b, err := io.ReadAll(dial(t, d.address)); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q, %v", b, err)
	}
	d.hears(t, "its address is neither the source's nor the target's")
}

// A connection that says nothing does not hold up the end.
func TestListenerEndsWithSilentPeers(t *testing.T) {
	for _, certificate := range []*tls.Certificate{nil, selfSigned(t)} {
		l, err := relay.Listen(relay.ListenerConfig{
			Address: "127.0.0.1:0", Authenticate: anyone, Allowed: loopback, Certificate: certificate,
			Notify: func(slog.Level, string) {}, Serve: func(p *psync.Peer) { p.Close() },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port()))
		silent := dial(t, address)
		half := dial(t, address)
		if _, err := half.Write([]byte{22, 3}); err != nil { // half a ClientHello, or of a command
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		start := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > psync.HandshakeTimeout/2 {
			t.Errorf("ended after %v", d)
		}
		silent.Close()
	}
}

// With a certificate, servers that replicate over TLS are served, and those
// that do not.
func TestListenerTellsTLS(t *testing.T) {
	certificate := selfSigned(t)
	d := openDoor(t, relay.ListenerConfig{Authenticate: onlySecret, Allowed: loopback, Certificate: certificate})
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	for _, conn := range []net.Conn{
		dial(t, d.address),
		tls.Client(dial(t, d.address), &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}),
	} {
		answered := make(chan error, 1)
		go func() { answered <- ask(conn, "secret") }()
		p := <-d.served
		if err := p.Continue(strings.Repeat("a", 40)); err != nil {
			t.Error(err)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if _, err := conn.Write(resp.AppendCommand(nil, "REPLCONF", "ACK", "7")); err != nil {
			t.Error(err)
		}
		if n, err := p.ReadAck(); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if _, err := p.Write([]byte("stream\n")); err != nil {
			t.Error(err)
		}
		if line, err := bufio.NewReader(conn).ReadString('\n'); line != "stream\n" {
			t.Errorf("%q, %v", line, err)
		}
		p.Close()
	}
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := relay.Listen(relay.ListenerConfig{Address: taken.Addr().String()}); err == nil || !strings.Contains(err.Error(), "listener: ") {
		t.Error(err)
	}
	l, err := relay.Listen(relay.ListenerConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
