package command

// Scripts for what takes several commands, or depends on the data. A replica runs
// them for its primary as it runs any other command: atomically, whatever the
// memory, and with the primary's permissions. They run on Lua 5.1, on servers from
// 6.0 on, and pass lists to a command only as long as unpack can take them.
const (
	// KEYS: source, destination. ARGV: db of the destination, db of the source.
	// Before 7.0 a server tells only how long a key has left; within one
	// millisecond that is as good as when it ends. replicate_commands is for those
	// with lua-replicate-commands off, which let nothing be written after TIME.
	scriptCopy = `redis.replicate_commands()
local v = redis.call('DUMP', KEYS[1])
if not v then return end
local function now() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local at, left
repeat at = now() left = redis.call('PTTL', KEYS[1]) until at == now()
redis.call('SELECT', ARGV[1])
redis.call('RESTORE', KEYS[2], left < 0 and 0 or at + left, v, 'REPLACE', 'ABSTTL')
redis.call('SELECT', ARGV[2])`

	// KEYS: source, destination. ARGV: LPOP or RPOP, LPUSH or RPUSH. A list of one
	// element that is moved onto itself must not go in between, with its TTL.
	scriptMove = `if KEYS[1] == KEYS[2] and redis.call('LLEN', KEYS[1]) == 1 then return end
local v = redis.call(ARGV[1], KEYS[1])
if v then redis.call(ARGV[2], KEYS[2], v) end`

	// KEYS: key. ARGV: GT or LT, XX or nothing, score, member, ….
	scriptAddScores = `for i = 3, #ARGV, 2 do
  local old, new = redis.call('ZSCORE', KEYS[1], ARGV[i + 1]), tonumber(ARGV[i])
  local set = ARGV[2] == ''
  if old then
    old = tonumber(old)
    if ARGV[1] == 'GT' then set = new > old else set = new < old end
  end
  if set then redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1]) end
end`

	// KEYS: destination, first, others to subtract; sorted sets or sets.
	scriptSubtract = `local function read(key, each)
  local typ = redis.call('TYPE', key).ok
  if typ == 'set' then
    for _, m in ipairs(redis.call('SMEMBERS', key)) do each(m, '1') end
  elseif typ == 'zset' then
    local v = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #v, 2 do each(v[i], v[i + 1]) end
  end
end
local gone, left = {}, {}
for i = 3, #KEYS do read(KEYS[i], function(m) gone[m] = true end) end
read(KEYS[2], function(m, s) if not gone[m] then left[m] = s end end)
redis.call('DEL', KEYS[1])
for m, s in pairs(left) do redis.call('ZADD', KEYS[1], s, m) end`

	// KEYS: destination, source. ARGV: command that reads, its arguments.
	scriptStoreRange = `local members = redis.call(ARGV[1], KEYS[2], unpack(ARGV, 2))
local scores = {}
for i, m in ipairs(members) do scores[i] = redis.call('ZSCORE', KEYS[2], m) end
redis.call('DEL', KEYS[1])
for i, m in ipairs(members) do redis.call('ZADD', KEYS[1], scores[i], m) end`

	// KEYS: key. ARGV: field, value, ….
	scriptSetFields = `for i = 1, #ARGV, 2 do
  local at = redis.call('HPEXPIRETIME', KEYS[1], 'FIELDS', 1, ARGV[i])
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  if at and at[1] and at[1] > 0 then redis.call('HPEXPIREAT', KEYS[1], at[1], 'FIELDS', 1, ARGV[i]) end
end`

	// KEYS: key. ARGV: what follows XCLAIM key.
	scriptClaim = `redis.call('XCLAIM', KEYS[1], unpack(ARGV))
if #redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4]) == 0 then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])
end`

	// before compares IDs. Their parts have 64 bits, more than a number of Lua.
	// referenced tells whether a group has an entry pending, or has yet to get it.
	scriptStream = `local function before(a, b)
  local function less(x, y) if #x ~= #y then return #x < #y end return x < y end
  local am, as = a:match('^(%d+)-(%d+)$')
  local bm, bs = b:match('^(%d+)-(%d+)$')
  return am == bm and less(as, bs) or am ~= bm and less(am, bm)
end
local groups = {}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local g = {}
    for i = 1, #info, 2 do g[info[i]] = info[i + 1] end
    groups[#groups + 1] = g
  end
end
local function referenced(id)
  for _, g in ipairs(groups) do
    if before(g['last-delivered-id'], id) or #redis.call('XPENDING', KEYS[1], g.name, id, id, 1) > 0 then return true end
  end
  return false
end
local function acknowledge(id)
  for _, g in ipairs(groups) do redis.call('XACK', KEYS[1], g.name, id) end
end
`

	// KEYS: key. ARGV: MAXLEN or MINID, threshold, KEEPREF, DELREF, ACKED or nothing.
	// The oldest entries go by XTRIM, which leaves what XINFO STREAM calls
	// max-deleted-entry-id as it is. Those that ACKED lets go after one that stays
	// take XDEL, after which that ID is put back, unless there was none.
	scriptTrim = scriptStream + `local left, min = math.huge, ARGV[2]
if ARGV[1] == 'MAXLEN' then left = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[2])
elseif not min:find('-', 1, true) then min = min .. '-0' end
local from, seen, oldest, others, stays = '-', 1, {}, {}, false
while left > 0 and seen > 0 do
  seen = 0
  for _, e in ipairs(redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 100)) do
    if left <= 0 or ARGV[1] == 'MINID' and not before(e[1], min) then left = 0 break end
    if e[1] ~= from then
      seen = seen + 1
      if ARGV[3] == 'ACKED' and referenced(e[1]) then stays = true
      else
        left = left - 1
        local list = stays and others or oldest
        list[#list + 1] = e[1]
      end
    end
    from = e[1]
  end
end
if #oldest > 0 then redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', redis.call('XLEN', KEYS[1]) - #oldest) end
if ARGV[3] == 'DELREF' then for _, id in ipairs(oldest) do acknowledge(id) end end
if #others == 0 then return end
local was, info = {}, redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do was[info[i]] = info[i + 1] end
for _, id in ipairs(others) do redis.call('XDEL', KEYS[1], id) end
local deleted = was['max-deleted-entry-id']
if deleted and deleted ~= '0-0' then
  redis.call('XSETID', KEYS[1], was['last-generated-id'], 'ENTRIESADDED', was['entries-added'], 'MAXDELETEDID', deleted)
end`

	// KEYS: key. ARGV: group to acknowledge in or nothing, KEEPREF, DELREF or ACKED, ID, ….
	scriptDelete = scriptStream + `for i = 3, #ARGV do
  local id = ARGV[i]
  if ARGV[1] == '' or redis.call('XACK', KEYS[1], ARGV[1], id) == 1 then
    if ARGV[2] ~= 'ACKED' or not referenced(id) then redis.call('XDEL', KEYS[1], id) end
    if ARGV[2] == 'DELREF' then acknowledge(id) end
  end
end`
)
