package traffic

import "fmt"

func geoMakers() []maker {
	return []maker{
		{command: "geoadd", weight: 5, make: makeGeoAdd},
		{command: "georadius", feature: GeoStore, weight: 2, make: func(g *generator) {
			g.do(with([]any{"GEORADIUS", g.key(kindGeo), g.longitude(), g.latitude(), 1 + g.IntN(9000), "km"}, g.geoStore()...)...)
		}},
		{command: "georadiusbymember", feature: GeoStore, weight: 2, make: func(g *generator) {
			g.do(with([]any{"GEORADIUSBYMEMBER", g.key(kindGeo), g.place(), 1 + g.IntN(9000), "mi"}, g.geoStore()...)...)
		}},
		{command: "geosearchstore", feature: GeoStore, weight: 4, make: makeGeoSearchStore},
		{command: "zrem", weight: 1, make: func(g *generator) { g.do("ZREM", g.key(kindGeo), g.place()) }},
	}
}

func (g *generator) longitude() float64 { return g.Float64()*360 - 180 }
func (g *generator) latitude() float64  { return g.Float64()*170 - 85 }
func (g *generator) place() string      { return fmt.Sprintf("place:%d", g.IntN(6)) }

func makeGeoAdd(g *generator) {
	args := []any{"GEOADD", g.key(kindGeo)}
	if g.since(6, 2) {
		args = g.maybe(args, "NX", "XX", "CH")
	}
	for range 1 + g.IntN(5) {
		args = append(args, g.longitude(), g.latitude(), g.place())
	}
	g.do(args...)
}

func (g *generator) geoStore() []any {
	var args []any
	if g.chance(3) {
		args = append(args, "COUNT", 1+g.IntN(4))
	}
	args = g.maybe(args, "ASC", "DESC")
	return append(args, g.oneOf("STORE", "STOREDIST"), g.key(kindZset))
}

func makeGeoSearchStore(g *generator) {
	args := []any{"GEOSEARCHSTORE", g.key(kindGeo), g.key(kindGeo)}
	if g.chance(2) {
		args = with(args, "FROMMEMBER", g.place())
	} else {
		args = with(args, "FROMLONLAT", g.longitude(), g.latitude())
	}
	if g.chance(2) || !g.may(GeoSearch) {
		args = with(args, "BYRADIUS", 1+g.IntN(9000), "km")
	} else {
		args = with(args, "BYBOX", 1+g.IntN(9000), 1+g.IntN(9000), "mi")
	}
	args = g.maybe(args, "ASC", "DESC")
	if g.chance(3) {
		args = with(args, "COUNT", 1+g.IntN(4))
	}
	if g.chance(4) {
		args[1] = g.key(kindZset)
		args = with(args, "STOREDIST")
	}
	g.do(args...)
}
