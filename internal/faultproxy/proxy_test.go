package faultproxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/faultproxy"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup gives a proxy, and both ends of one connection through it.
func setup(t *testing.T) (p *faultproxy.Proxy, client, target net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err = faultproxy.New(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client, err = net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	target, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		target.Close()
		l.Close()
		p.Close()
	})
	return p, client, target
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v, want %q", got[:n], err, text)
	}
}

func expectNothing(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v, want nothing", n, err)
	}
}

func expectEnd(t *testing.T, conn net.Conn, want error) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("read %d bytes, %v, want %v", n, err, want)
	}
}

func TestPassesBothWays(t *testing.T) {
	p, client, target := setup(t)
	send(t, client, "hello")
	expect(t, target, "hello")
	send(t, target, "hi")
	expect(t, client, "hi")
	if a, b := p.Bytes(faultproxy.ToTarget), p.Bytes(faultproxy.ToClient); a != 5 || b != 2 {
		t.Errorf("%d bytes to the target, %d to the client", a, b)
	}
	if p.Open() != 1 || p.Accepted() != 1 {
		t.Errorf("%d open of %d", p.Open(), p.Accepted())
	}
}

func TestHalfCloseLeavesTheOtherDirection(t *testing.T) {
	_, client, target := setup(t)
	send(t, client, "last words")
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	expect(t, target, "last words")
	expectEnd(t, target, io.EOF)
	send(t, target, "answer")
	expect(t, client, "answer")
}

func TestStallHoldsOneDirectionUntilHealed(t *testing.T) {
	p, client, target := setup(t)
	p.Stall(faultproxy.ToTarget)
	send(t, client, "held")
	send(t, target, "through")
	expect(t, client, "through")
	expectNothing(t, target)
	p.Heal()
	expect(t, target, "held")
}

func TestStalledSenderFillsItsBuffers(t *testing.T) {
	p, client, _ := setup(t)
	p.Stall(faultproxy.ToTarget)
	if err := client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("64 MiB into a stalled connection: %v", err)
	}
}

func TestSwallowDiscardsInSilence(t *testing.T) {
	p, client, target := setup(t)
	p.Swallow(faultproxy.ToTarget)
	data := make([]byte, 16<<20) // more than buffers hold
	if _, err := client.Write(data); err != nil {
		t.Fatal(err)
	}
	for p.Swallowed(faultproxy.ToTarget) < int64(len(data)) {
		time.Sleep(time.Millisecond)
	}
	expectNothing(t, target)
	p.Heal()
	send(t, client, "again")
	expect(t, target, "again")
}

func TestCutAfterIsExact(t *testing.T) {
	for _, n := range []int64{0, 1, 5, 70_000} {
		p, client, target := setup(t)
		send(t, client, "before")
		expect(t, target, "before")
		p.CutAfter(faultproxy.ToTarget, n)
		data := bytes.Repeat([]byte("0123456789"), 10_000)
		if _, err := client.Write(data); err != nil && !isGone(err) {
			t.Fatal(err)
		}
		got, err := io.ReadAll(target)
		if err != nil || !bytes.Equal(got, data[:n]) {
			t.Errorf("cut after %d: %d bytes, %v", n, len(got), err)
		}
	}
}

func isGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

func TestSlow(t *testing.T) {
	p, client, target := setup(t)
	p.Slow(faultproxy.ToClient, 10_000)
	begin := time.Now()
	send(t, target, string(make([]byte, 3000)))
	expect(t, client, string(make([]byte, 3000)))
	if took := time.Since(begin); took < 200*time.Millisecond || took > 10*time.Second {
		t.Errorf("3000 bytes at 10000 a second took %v", took)
	}
	send(t, target, string(make([]byte, 1<<20)))
	p.Heal() // at once, not when the slow megabyte would be through
	expect(t, client, string(make([]byte, 1<<20)))
}

func TestReset(t *testing.T) {
	p, client, target := setup(t)
	p.Reset()
	expectEnd(t, client, syscall.ECONNRESET)
	expectEnd(t, target, syscall.ECONNRESET)
}

func TestPeersResetIsPassedOn(t *testing.T) {
	_, client, target := setup(t)
	if err := target.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	target.Close()
	expectEnd(t, client, syscall.ECONNRESET)
}

func TestCloseAll(t *testing.T) {
	p, client, target := setup(t)
	p.CloseAll()
	expectEnd(t, client, io.EOF)
	expectEnd(t, target, io.EOF)
	for p.Open() > 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestRefuse(t *testing.T) {
	p, client, target := setup(t)
	p.Refuse()
	send(t, client, "still open")
	expect(t, target, "still open")
	expectRefusal(t, p)
	p.Heal()
	if p.Accepted() != 1 {
		t.Errorf("%d accepted", p.Accepted())
	}
}

func TestContextEndsTheProxy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := faultproxy.New(ctx, "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for {
		conn, err := net.Dial("tcp", p.Address())
		if err != nil {
			break
		}
		conn.Close()
	}
	p.Close()
	p.Close() // twice is harmless
}

func TestTargetThatIsNotThere(t *testing.T) {
	p, err := faultproxy.New(t.Context(), "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	expectRefusal(t, p)
}

// expectRefusal finds a new connection reset, before or after it is there.
func expectRefusal(t *testing.T, p *faultproxy.Proxy) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	expectEnd(t, conn, syscall.ECONNRESET)
}

// A replica behind the proxy loses its link at a byte in the middle of the
// snapshot, and has all of it once the proxy is healed.
func TestReplicationThroughTheProxy(t *testing.T) {
	primary := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	replica := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	p, err := faultproxy.New(t.Context(), primary.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	do(t, sandboxtest.Client(t, primary), "SET", "key", string(make([]byte, 1<<20)))
	p.CutAfter(faultproxy.ToClient, 10_000)
	client := sandboxtest.Client(t, replica)
	_, port, err := net.SplitHostPort(p.Address())
	if err != nil {
		t.Fatal(err)
	}
	do(t, client, "REPLICAOF", "127.0.0.1", port)
	for p.Bytes(faultproxy.ToClient) < 10_000 {
		time.Sleep(time.Millisecond)
	}
	if n, err := client.Do(t.Context(), "EXISTS", "key"); err != nil || n != int64(0) {
		t.Errorf("EXISTS: %v, %v", n, err)
	}
	p.Heal()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		info, err := client.Info(t.Context(), "replication")
		if err != nil {
			t.Fatal(err)
		}
		if info["master_link_status"] == "up" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no link after the heal: %v", info)
		}
	}
	if n, err := client.Do(t.Context(), "STRLEN", "key"); err != nil || n != int64(1<<20) {
		t.Errorf("STRLEN: %v, %v", n, err)
	}
}

func do(t *testing.T, c *server.Client, args ...any) {
	t.Helper()
	if _, err := c.Do(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}
