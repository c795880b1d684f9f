package apply

import (
	"testing"

	"go.uber.org/goleak"

	"godwit/internal/server"
)

func TestMain(m *testing.M) {
	server.Quiet()
	goleak.VerifyTestMain(m)
}
