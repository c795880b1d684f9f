package apply

// fileScript is applyScript for the commands of a file. Three things are otherwise. The
// commands are run each in its own db. The checkpoint is written as a whole each time: a
// FLUSHALL has deleted it. And it tells nothing of how sound the shard is: nothing expires
// while a file is loaded.
const fileScript = `
if redis.replicate_commands then redis.replicate_commands() end
local key, owner, base, more = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local was = redis.call('HMGET', key, 'owner', 'at', 'more')
if was[1] ~= owner or was[2] ~= ARGV[3] or was[3] ~= ARGV[4] then
  return {0, 0, 'GODWIT-ELSEWHERE ' .. tostring(was[1]) .. ' ' .. tostring(was[2]) .. ' ' .. tostring(was[3])}
end
local i, last, done, at, db, failed = 6, #ARGV, 0, 0, 0, nil
while i < last do
  local n, size = tonumber(ARGV[i]), tonumber(ARGV[i+1])
  local args = n % 65536
  if args > 0 then
    if (n - args) / 65536 ~= db then
      local r = redis.pcall('SELECT', string.format('%.0f', (n - args) / 65536))
      if type(r) == 'table' and r.err then failed = r.err break end
      db = (n - args) / 65536
    end
    local r = redis.pcall(unpack(ARGV, i+2, i+1+args))
    if type(r) == 'table' and r.err then failed = r.err break end
  end
  done = done + 1
  if size > 0 then at, more = at + size, 0 elseif size == 0 then more = more + 1 end
  i = i + 2 + args
end
if db ~= 0 then redis.call('SELECT', '0') end
if done > 0 then
  redis.call('HSET', key, 'owner', owner, 'at', string.format('%.0f', base + at), 'more', string.format('%.0f', more))
end
return {done, 0, failed or ''}
`

// settleScript puts the times of keys right that were put off, see file_times.go.
//
// ARGV: the checkpoint's key, and its owner, empty if there need not be one; the distance, and the time up to which times may
// be ones that were put off; the db; what the server knows of
// times, see knowsTimes; the keys.
//
// Redis before 7.0 does not tell when a key expires, only in how many milliseconds from
// now: it is asked between two looks at the clock that show the same.
const settleScript = `
if redis.replicate_commands then redis.replicate_commands() end
if ARGV[2] ~= '' and redis.call('HGET', ARGV[1], 'owner') ~= ARGV[2] then return redis.error_reply('GODWIT-ELSEWHERE') end
local off, to = tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[5] ~= '0' then redis.call('SELECT', ARGV[5]) end
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function expires(key)
  if ARGV[6] ~= 'old' then return redis.call('PEXPIRETIME', key) end
  while true do
    local before = now()
    local ttl = redis.call('PTTL', key)
    if ttl < 0 then return ttl end
    if now() == before then return before + ttl end
  end
end
local function fields(key)
  local names = redis.call('HKEYS', key)
  for from = 1, #names, 1000 do
    local some = {unpack(names, from, math.min(from + 999, #names))}
    local times = redis.call('HPEXPIRETIME', key, 'FIELDS', #some, unpack(some))
    for i, name in ipairs(some) do
      if times and times[i] >= off and times[i] < to then
        redis.call('HPEXPIREAT', key, string.format('%.0f', times[i] - off), 'FIELDS', 1, name)
      end
    end
  end
end
for i = 7, #ARGV do
  local at = expires(ARGV[i])
  if ARGV[6] == 'fields' and redis.call('TYPE', ARGV[i]).ok == 'hash' then fields(ARGV[i]) end
  if at >= off and at < to then redis.call('PEXPIREAT', ARGV[i], string.format('%.0f', at - off)) end
end
if ARGV[5] ~= '0' then redis.call('SELECT', '0') end
return 'OK'
`

// unlinkScript deletes keys of any slots. ARGV: the db, and the keys.
const unlinkScript = `
if redis.replicate_commands then redis.replicate_commands() end
if ARGV[1] ~= '0' then redis.call('SELECT', ARGV[1]) end
for i = 2, #ARGV do redis.call('UNLINK', ARGV[i]) end
if ARGV[1] ~= '0' then redis.call('SELECT', '0') end
return 'OK'
`
