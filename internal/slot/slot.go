// Package slot tells which hash slot of a cluster a key belongs to.
package slot

import (
	"bytes"
	"strconv"
)

// Count is how many slots a cluster has (cluster.h CLUSTER_SLOTS).
const Count = 16384

// Of is the slot of a key: that of its hash tag, what stands between the first {
// and the next } where that is not empty, else of all of it (cluster.c keyHashSlot).
func Of(key []byte) uint16 { return Checksum(key) % Count }

// Checksum is what the slot of a key is taken from: the CRC16 of its hash tag, or of all of it.
func Checksum(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if size := bytes.IndexByte(key[open+1:], '}'); size > 0 {
			key = key[open+1 : open+1+size]
		}
	}
	return crc16(key)
}

// crc16 is CRC-16/XMODEM: polynomial x¹⁶+x¹²+x⁵+1, beginning with 0 (crc16.c). A
// byte's remainder has a closed form, as the polynomial has so few terms.
func crc16(b []byte) uint16 {
	var crc uint16
	for _, c := range b {
		x := crc>>8 ^ uint16(c)
		x ^= x >> 4
		crc = crc<<8 ^ x<<12 ^ x<<5 ^ x
	}
	return crc
}

// Tag is a short hash tag of that slot.
func Tag(slot uint16) string {
	var tag []byte
	for n := int64(0); ; n++ {
		tag = strconv.AppendInt(tag[:0], n, 36)
		if Of(tag) == slot {
			return string(tag)
		}
	}
}
