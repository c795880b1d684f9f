package load

// scenarioList has commands of every type, those that a stream has verbatim although
// they name several keys, and those that servers propagate as something else. A command
// that a server does not know ends its group.
func scenarioList() []scenario {
	return []scenario{
		{"RENAME", []step{
			{"SET $a $v", "a=string:$v"},
			{"RENAME $a $b", "b=string:$v"},
			{"RENAMENX $b $c", "c=string:$v"},
		}},
		{"COPY", []step{
			{"HSET $a f $v g 1", "a=hash:f,$v,g,1"},
			{"COPY $a $b", "a=hash:f,$v,g,1 b=hash:f,$v,g,1"}, // 6.2
			{"HDEL $a f", "a=hash:g,1 b=hash:f,$v,g,1"},
		}},
		{"MSET", []step{
			{"MSET $a $v $b 1 $c 2", "a=string:$v b=string:1 c=string:2"},
			{"DEL $a $b", "c=string:2"},
			{"MSETNX $a 3 $b $v", "a=string:3 b=string:$v c=string:2"},
			{"UNLINK $a $c", "b=string:$v"},
		}},
		{"SUNIONSTORE", []step{
			{"SADD $a 1 2", "a=set:1,2"},
			{"SADD $b 2 3 $v", "a=set:1,2 b=set:2,3,$v"},
			{"SUNIONSTORE $c $a $b", "a=set:1,2 b=set:2,3,$v c=set:1,2,3,$v"},
			{"SDIFFSTORE $a $c $b", "a=set:1 b=set:2,3,$v c=set:1,2,3,$v"},
			{"SINTERSTORE $b $a $c", "a=set:1 b=set:1 c=set:1,2,3,$v"},
		}},
		{"SMOVE", []step{
			{"SADD $a x y", "a=set:x,y"},
			{"SADD $b z", "a=set:x,y b=set:z"},
			{"SMOVE $a $b x", "a=set:y b=set:x,z"},
			{"SREM $b z", "a=set:y b=set:x"},
		}},
		{"LMOVE", []step{
			{"RPUSH $a 1 2 3", "a=list:1,2,3"},
			{"RPOPLPUSH $a $b", "a=list:1,2 b=list:3"},
			{"LMOVE $a $b LEFT RIGHT", "a=list:2 b=list:3,1"}, // 6.2
			{"LMOVE $b $c RIGHT LEFT", "a=list:2 b=list:3 c=list:1"},
		}},
		{"BITOP", []step{
			{"MSET $a ab $b AB", "a=string:ab b=string:AB"},
			{"BITOP AND $c $a $b", "a=string:ab b=string:AB c=string:AB"},
			{"SETBIT $c 2 1", "a=string:ab b=string:AB c=string:aB"},
			{"BITOP OR $b $a $c", "a=string:ab b=string:ab c=string:aB"},
		}},
		{"PFMERGE", []step{
			{"PFADD $a 1 2", "a=hll:2"},
			{"PFADD $b 3", "a=hll:2 b=hll:1"},
			{"PFMERGE $c $a $b", "a=hll:2 b=hll:1 c=hll:3"},
		}},
		{"SORT STORE", []step{
			{"RPUSH $a 3 1 2", "a=list:3,1,2"},
			{"SORT $a STORE $b", "a=list:3,1,2 b=list:1,2,3"},
			{"SORT $a DESC LIMIT 0 2 STORE $a", "a=list:3,2 b=list:1,2,3"},
		}},
		{"ZUNIONSTORE", []step{
			{"ZADD $a 1 x", "a=zset:x,1"},
			{"ZADD $b 2 x 1 y", "a=zset:x,1 b=zset:y,1,x,2"},
			{"ZUNIONSTORE $c 2 $a $b", "a=zset:x,1 b=zset:y,1,x,2 c=zset:y,1,x,3"},
			{"ZPOPMIN $c", "a=zset:x,1 b=zset:y,1,x,2 c=zset:x,3"},
			{"ZRANGESTORE $a $b 0 0", "a=zset:y,1 b=zset:y,1,x,2 c=zset:x,3"}, // 6.2
		}},
		{"DEL", []step{
			{"SET $a $v", "a=string:$v"},
			{"DEL $a", ""},
			{"RPUSH $a $v 2", "a=list:$v,2"},
		}},
		{"PERSIST", []step{
			{"SET $a $v PX 7200000", "a=string:$v!"},
			{"PERSIST $a", "a=string:$v"},
			{"PEXPIRE $a 7200000", "a=string:$v!"},
			{"APPEND $a +", "a=string:$v+!"},
			{"SET $a $v", "a=string:$v"},
			{"PEXPIREAT $a 1", ""},
		}},
		{"LIST", []step{
			{"RPUSH $a 1 2 3", "a=list:1,2,3"},
			{"LINSERT $a BEFORE 2 $v", "a=list:1,$v,2,3"},
			{"LPOP $a", "a=list:$v,2,3"},
			{"LREM $a 1 2", "a=list:$v,3"},
			{"LTRIM $a 1 -1", "a=list:3"},
		}},
		{"STREAM", []step{
			{"XADD $a 1-1 f $v", "a=stream:1-1,f,$v"},
			{"XADD $a 2-1 g 1", "a=stream:1-1,f,$v,2-1,g,1"},
			{"XDEL $a 1-1", "a=stream:2-1,g,1"},
			{"XTRIM $a MAXLEN 0", "a=stream:"},
		}},
		{"NUMBERS", []step{
			{"INCRBY $a 5", "a=string:5"},
			{"INCRBYFLOAT $a 0.25", "a=string:5.25"},
			{"GETSET $a 7", "a=string:7"},
			{"DECR $a", "a=string:6"},
		}},
		{"MULTI", []step{
			{"SET $a $v|RPUSH $b 1 2", "a=string:$v b=list:1,2"},
			{"DEL $a|LPOP $b|SADD $c $v", "b=list:2 c=set:$v"},
			{"RENAME $b $a|INCR $b", "a=list:2 b=string:1 c=set:$v"},
		}},
		{"EVAL", []step{
			{"EVAL return{redis.call('SET',KEYS[1],ARGV[1]),redis.call('RPUSH',KEYS[2],1,2)} 2 $a $b $v", "a=string:$v b=list:1,2"},
			{"EVAL return{redis.call('RPOPLPUSH',KEYS[1],KEYS[2]),redis.call('INCR',KEYS[3])} 3 $b $b $c", "a=string:$v b=list:2,1 c=string:1"},
		}},
	}
}
