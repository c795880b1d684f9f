package traffic

import (
	"encoding/binary"
	"fmt"
	"math"
)

func vectorMakers() []maker {
	return []maker{
		{command: "vadd", weight: 6, feature: VectorSet, make: makeVAdd},
		{command: "vrem", weight: 2, feature: VectorSet, make: func(g *generator) { g.do("VREM", g.keyOf(kindVector), g.vector()) }},
		{command: "vsetattr", weight: 2, feature: VectorSet, make: func(g *generator) {
			g.do("VSETATTR", g.keyOf(kindVector), g.vector(), g.oneOf(`{"year":1999}`, `{"name":"\u00e9"}`, ""))
		}},
	}
}

func (g *generator) vector() string { return fmt.Sprintf("vector:%d", g.IntN(20)) }

// makeVAdd gives each key a quantization of its own, for all its vectors. One that
// is there goes first: another value for it is not replicated (vset.c VADD).
func makeVAdd(g *generator) {
	n := g.IntN(keysPerKind)
	vector := g.vector()
	g.do("VREM", g.name(kindVector, n), vector)
	const dimensions = 4
	args := []any{"VADD", g.name(kindVector, n)}
	if g.chance(3) {
		var packed []byte
		for range dimensions {
			packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(g.Float32()*2-1))
		}
		args = with(args, "FP32", packed)
	} else {
		args = with(args, "VALUES", dimensions)
		for range dimensions {
			args = append(args, g.Float64()*2-1)
		}
	}
	args = with(args, vector)
	if quantization := []string{"", "NOQUANT", "BIN", "Q8"}[n%4]; quantization != "" {
		args = with(args, quantization)
	}
	if g.chance(4) {
		args = with(args, "EF", 100+g.IntN(100))
	}
	if g.chance(3) {
		args = with(args, "SETATTR", `{"year":2000}`)
	}
	g.do(args...)
}
