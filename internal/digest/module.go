package digest

import "godwit/internal/rdb"

// module reads the value of a module: items that each say what they are. Strings
// count by what they are, not by how they are saved.
func (d *digester) module(r *rdb.Reader) {
	d.moduleData(r, rdb.ModuleID(r.Length()))
}

// moduleData reads what comes after the ID.
func (d *digester) moduleData(r *rdb.Reader, id rdb.ModuleID) {
	d.name = d.moduleName(id)
	d.sum = d.integer(int64(id.Version()))
	var set vectorSet
	isSet := d.name == typeVectorSet
	d.items(r, func(opcode, item uint64) {
		d.sum = d.next(d.sum, d.two(isValue, item, opcode))
		d.count++
		if isSet {
			set.item(&d.hasher, opcode, item)
		}
	})
	if isSet && set.complete(&d.hasher) {
		d.sum, d.count = set.sum, set.count
	}
}

// items calls f with each item of a module's data, up to the end mark: a number
// as it is, a string by its hash.
func (d *digester) items(r *rdb.Reader, f func(opcode, item uint64)) {
	for r.Err() == nil {
		opcode := r.Length()
		switch opcode {
		case rdb.ModuleOpcodeEOF:
			return
		case rdb.ModuleOpcodeSInt, rdb.ModuleOpcodeUInt:
			f(opcode, r.Length())
		case rdb.ModuleOpcodeFloat:
			f(opcode, uint64(r.Signed(4)))
		case rdb.ModuleOpcodeDouble:
			f(opcode, r.Uint64())
		case rdb.ModuleOpcodeString:
			f(opcode, d.hash(r.String()))
		default:
			r.Failf("unknown opcode %d in a module's data", opcode)
		}
	}
}

// moduleName makes no new string for a type that it has seen.
func (d *digester) moduleName(id rdb.ModuleID) string {
	name, ok := d.names[id]
	if !ok {
		if d.names == nil || len(d.names) > 1000 {
			d.names = make(map[rdb.ModuleID]string)
		}
		name = id.Name()
		d.names[id] = name
	}
	return name
}

// readMetadata reads what modules have attached to a key, after OpcodeKeyMeta: how
// many classes, and of each its name and flags in 4 bytes and its data
// (keymeta.c rdbSaveKeyMetadata). Their order does not count.
func (d *digester) readMetadata(r *rdb.Reader) (sum uint64) {
	for n := r.Length(); n > 0 && r.Err() == nil; n-- {
		class := d.integer(r.Signed(4))
		d.items(r, func(opcode, item uint64) { class = d.next(class, d.two(isMetadata, item, opcode)) })
		sum += d.two(isMetadata, class, 0)
	}
	if !d.keyMetadata {
		return 0
	}
	return sum
}
