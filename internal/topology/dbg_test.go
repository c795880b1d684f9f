package topology_test
import ("testing";"fmt";"godwit/internal/sandbox";"godwit/internal/sandbox/sandboxtest";"godwit/internal/server";"godwit/internal/topology")
func TestDbg(t *testing.T){
 for _, n := range []string{"redis-6.0","redis-7.0","valkey-8.1"} {
 s := sandboxtest.Start(t, n, sandbox.Options{})
 do(t, sandboxtest.Client(t,s), "ACL","SETUSER","m","on",">p","~*","+info","+ping")
 e := s.Endpoint(); e.Username,e.Password="m","p"
 c,err := server.Dial(t.Context(), e, "godwit:x"); fmt.Println(err)
 if err!=nil {continue}
 _,err = topology.Inspect(t.Context(),c); fmt.Println(err); c.Close()
 }
}
