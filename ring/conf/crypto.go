package conf

import "fmt"

// Crypto is how packets are authenticated and encrypted.
type Crypto struct {
	Model   string // of the library; of no meaning here
	Cipher  string // none, aes128, aes192 or aes256
	Hash    string // none, md5, sha1, sha256, sha384 or sha512
	KeyFile string
	// Key is the shared key itself. It counts if the file has no keyfile.
	Key string
}

// DefaultKeyFile is where corosync-keygen leaves the key.
const DefaultKeyFile = "/etc/corosync/authkey"

// A key has any bytes, as many as libknet takes; corosync-keygen makes 256 of them. Of a longer
// file corosync takes the first MaxKeyBytes.
const (
	MinKeyBytes = 128
	MaxKeyBytes = 4096
)

// Enabled tells whether packets are to be authenticated or encrypted.
func (c *Crypto) Enabled() bool { return c.Cipher != "none" || c.Hash != "none" }

// SharedKey is the key out of a key file's bytes.
func SharedKey(file string, data []byte) ([]byte, error) {
	if len(data) < MinKeyBytes {
		return nil, fmt.Errorf("%s: the key has %d bytes, %d are the least; make one with corosync-keygen and copy it to every node", file, len(data), MinKeyBytes)
	}
	return data[:min(len(data), MaxKeyBytes)], nil
}
