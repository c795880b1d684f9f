package rdb

// A layout is what of an element comes after its code (its type or opcode), as
// far as one must know it to find the element's end:
//
//	s        a string in any of its encodings
//	n        a length, or a number saved as one
//	1 4 8 f  that many bytes, f for 16
//	d        a score as text
//	m        a module's data, up to its end mark
//	[ ]      a length, and as many times what is inside
//	=        here the key's value begins
//	c        another code: what comes before was about the next key
//
// The layouts are those of rdbLoadRio and rdbLoadObject in rdb.c.
const (
	layoutElement = "c"

	layoutKey = "s=" // what every key begins with

	layoutModule   = "m"
	layoutMetadata = "[4m]" // of a key, by class of a module (keymeta.c rdbSaveKeyMetadata)

	layoutStream  = "[ss]nnn[snn[f8n][s8[f]]]"
	layoutStream2 = "[ss]nnnnnnnn[snnn[f8n][s8[f]]]"
	layoutStream3 = "[ss]nnnnnnnn[snnn[f8n][s88[f]]]"
	layoutStream4 = layoutStream3 + "nn[s[snn]]nn"
)

// layoutOf gives the layout of a code, "" if the format has no such code. A code
// with different meanings in two formats has different layouts too.
func layoutOf(f Format, code byte) string {
	if f.Version > commonVersion {
		if layout := layoutSinceParting(f, code); layout != "" {
			return layout
		}
	}
	if f.Version < introduced(code) {
		return ""
	}
	switch Opcode(code) {
	case OpcodeEOF:
		return "8"
	case OpcodeSelectDB:
		return "n"
	case OpcodeExpireTime:
		return "4c"
	case OpcodeExpireTimeMS:
		return "8c"
	case OpcodeResizeDB:
		return "nn"
	case OpcodeAux:
		return "ss"
	case OpcodeFreq:
		return "1c"
	case OpcodeIdle:
		return "nc"
	case OpcodeModuleAux:
		return "nnn" + layoutModule
	case OpcodeFunction2:
		return "s"
	}
	switch Type(code) {
	case TypeString, TypeHashZipmap, TypeListZiplist, TypeSetIntset, TypeZsetZiplist, TypeHashZiplist,
		TypeHashListpack, TypeZsetListpack, TypeSetListpack:
		return layoutKey + "s"
	case TypeList, TypeSet, TypeListQuicklist:
		return layoutKey + "[s]"
	case TypeZset:
		return layoutKey + "[sd]"
	case TypeZset2:
		return layoutKey + "[s8]"
	case TypeHash:
		return layoutKey + "[ss]"
	case TypeListQuicklist2:
		return layoutKey + "[ns]"
	case TypeModule2:
		return layoutKey + "n" + layoutModule
	case TypeStreamListpacks:
		return layoutKey + layoutStream
	case TypeStreamListpacks2:
		return layoutKey + layoutStream2
	case TypeStreamListpacks3:
		return layoutKey + layoutStream3
	}
	return ""
}

// layoutSinceParting has the codes whose meaning depends on the family.
func layoutSinceParting(f Format, code byte) string {
	if Opcode(code) == OpcodeSlotInfo {
		return "nnn"
	}
	switch {
	case f.Family == Valkey && Type(code) == TypeHash2:
		return layoutKey + "[ss8]"
	case f.Family == Valkey && Opcode(code) == OpcodeSlotImport:
		return "s[nn]"
	case f.Family == Redis && f.Version >= newestRedis && Type(code) == TypeStreamListpacks4:
		return layoutKey + layoutStream4
	case f.Family == Redis && f.Version >= newestRedis && Opcode(code) == OpcodeKeyMeta:
		return layoutMetadata + "c"
	case f.Family != Redis:
		return ""
	}
	switch Type(code) {
	case TypeHashMetadataPreGA:
		return layoutKey + "[nss]"
	case TypeHashListpackExPreGA:
		return layoutKey + "s"
	case TypeHashMetadata:
		return layoutKey + "8[nss]"
	case TypeHashListpackEx:
		return layoutKey + "8s"
	}
	return ""
}

// introduced is the version that brought a code of before the parting.
func introduced(code byte) int {
	switch Type(code) {
	case TypeListQuicklist:
		return 7
	case TypeZset2, TypeModule2:
		return 8
	case TypeStreamListpacks:
		return 9
	case TypeHashListpack, TypeZsetListpack, TypeListQuicklist2, TypeStreamListpacks2:
		return 10
	case TypeSetListpack, TypeStreamListpacks3:
		return 11
	}
	switch Opcode(code) {
	case OpcodeAux, OpcodeResizeDB:
		return 7
	case OpcodeModuleAux, OpcodeIdle, OpcodeFreq:
		return 9
	case OpcodeFunction2:
		return 10
	}
	return oldestVersion
}

// layouts has the layout of every code of one format.
type layouts [256]string

func newLayouts(f Format) *layouts {
	var l layouts
	for code := range l {
		l[code] = layoutOf(f, byte(code))
	}
	return &l
}
