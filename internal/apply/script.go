package apply

import (
	"crypto/sha1" //nolint:gosec // EVALSHA names scripts by it
	"encoding/hex"
)

// applyScript carries a batch out. It stops at the first command that fails, and
// notes how far it came.
//
// ARGV: the checkpoint's key; who is to own it; the place where it must stand: an
// offset of the source and how many parts of the next command; up to where the shard
// is sound, which is only noted; then for each
// command how many arguments it has, plus 65536 for each db before the one that is
// selected at the source; how many bytes of the source's stream end with it (0 if more
// is to come of the command that the source sent, -1 if this one does not count); and
// its arguments. A SELECT that does not count is of the target's dbs: the checkpoint is
// in db 0.
//
// It returns how many commands were carried out, the shard's time, in milliseconds
// since 1970, and what the next command was answered if that was an error. A
// checkpoint that stands elsewhere means that this batch was carried out already,
// or must not be: nothing is done then.
//
// Redis 6.0 would have its replica run the script anew, where keys do not expire by
// themselves: it is told to replicate the commands, as later ones do anyhow.
//
// It declares no keys: in a cluster these would have to be of one slot. A script
// without a shebang may touch any that the node serves (script.c scriptPrepareForRun
// SCRIPT_ALLOW_CROSS_SLOT; scripting.c of 6.0 asks getNodeByQuery for each command).
const applyScript = `
if redis.replicate_commands then redis.replicate_commands() end
local key, owner, base, more = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local was = redis.call('HMGET', key, 'owner', 'at', 'more', 'db')
if was[1] ~= owner or was[2] ~= ARGV[3] or was[3] ~= ARGV[4] then
  return {0, 0, 'GODWIT-ELSEWHERE ' .. tostring(was[1]) .. ' ' .. tostring(was[2]) .. ' ' .. tostring(was[3])}
end
local i, last, done, at, db, failed, away = 6, #ARGV, 0, 0, was[4] or 0, nil, false
while i < last do
  local n, size = tonumber(ARGV[i]), tonumber(ARGV[i+1])
  local args = n % 65536
  if args > 0 then
    local r = redis.pcall(unpack(ARGV, i+2, i+1+args))
    if type(r) == 'table' and r.err then failed = r.err break end
  end
  done = done + 1
  if size > 0 then at, more, db = at + size, 0, (n - args) / 65536
  elseif size == 0 then more = more + 1
  elseif ARGV[i+2] == 'SELECT' then away = true end
  i = i + 2 + args
end
if away then redis.call('SELECT', '0') end
if done > 0 then
  redis.call('HSET', key, 'at', string.format('%.0f', base + at), 'more', string.format('%.0f', more), 'db', string.format('%.0f', db), 'safe', ARGV[5])
end
local now = redis.call('TIME')
return {done, now[1] * 1000 + math.floor(now[2] / 1000), failed or ''}
`

// batchHead is how many arguments of the call come before those of commands.
const batchHead = 8

// scriptSHA is the name of a script (eval.c sha1hex).
func scriptSHA(script string) string {
	sum := sha1.Sum([]byte(script)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
