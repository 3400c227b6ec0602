// Package pattern makes the payloads that every peer sends when only a size is asked for.
package pattern

// Bytes returns n bytes, byte i being i mod 251, so that a lost or doubled stretch shows.
func Bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}
