package apply

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/server"
)

func TestMain(m *testing.M) {
	server.Quiet()
	goleak.VerifyTestMain(patient{m})
}

// patient gives go-redis the second for which it sleeps between attempts to reach a dead
// server, before it sees that its pool was closed (pool.go tryDial).
type patient struct{ *testing.M }

func (p patient) Run() int {
	code := p.M.Run()
	for range 15 {
		if goleak.Find() == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return code
}
