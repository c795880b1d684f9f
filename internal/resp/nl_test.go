package resp_test
import ("testing";"time";"godwit/internal/sandbox";"godwit/internal/sandbox/sandboxtest")
func TestNL(t *testing.T){ for _,name:=range []string{"redis-6.0","redis-7.0","redis-8.0","redis-8.6","valkey-8.1","valkey-9.1"}{
 s:=sandboxtest.Start(t,name,sandbox.Options{}); c:=sandboxtest.Client(t,s); p:=primaryFor(t,s,c,1000)
 p.Write([]byte("*1\r\n$4\r\nPING\r\n\n\n\n")); time.Sleep(300*time.Millisecond); i,_:=c.Info(t.Context(),"replication"); t.Log(name,i["slave_repl_offset"], "want 1017")
}}
