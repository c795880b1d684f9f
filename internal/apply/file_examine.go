package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"godwit/internal/command"
	"godwit/internal/persist"
	"godwit/internal/plan"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/topology"
)

// ExamineFile reads a file from its beginning to its end as a FileEngine would, and says
// what it holds and what of it the target cannot be given. It asks and changes nothing
// there. cluster tells that it is a cluster, and now is its time, in milliseconds since
// 1970. The error is ctx's, or a *persist.Error of a file that cannot be opened: what is
// wrong further on in it is part of what was found.
func ExamineFile(ctx context.Context, c FileConfig, cluster bool, now int64) (f plan.FileContents, err error) {
	source, err := persist.Open(c.Path)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	x := &examiner{cluster: cluster, dbs: map[int]*topology.DB{}, refusable: examined}
	x.found.Description = source.Describe()
	x.found.Dropped = map[rdb.Feature]int64{}
	if v := x.found.Description.Version(); v.Major > 0 {
		x.found.Version = v.String()
	}
	if err = x.snapshot(ctx, source, c, now); err == nil {
		err = x.commands(ctx, source, c, now)
	}
	if ctx.Err() != nil {
		return f, ctx.Err()
	}
	if err != nil {
		x.found.Damage = &plan.FileRefusal{Text: err.Error(), Hint: hintOf(err)}
	}
	x.found.LeftOut = source.LeftOut()
	x.found.DBs = []topology.DB{}
	for _, db := range x.dbs {
		x.found.DBs = append(x.found.DBs, *db)
	}
	slices.SortFunc(x.found.DBs, func(a, b topology.DB) int { return a.Number - b.Number })
	return x.found, nil
}

// examined is how many refusals are told one by one.
const examined = 5

// examiner is a sink that takes everything.
type examiner struct {
	found     plan.FileContents
	cluster   bool
	in        int // the db of the command at hand
	dbs       map[int]*topology.DB
	refusable int
}

func (x *examiner) one(int, uint16, int, []byte, bool) error { x.db(x.in); return nil }
func (x *examiner) all(int, int, []byte) error               { return nil }
func (x *examiner) empty(*route.Way) error                   { return nil }
func (x *examiner) beside(int, []byte) error                 { return nil }
func (x *examiner) outside([]byte, string) error             { return nil }
func (x *examiner) stays()                                   { x.db(x.in); x.found.Left++ }
func (x *examiner) ends()                                    {}

// refused notes what cannot be given to the target. Of dbs without a place the plan tells,
// of each as a whole.
func (x *examiner) refused(err error) {
	var unmapped *route.UnmappedError
	if errors.As(err, &unmapped) {
		x.db(unmapped.DB)
		return
	}
	x.refuse(err)
}

// refuse notes what cannot be given to the target.
func (x *examiner) refuse(err error) {
	if len(x.found.Refused) == x.refusable {
		x.found.RefusedMore++
		return
	}
	x.found.Refused = append(x.found.Refused, plan.FileRefusal{Text: err.Error(), Hint: hintOfFile(err)})
}

// hintOfFile is what helps against something in a file that the target has no equal for.
func hintOfFile(err error) string {
	feature := rdb.Feature("")
	var value *rdb.NoEqualError
	var said *command.NoEqualError
	switch {
	case errors.As(err, &value):
		feature = value.What
	case errors.As(err, &said):
		feature = said.Feature
		if feature == "" {
			return loadFirst
		}
	default:
		return hintOf(err)
	}
	if feature == rdb.FeatureModule {
		return "load the module at the target (MODULE LOAD), or leave out what the target has no module for with --drop " + string(feature)
	}
	return "choose a target of the version that wrote the file or newer, or leave it out with --drop " + string(feature)
}

func (x *examiner) leftOut(f rdb.Feature) { x.found.Dropped[f]++ }

// db is where a db is counted.
func (x *examiner) db(number int) *topology.DB {
	db := x.dbs[number]
	if db == nil {
		db = &topology.DB{Number: number}
		x.dbs[number] = db
	}
	return db
}

// snapshot looks at every key. An error is one that ends the reading.
func (x *examiner) snapshot(ctx context.Context, source *persist.Source, c FileConfig, now int64) error {
	if source.Snapshot() == nil {
		return nil
	}
	p := FileProgress{Now: now, Later: source.Describe().Kind != persist.RDB}
	s := newSnapshotScan(&counted{ctx: ctx, r: source.Snapshot(), n: new(atomic.Int64)}, rdb.NewCRC64(), c, x.cluster, p, x.leftOut)
	s.stayed = x.count
	defer func() { x.found.Expired = s.expired }()
	var scratch []byte
	for {
		span, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if span.Kind != rdb.KindKey {
			x.opcode(span)
			if err := s.opcode(span, func() error { return nil }); err != nil {
				x.refuse(err)
			}
			continue
		}
		x.key(span)
		if _, err := s.item(span); err != nil {
			x.refused(err)
			continue
		}
		err = s.key(span, func() (err error) {
			scratch, err = s.restorer.examine(scratch[:0], span, s.scanner)
			return err
		})
		if err != nil {
			x.refuse(err)
		}
	}
}

// key counts one that is to be loaded.
func (x *examiner) key(span *rdb.Span) {
	x.count(span)
	x.found.Keys++
	if span.Attributes.ExpireAt != rdb.None {
		x.found.Expires++
	}
	if span.Type == rdb.TypeModule2 {
		x.module(span)
	}
}

// count counts one of a db, which may stay behind.
func (x *examiner) count(span *rdb.Span) {
	db := x.db(span.DB)
	db.Keys++
	if span.Attributes.ExpireAt != rdb.None {
		db.Expires++
	}
	if hasFieldTTLs(span.Type) {
		db.FieldExpires++
	}
}

func (x *examiner) opcode(span *rdb.Span) {
	switch span.Opcode {
	case rdb.OpcodeFunction2:
		x.found.Libraries = append(x.found.Libraries, span.LibraryName())
	case rdb.OpcodeModuleAux:
		if !span.EmptyModuleAux() {
			x.module(span)
		}
	default:
	}
}

func (x *examiner) module(span *rdb.Span) {
	if name := span.ModuleID().Name(); !slices.Contains(x.found.Modules, name) {
		x.found.Modules = append(x.found.Modules, name)
	}
}

// examine says a key as restore does where the target does not load it as it is. Of a large
// one it sees what large would meet.
func (r *restorer) examine(dst []byte, span *rdb.Span, s *rdb.Scanner) ([]byte, error) {
	k := itemOf(span)
	passes := r.pass.HasType(k.t) && (!r.later || !hasFieldTTLs(k.t))
	switch {
	case !span.More && passes:
		return dst, nil
	case !span.More:
		return r.restore(dst, &k, span.Value())
	}
	k.key = slices.Clone(k.key)
	if k.t == rdb.TypeModule2 {
		if err := r.coder.CheckModule(k.module); err != nil {
			return dst, fmt.Errorf("db %d, key %.200q: %w", k.db, k.key, err)
		}
	} else if _, lacking, ok := r.coder.Type(k.t); !ok {
		return dst, &rdb.NoEqualError{What: lacking, To: r.to, DB: k.db, Key: k.key}
	}
	switch {
	case whole(k.t):
		n, err := io.Copy(io.Discard, s.Value())
		if err == nil && n > wholeBytes {
			err = &TooLargeError{DB: k.db, Key: k.key}
		}
		return dst, err
	case hasFieldTTLs(k.t) && !passes:
		var d rdb.Decoder
		return dst, d.DecodeReader(r.from, k.t, s.Value(), r.fieldTTLs(&k))
	default:
		return dst, nil
	}
}

// commands looks at every command. An error is one that ends the reading.
func (x *examiner) commands(ctx context.Context, source *persist.Source, c FileConfig, now int64) error {
	if source.Describe().Kind == persist.RDB {
		return nil
	}
	s := newSayer(c, rdb.NewCRC64(), now, x.cluster, x.leftOut, x)
	for {
		said, err := source.Next()
		if errors.Is(err, io.EOF) {
			x.found.LastCommand = source.Timestamp()
			return nil
		}
		if err != nil {
			return err
		}
		x.found.Commands++
		if x.found.Commands%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		x.in = said.DB
		if err := s.command(said); err != nil {
			x.refused(err)
		}
	}
}
