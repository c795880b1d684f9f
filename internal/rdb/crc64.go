package rdb

import "encoding/binary"

// jones is the polynomial of crc64.c, "Jones", reflected: bit 63 is x^0.
const jones = 0x95ac9329ac4bc9b5

// laneSize is how many bytes each of the three lanes of a block has. The lanes
// are computed at the same time, as one alone waits for memory most of the time
// (crcspeed.c of Redis 8 does the same).
const laneSize = 1 << 10

// CRC64 computes the checksum of RDB files and DUMP payloads: CRC64 Jones,
// reflected, beginning with 0 and not inverted at the end. It holds tables of
// 32 KiB that never change: one may be shared by all, at the same time too.
type CRC64 struct {
	slice [8][256]uint64 // slice[i][b]: byte b followed by i zero bytes
	shift [8][256]uint64 // shift[i][b]: byte i of a checksum, followed by laneSize zero bytes
}

// NewCRC64 computes the tables, which takes some 10 microseconds.
func NewCRC64() *CRC64 {
	c := new(CRC64)
	for b := range c.slice[0] {
		crc := uint64(b)
		for range 8 {
			crc = timesX(crc)
		}
		c.slice[0][b] = crc
	}
	for i := 1; i < len(c.slice); i++ {
		for b := range c.slice[i] {
			crc := c.slice[i-1][b]
			c.slice[i][b] = c.slice[0][byte(crc)] ^ crc>>8
		}
	}
	// Zero bytes multiply a checksum by a power of x.
	power := uint64(1) << 63 // x^0
	square := timesX(power)  // x^1, x^2, x^4, ...
	for bits := 8 * laneSize; bits > 0; bits >>= 1 {
		if bits&1 == 1 {
			power = multiply(power, square)
		}
		square = multiply(square, square)
	}
	for i := range c.shift {
		for b := range c.shift[i] {
			if rest := b & (b - 1); rest != 0 { // more than one bit: the sum of what is known
				c.shift[i][b] = c.shift[i][rest] ^ c.shift[i][b^rest]
			} else {
				c.shift[i][b] = multiply(uint64(b)<<(8*i), power)
			}
		}
	}
	return c
}

// timesX multiplies a polynomial by x.
func timesX(a uint64) uint64 { return a>>1 ^ jones&-(a&1) }

func multiply(a, b uint64) uint64 {
	var product uint64
	for ; a != 0; a <<= 1 {
		product ^= b & -(a >> 63)
		b = timesX(b)
	}
	return product
}

// Update continues the checksum crc, 0 at the beginning, with p.
func (c *CRC64) Update(crc uint64, p []byte) uint64 {
	for len(p) >= 3*laneSize {
		first, second, third := p[:laneSize], p[laneSize:2*laneSize], p[2*laneSize:3*laneSize]
		var crc2, crc3 uint64
		for i := 0; i <= laneSize-8; i += 8 {
			crc = c.eight(crc ^ binary.LittleEndian.Uint64(first[i:i+8]))
			crc2 = c.eight(crc2 ^ binary.LittleEndian.Uint64(second[i:i+8]))
			crc3 = c.eight(crc3 ^ binary.LittleEndian.Uint64(third[i:i+8]))
		}
		crc = c.skipLane(c.skipLane(crc)^crc2) ^ crc3
		p = p[3*laneSize:]
	}
	for len(p) >= 8 {
		crc = c.eight(crc ^ binary.LittleEndian.Uint64(p))
		p = p[8:]
	}
	for _, b := range p {
		crc = c.slice[0][byte(crc)^b] ^ crc>>8
	}
	return crc
}

// eight takes eight bytes at once, already mixed with the checksum so far.
func (c *CRC64) eight(x uint64) uint64 {
	return c.slice[7][byte(x)] ^ c.slice[6][byte(x>>8)] ^ c.slice[5][byte(x>>16)] ^ c.slice[4][byte(x>>24)] ^
		c.slice[3][byte(x>>32)] ^ c.slice[2][byte(x>>40)] ^ c.slice[1][byte(x>>48)] ^ c.slice[0][x>>56]
}

// skipLane is the checksum after laneSize more zero bytes.
func (c *CRC64) skipLane(x uint64) uint64 {
	return c.shift[0][byte(x)] ^ c.shift[1][byte(x>>8)] ^ c.shift[2][byte(x>>16)] ^ c.shift[3][byte(x>>24)] ^
		c.shift[4][byte(x>>32)] ^ c.shift[5][byte(x>>40)] ^ c.shift[6][byte(x>>48)] ^ c.shift[7][x>>56]
}
