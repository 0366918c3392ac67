package knet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
)

// Crypto protects packets, each by itself:
//
//	salt (16 random bytes) | AES-CBC of the packet, padded as PKCS #7 has it, IV = salt | HMAC
//
// over all before it. Without a cipher it is the packet and its HMAC. The cipher's key is the
// beginning of the shared key, the HMAC's all of it. What was recorded can be played again: the
// filter of sequence numbers is all there is against that, here as in libknet.
//
// A nil Crypto leaves packets as they are.
type Crypto struct {
	encrypt, decrypt mode // nil: no cipher
	block            cipher.Block
	mac              hash.Hash
	sum              []byte
}

// mode is cipher block chaining that can begin anew.
type mode interface {
	cipher.BlockMode
	SetIV([]byte)
}

const (
	saltBytes = aes.BlockSize
	// Overhead is the most that Crypto makes a packet longer by.
	Overhead = saltBytes + aes.BlockSize + sha512.Size
)

var errTag = errors.New("knet: the packet is not authentic")

// keyBytes is how much of the key each cipher of corosync.conf takes.
var keyBytes = map[string]int{"none": 0, "aes128": 16, "aes192": 24, "aes256": 32}

var hashes = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
}

// NewCrypto makes what crypto_cipher and crypto_hash of corosync.conf name: nil of none.
func NewCrypto(cipherName, hashName string, key []byte) (*Crypto, error) {
	n, known := keyBytes[cipherName]
	if !known {
		return nil, fmt.Errorf("knet: unknown crypto_cipher %q", cipherName)
	}
	if n == 0 && hashName == "none" {
		return nil, nil
	}
	newHash := hashes[hashName]
	if newHash == nil {
		return nil, fmt.Errorf("knet: crypto_hash %q with crypto_cipher %s; it must be one of md5, sha1, sha256, sha384, sha512", hashName, cipherName)
	}
	if len(key) < max(n, 1) {
		return nil, fmt.Errorf("knet: the key has %d bytes, which %s and %s cannot do with", len(key), cipherName, hashName)
	}
	c := &Crypto{mac: hmac.New(newHash, key)}
	if n == 0 {
		return c, nil
	}
	block, err := aes.NewCipher(key[:n])
	if err != nil {
		return nil, fmt.Errorf("knet: %w", err)
	}
	c.block = block
	zero := make([]byte, saltBytes)
	c.encrypt = cipher.NewCBCEncrypter(block, zero).(mode)
	c.decrypt = cipher.NewCBCDecrypter(block, zero).(mode)
	return c, nil
}

// front is how many bytes stand before the packet.
func (c *Crypto) front() int {
	if c == nil || c.block == nil {
		return 0
	}
	return saltBytes
}

func (c *Crypto) tag() int {
	if c == nil {
		return 0
	}
	return c.mac.Size()
}

// room is how long a packet can be that takes up to most bytes on the wire.
func (c *Crypto) room(most int) int {
	most -= c.front() + c.tag()
	if c.front() > 0 {
		most = most/aes.BlockSize*aes.BlockSize - 1
	}
	return max(most, 0)
}

// MessageBytes is the longest ring packet that goes into a datagram in one piece.
func (c *Crypto) MessageBytes(datagram int) int { return c.room(datagram) - dataBytes }

// seal protects the n bytes that stand behind front in b, and returns how many of b go over the
// wire. b has room for Overhead more than n.
func (c *Crypto) seal(b []byte, n int, random func([]byte)) int {
	if c == nil {
		return n
	}
	at := c.front()
	end := at + n
	if at > 0 {
		random(b[:at])
		pad := aes.BlockSize - n%aes.BlockSize
		for range pad {
			b[end] = byte(pad)
			end++
		}
		c.encrypt.SetIV(b[:at])
		c.encrypt.CryptBlocks(b[at:end], b[at:end])
	}
	c.mac.Reset()
	c.mac.Write(b[:end])
	return len(c.mac.Sum(b[:end]))
}

// open gives what a packet protects, which it decrypts in place.
func (c *Crypto) open(b []byte) ([]byte, error) {
	if c == nil {
		return b, nil
	}
	at, end := c.front(), len(b)-c.tag()
	if end <= at || at > 0 && (end-at)%aes.BlockSize != 0 {
		return nil, errTag
	}
	c.mac.Reset()
	c.mac.Write(b[:end])
	c.sum = c.mac.Sum(c.sum[:0])
	if !hmac.Equal(c.sum, b[end:]) {
		return nil, errTag
	}
	if at == 0 {
		return b[:end], nil
	}
	c.decrypt.SetIV(b[:at])
	b = b[at:end]
	c.decrypt.CryptBlocks(b, b)
	pad := int(b[len(b)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, errTag
	}
	for _, x := range b[len(b)-pad:] {
		if int(x) != pad {
			return nil, errTag
		}
	}
	return b[:len(b)-pad], nil
}
