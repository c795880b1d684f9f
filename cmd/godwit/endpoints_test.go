package main

import (
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/server"
)

func TestEndpoint(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"GODWIT_FROM_PASSWORD=of the environment"}
	for name, test := range map[string]struct {
		options endpointOptions
		shared  server.TLS
		env     []string
		want    server.Endpoint
	}{
		"a bare address": {
			endpointOptions{url: "h:7000"}, server.TLS{}, nil,
			server.Endpoint{Network: "tcp", Address: "h:7000"},
		},
		"the password of the environment": {
			endpointOptions{url: "redis://u@h"}, server.TLS{}, env,
			server.Endpoint{Network: "tcp", Address: "h:6379", Username: "u", Password: "of the environment"},
		},
		"the URL before the environment": {
			endpointOptions{url: "redis://u:own@h"}, server.TLS{}, env,
			server.Endpoint{Network: "tcp", Address: "h:6379", Username: "u", Password: "own"},
		},
		"the file before the environment": {
			endpointOptions{url: "redis://h", passwordFile: file}, server.TLS{}, env,
			server.Endpoint{Network: "tcp", Address: "h:6379", Password: "of the file"},
		},
		"TLS of both": {
			endpointOptions{url: "rediss://h"}, server.TLS{CAFile: "ca", CertFile: "c", KeyFile: "k", ServerName: "n"}, nil,
			server.Endpoint{Network: "tcp", Address: "h:6379", TLS: server.TLS{Enabled: true, CAFile: "ca", CertFile: "c", KeyFile: "k", ServerName: "n"}},
		},
		"TLS of its own before that of both": {
			endpointOptions{url: "rediss://h", tls: server.TLS{CAFile: "own", CertFile: "oc", KeyFile: "ok"}}, server.TLS{CAFile: "ca", CertFile: "c", KeyFile: "k", ServerName: "n"}, nil,
			server.Endpoint{Network: "tcp", Address: "h:6379", TLS: server.TLS{Enabled: true, CAFile: "own", CertFile: "oc", KeyFile: "ok", ServerName: "n"}},
		},
		"TLS of both is not for a plain server": {
			endpointOptions{url: "redis://h"}, server.TLS{CAFile: "ca"}, nil,
			server.Endpoint{Network: "tcp", Address: "h:6379"},
		},
	} {
		test.options.end = "from"
		o := endpointsOptions{from: test.options, tls: test.shared}
		got, err := o.endpoint(&o.from, streams{env: environment(test.env...)})
		if err != nil || got != test.want || got.Password != test.want.Password {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestDefaultStateDir(t *testing.T) {
	for want, env := range map[string][]string{
		"/state/godwit":               {"XDG_STATE_HOME=/state", "HOME=/home/u"},
		"/home/u/.local/state/godwit": {"XDG_STATE_HOME=relative", "HOME=/home/u"},
		"/home/v/.local/state/godwit": {"HOME=/home/v"},
		"":                            nil,
	} {
		if got := defaultStateDir(streams{env: environment(env...)}); got != want {
			t.Errorf("%v: %q, want %q", env, got, want)
		}
	}
}
