package topology_test

import (
	"fmt"
	"slices"
	"testing"

	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
)

func survey(t *testing.T, e server.Endpoint) topology.Survey {
	t.Helper()
	s, err := topology.TakeSurvey(t.Context(), inspect(t, e), topology.SurveyOptions{VectorSets: true, Producers: true, Libraries: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSurvey(t *testing.T) {
	s := sandboxtest.Start(t, "redis-8.6", sandbox.Options{})
	c := sandboxtest.Client(t, s)
	for i := range 3000 {
		do(t, c, "SET", fmt.Sprint("key:", i), i)
	}
	do(t, c, "XADD", "plain", "*", "a", "b")
	if got := survey(t, s.Endpoint()); len(got.Samples) != 2 || !got.Samples[rdb.FeatureVectorSet].Whole || !got.Samples[rdb.FeatureStreamIDMP].Whole ||
		got.Samples[rdb.FeatureVectorSet].Found+got.Samples[rdb.FeatureStreamIDMP].Found > 0 || got.Calls["VADD"] > 0 {
		t.Errorf("of a server without any: %+v", got)
	}
	do(t, c, "XADD", "idempotent", "IDMP", "producer", "1", "*", "a", "b")
	do(t, c, "HSET", "h", "f", "v")
	do(t, c, "HEXPIRE", "h", 1000, "FIELDS", 1, "f")
	do(t, c, "XGROUP", "CREATE", "plain", "g", "$")
	do(t, c, "FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('f', function() return 1 end)")
	if _, err := c.Transaction(t.Context(), []any{"SELECT", 5}, []any{"VADD", "similar", "VALUES", 1, 1, "a"}, []any{"SELECT", 0}); err != nil {
		t.Fatal(err)
	}
	got := survey(t, s.Endpoint())
	if want := (topology.Sample{Found: 1, DB: 5, Key: "similar", Whole: true}); got.Samples[rdb.FeatureVectorSet] != want {
		t.Errorf("vector sets %+v", got.Samples[rdb.FeatureVectorSet])
	}
	if want := (topology.Sample{Found: 1, Key: "idempotent", Whole: true}); got.Samples[rdb.FeatureStreamIDMP] != want {
		t.Errorf("streams with producers %+v", got.Samples[rdb.FeatureStreamIDMP])
	}
	for command, n := range map[string]int64{"HEXPIRE": 1, "XGROUP|CREATE": 1, "VADD": 1, "FUNCTION|LOAD": 1, "SET": 3000} {
		if got.Calls[command] != n {
			t.Errorf("%s was called %d times, want %d", command, got.Calls[command], n)
		}
	}
	if want := []topology.Library{{Name: "mine", Engine: "LUA"}}; !slices.Equal(got.Libraries, want) {
		t.Errorf("libraries %+v", got.Libraries)
	}
}

func TestSurveyOfFunctionsThatCallTheServer(t *testing.T) {
	s := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	do(t, sandboxtest.Client(t, s), "FUNCTION", "LOAD", "#!lua name=theirs\nserver.register_function('f', function() return server.call('PING') end)")
	if got := survey(t, s.Endpoint()).Libraries; !slices.Equal(got, []topology.Library{{Name: "theirs", Engine: "LUA", Server: true}}) {
		t.Errorf("libraries %+v", got)
	}
}

// What may not be asked stays unknown, and nothing is changed by asking.
func TestSurveyOfARestrictedUser(t *testing.T) {
	s := sandboxtest.Start(t, "redis-8.6", sandbox.Options{})
	c := sandboxtest.Client(t, s)
	do(t, c, "VADD", "similar", "VALUES", 1, 1, "a")
	do(t, c, "XADD", "idempotent", "IDMP", "producer", "1", "*", "a", "b")
	do(t, c, "FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('f', function() return 1 end)")
	do(t, c, "ACL", "SETUSER", "mover", "on", ">secret", "+psync", "+replconf", "+ping", "+info")
	if got := survey(t, as(s, "mover", "secret")); len(got.Samples) > 0 || got.Libraries != nil || got.Calls["VADD"] != 1 {
		t.Errorf("without SCAN and FUNCTION LIST: %+v", got)
	}
	do(t, c, "ACL", "SETUSER", "mover", "+scan", "+select", "~other:*")
	got := survey(t, as(s, "mover", "secret"))
	if _, known := got.Samples[rdb.FeatureStreamIDMP]; known || got.Samples[rdb.FeatureVectorSet].Found != 1 {
		t.Errorf("without XINFO: %+v", got)
	}
}

// A scan of many keys ends in time, and says that it did not see all.
func TestSurveyIsBounded(t *testing.T) {
	s := sandboxtest.Start(t, "redis-8.0", sandbox.Options{Args: []string{"--enable-debug-command yes"}})
	for i := range 10 { // a busy machine takes longer for all of them than a client waits for a reply
		do(t, sandboxtest.Client(t, s), "DEBUG", "POPULATE", 200_000, fmt.Sprint("key", i), 1)
	}
	got, known := survey(t, s.Endpoint()).Samples[rdb.FeatureVectorSet]
	if !known || got.Whole || got.Found > 0 {
		t.Errorf("%+v, %v", got, known)
	}
}
