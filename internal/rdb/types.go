package rdb

import "strconv"

// Type says what kind of value a key has, and in which encoding. Types and
// opcodes share one space of numbers.
type Type uint8

// The types of values (rdb.h RDB_TYPE_*), with the version that brought each.
const (
	TypeString              Type = 0
	TypeList                Type = 1
	TypeSet                 Type = 2
	TypeZset                Type = 3 // scores as text
	TypeHash                Type = 4
	TypeZset2               Type = 5  // 8: scores in binary
	TypeModulePreGA         Type = 6  // never released; no server loads it
	TypeModule2             Type = 7  // 8
	TypeHashZipmap          Type = 9  // until Redis 2.4
	TypeListZiplist         Type = 10 // until Redis 3.0
	TypeSetIntset           Type = 11
	TypeZsetZiplist         Type = 12
	TypeHashZiplist         Type = 13
	TypeListQuicklist       Type = 14 // 7: nodes are ziplists
	TypeStreamListpacks     Type = 15 // 9
	TypeHashListpack        Type = 16 // 10
	TypeZsetListpack        Type = 17 // 10
	TypeListQuicklist2      Type = 18 // 10: nodes are listpacks or single elements
	TypeStreamListpacks2    Type = 19 // 10: first and last deleted ID, entries added and read
	TypeSetListpack         Type = 20 // 11
	TypeStreamListpacks3    Type = 21 // 11: active time of consumers
	TypeHashMetadataPreGA   Type = 22 // 12, Redis: field TTLs, absolute
	TypeHashListpackExPreGA Type = 23 // 12, Redis
	TypeHashMetadata        Type = 24 // 12, Redis: field TTLs, relative to the least one
	TypeHashListpackEx      Type = 25 // 12, Redis
	TypeStreamListpacks4    Type = 26 // 13, Redis: idempotent producers
	TypeHash2               Type = 22 // 80, Valkey: field TTLs, absolute
	QuicklistNodePlain           = 1  // quicklist.h QUICKLIST_NODE_CONTAINER_PLAIN
	QuicklistNodePacked          = 2  // quicklist.h QUICKLIST_NODE_CONTAINER_PACKED
	ModuleOpcodeEOF              = 0  // rdb.h RDB_MODULE_OPCODE_*
	ModuleOpcodeSInt             = 1
	ModuleOpcodeUInt             = 2
	ModuleOpcodeFloat            = 3
	ModuleOpcodeDouble           = 4
	ModuleOpcodeString           = 5
)

// Opcode begins an element that is not a key, or says something of the next key.
type Opcode uint8

// The opcodes (rdb.h RDB_OPCODE_*), with the version that brought each.
const (
	OpcodeKeyMeta       Opcode = 243 // 13, Redis: modules' metadata of the next key
	OpcodeSlotImport    Opcode = 243 // 80, Valkey: slots that a migration brings in
	OpcodeSlotInfo      Opcode = 244 // 12; Valkey ignores it: sizes of a slot of a cluster
	OpcodeFunction2     Opcode = 245 // 10: the source of a function library
	OpcodeFunctionPreGA Opcode = 246 // never released; no server loads it
	OpcodeModuleAux     Opcode = 247 // 9
	OpcodeIdle          Opcode = 248 // 9: seconds for which the next key was idle (LRU)
	OpcodeFreq          Opcode = 249 // 9: how often the next key was used (LFU)
	OpcodeAux           Opcode = 250 // 7: a name and a value, such as redis-ver
	OpcodeResizeDB      Opcode = 251 // 7: how many keys the db has, and how many that expire
	OpcodeExpireTimeMS  Opcode = 252 // of the next key
	OpcodeExpireTime    Opcode = 253 // of the next key, in seconds
	OpcodeSelectDB      Opcode = 254
	OpcodeEOF           Opcode = 255 // the checksum follows
)

// String is the name of the type as in TYPE and, where it has several
// encodings, that of the encoding.
func (t Type) String() string {
	switch t {
	case TypeString:
		return "string"
	case TypeList:
		return "list"
	case TypeSet:
		return "set"
	case TypeZset:
		return "zset"
	case TypeHash:
		return "hash"
	case TypeZset2:
		return "zset-2"
	case TypeModulePreGA:
		return "module-pre-ga"
	case TypeModule2:
		return "module-2"
	case TypeHashZipmap:
		return "hash-zipmap"
	case TypeListZiplist:
		return "list-ziplist"
	case TypeSetIntset:
		return "set-intset"
	case TypeZsetZiplist:
		return "zset-ziplist"
	case TypeHashZiplist:
		return "hash-ziplist"
	case TypeListQuicklist:
		return "list-quicklist"
	case TypeStreamListpacks:
		return "stream-listpacks"
	case TypeHashListpack:
		return "hash-listpack"
	case TypeZsetListpack:
		return "zset-listpack"
	case TypeListQuicklist2:
		return "list-quicklist-2"
	case TypeStreamListpacks2:
		return "stream-listpacks-2"
	case TypeSetListpack:
		return "set-listpack"
	case TypeStreamListpacks3:
		return "stream-listpacks-3"
	case TypeHashMetadataPreGA:
		return "hash-metadata-pre-ga or hash-2"
	case TypeHashListpackExPreGA:
		return "hash-listpack-ex-pre-ga"
	case TypeHashMetadata:
		return "hash-metadata"
	case TypeHashListpackEx:
		return "hash-listpack-ex"
	case TypeStreamListpacks4:
		return "stream-listpacks-4"
	default:
		return "type " + strconv.Itoa(int(t))
	}
}
