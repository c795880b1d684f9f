package command

import (
	"maps"

	"godwit/internal/rdb"
)

// rule is how a command is dealt with. The zero value lets it pass.
type rule struct {
	name string // in capitals

	rewrite func(*Rewriter) (Verdict, error) // nil: it passes, whatever its arguments

	// passes, if not nil, finds quickly that a command passes, and sees it from the
	// beginning of one that is too long to be held back. It changes nothing.
	passes func(r *Rewriter, args [][]byte, total int) bool

	unknown bool // to the target: it cannot pass
}

// newRules decides by name what is to be looked at. What the target knows passes,
// but for commands with options that the source may know and the target may not.
func (r *Rewriter) newRules() map[string]rule {
	rules := make(map[string]rule)
	known := make(map[string]bool)
	for _, name := range r.target.names() {
		rules[name], known[name] = rule{}, true
	}
	special := stateRules()
	if r.makesAbsolute() {
		maps.Copy(special, expiryRules())
	}
	if !Understands(&r.target, &r.source) {
		maps.Copy(special, optionRules())
	}
	maps.Copy(special, geoRules())
	if r.client {
		maps.Copy(special, primaryRules())
	}
	loads := r.target.loadsModules()
	for name := range r.source.ofModules() {
		if !known[name] || !loads {
			rules[name] = rule{rewrite: (*Rewriter).ofModule}
		}
	}
	for name, rule := range special {
		rule.unknown = !known[name]
		rules[name] = rule
	}
	for name, rule := range rules {
		rule.name = name
		rules[name] = rule
	}
	return rules
}

// makesAbsolute tells whether there are relative TTLs to be made absolute.
func (r *Rewriter) makesAbsolute() bool {
	return r.now != nil && SaysRelativeTTLs(r.source.Version)
}

// SaysRelativeTTLs tells whether a server propagates TTLs as its clients said them,
// so that they grow by the time a command is under way (propagateExpire and
// setGenericCommand have made them absolute from Redis 7.0 on).
func SaysRelativeTTLs(v Version) bool { return v.Product == rdb.Redis && !v.AtLeast(7, 0) }

// stateRules are for what the stream's state depends on, and for what depends on
// the target's dbs and modules.
func stateRules() map[string]rule {
	return map[string]rule{
		"MULTI":          {rewrite: (*Rewriter).beginTransaction},
		"EXEC":           {rewrite: (*Rewriter).endTransaction},
		"DISCARD":        {rewrite: (*Rewriter).endTransaction},
		"SELECT":         {rewrite: (*Rewriter).selectDB},
		"MOVE":           {rewrite: (*Rewriter).move},
		"SWAPDB":         {rewrite: (*Rewriter).swapDB},
		"COPY":           {rewrite: (*Rewriter).copyKey},
		"RESTORE":        {rewrite: (*Rewriter).restore},
		"RESTORE-ASKING": {rewrite: (*Rewriter).restore},
	}
}

// expiryRules are for what Redis before 7.0 propagates with relative TTLs.
func expiryRules() map[string]rule {
	return map[string]rule{
		"SET":     {rewrite: (*Rewriter).set, passes: setPasses},
		"SETEX":   {rewrite: (*Rewriter).setex},
		"PSETEX":  {rewrite: (*Rewriter).setex},
		"EXPIRE":  {rewrite: (*Rewriter).expire},
		"PEXPIRE": {rewrite: (*Rewriter).expire},
	}
}

// primaryRules are for what a primary may say and a client may not.
func primaryRules() map[string]rule {
	return map[string]rule{
		"XADD":  {rewrite: (*Rewriter).xadd, passes: xaddPasses},
		"XTRIM": {rewrite: (*Rewriter).xtrim},
	}
}

// geoRules are for what a target may compute otherwise, or not know.
func geoRules() map[string]rule {
	return map[string]rule{
		"GEORADIUS":         {rewrite: (*Rewriter).georadius},
		"GEORADIUSBYMEMBER": {rewrite: (*Rewriter).georadius},
		"GEOSEARCHSTORE":    {rewrite: (*Rewriter).geosearchstore},
	}
}

// optionRules are for what a target may not know, or not with every option.
func optionRules() map[string]rule {
	return map[string]rule{
		"SET":       {rewrite: (*Rewriter).set, passes: setPasses},
		"MSETEX":    {rewrite: (*Rewriter).msetex},
		"BITOP":     {rewrite: (*Rewriter).bitop},
		"DELEX":     {rewrite: (*Rewriter).del},
		"DELIFEQ":   {rewrite: (*Rewriter).del},
		"EXPIRE":    {rewrite: (*Rewriter).expire},
		"PEXPIRE":   {rewrite: (*Rewriter).expire},
		"EXPIREAT":  {rewrite: (*Rewriter).expire},
		"PEXPIREAT": {rewrite: (*Rewriter).expire},

		"LPOP":  {rewrite: (*Rewriter).pop},
		"RPOP":  {rewrite: (*Rewriter).pop},
		"LMOVE": {rewrite: (*Rewriter).lmove},

		"HSETEX":     {rewrite: (*Rewriter).hsetex},
		"HGETDEL":    {rewrite: (*Rewriter).hgetdel},
		"HEXPIRE":    {rewrite: (*Rewriter).hexpire},
		"HPEXPIRE":   {rewrite: (*Rewriter).hexpire},
		"HEXPIREAT":  {rewrite: (*Rewriter).hexpire},
		"HPEXPIREAT": {rewrite: (*Rewriter).hexpire},
		"HPERSIST":   {rewrite: (*Rewriter).hpersist},

		"ZADD":        {rewrite: (*Rewriter).zadd, passes: zaddPasses},
		"ZUNIONSTORE": {rewrite: (*Rewriter).zcombine},
		"ZINTERSTORE": {rewrite: (*Rewriter).zcombine},
		"ZDIFFSTORE":  {rewrite: (*Rewriter).zdiffstore},
		"ZRANGESTORE": {rewrite: (*Rewriter).zrangestore},
		"GEOADD":      {rewrite: (*Rewriter).geoadd},

		"XADD":        {rewrite: (*Rewriter).xadd, passes: xaddPasses},
		"XTRIM":       {rewrite: (*Rewriter).xtrim},
		"XSETID":      {rewrite: (*Rewriter).xsetid},
		"XGROUP":      {rewrite: (*Rewriter).xgroup},
		"XCLAIM":      {rewrite: (*Rewriter).xclaim},
		"XDELEX":      {rewrite: (*Rewriter).xdelex},
		"XACKDEL":     {rewrite: (*Rewriter).xackdel},
		"XCFGSET":     {rewrite: (*Rewriter).idmp},
		"XIDMPRECORD": {rewrite: (*Rewriter).idmp},

		"VADD":     {rewrite: (*Rewriter).vectorSet},
		"VREM":     {rewrite: (*Rewriter).vectorSet},
		"VSETATTR": {rewrite: (*Rewriter).vectorSet},

		"FLUSHALL": {rewrite: (*Rewriter).flush},
		"FLUSHDB":  {rewrite: (*Rewriter).flush},
		"FUNCTION": {rewrite: (*Rewriter).function},
		"SCRIPT":   {rewrite: (*Rewriter).script},
		"CLUSTER":  {rewrite: (*Rewriter).subcommand},
		"SPUBLISH": {rewrite: (*Rewriter).spublish},
	}
}
