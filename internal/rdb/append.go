package rdb

import (
	"encoding/binary"
	"math"
	"strconv"
)

// appendLength saves a length, or a number as one (rdb.c rdbSaveLen).
func appendLength(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, len14Bits<<6|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, len32Bits), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, len64Bits), n)
	}
}

// appendString saves a string, as an integer if it is a small one (rdb.c
// rdbSaveRawString). It compresses nothing.
func appendString(dst, s []byte) []byte {
	if n, ok := ParseInteger(s); ok {
		switch {
		case n >= math.MinInt8 && n <= math.MaxInt8:
			return append(dst, lenEncVal<<6|encInt8, byte(n))
		case n >= math.MinInt16 && n <= math.MaxInt16:
			return append(dst, lenEncVal<<6|encInt16, byte(n), byte(n>>8))
		case n >= math.MinInt32 && n <= math.MaxInt32:
			return binary.LittleEndian.AppendUint32(append(dst, lenEncVal<<6|encInt32), uint32(n))
		}
	}
	return append(appendLength(dst, uint64(len(s))), s...)
}

func appendMillisecondTime(dst []byte, ms int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(ms))
}

func appendStreamID(dst []byte, id StreamID) []byte {
	return appendLength(appendLength(dst, id.Ms), id.Seq)
}

func appendRawStreamID(dst []byte, id StreamID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, id.Ms), id.Seq)
}

// appendScore prints a score so that reading it gives the same bits: as an
// integer where it is one, or with 17 digits (util.c d2string).
func appendScore(dst []byte, score float64) []byte {
	const exact = 1 << 53 // integers up to here are what they seem
	switch {
	case math.IsInf(score, 1):
		return append(dst, "inf"...)
	case math.IsInf(score, -1):
		return append(dst, "-inf"...)
	case score == math.Trunc(score) && math.Abs(score) < exact && (score != 0 || !math.Signbit(score)):
		return strconv.AppendInt(dst, int64(score), 10)
	default:
		return strconv.AppendFloat(dst, score, 'g', 17, 64)
	}
}

// appendTextScore saves a score as before version 8 (rdb.c rdbSaveDoubleValue).
func appendTextScore(dst []byte, score float64) []byte {
	switch {
	case math.IsInf(score, 1):
		return append(dst, scoreInf)
	case math.IsInf(score, -1):
		return append(dst, scoreNegInf)
	}
	at := len(dst)
	dst = appendScore(append(dst, 0), score)
	dst[at] = byte(len(dst) - at - 1)
	return dst
}
