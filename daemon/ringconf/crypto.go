package ringconf

import (
	"fmt"
	"os"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link/seal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// crypto says how packets are protected, and reads the key.
func (s *Setup) crypto(c *conf.Config, say func(string)) error {
	k := &c.Totem.Crypto
	if !k.Enabled() {
		return nil
	}
	if c.Totem.Transport != conf.KNET {
		s.Totem.MaxPacketBytes = wire.MaxPacketBytes - seal.Overhead
		where := c.File
		for _, d := range []string{"totem.secauth", "totem.crypto_hash", "totem.crypto_cipher"} {
			if c.Given(d) {
				where = c.Where(d)
			}
		}
		say(fmt.Sprintf("%s: with transport %s packets are encrypted with AES-256-GCM, whatever crypto_cipher and crypto_hash are; a corosync cannot be in this ring: for one with corosync set transport: knet", where, c.Totem.Transport))
	}
	s.Link.Crypto = link.Crypto{Cipher: k.Cipher, Hash: k.Hash, Key: []byte(k.Key), Cluster: c.Totem.ClusterName}
	if k.Key != "" && !c.Given("totem.keyfile") {
		return nil
	}
	data, err := read(k.KeyFile)
	if err != nil {
		what := "no keyfile is named, so it is the usual one"
		where := c.File
		if c.Given("totem.keyfile") {
			where, what = c.Where("totem.keyfile"), "it is the keyfile"
		}
		if os.IsPermission(err) {
			what += "; corosync-keygen makes it readable to root only: give the broker's user access, as with setfacl -m u:qpidd:r"
		} else {
			what += "; make one with corosync-keygen and copy it to every node"
		}
		return config.Wrong(fmt.Errorf("%s: the ring's key cannot be read: %w: %s", where, err, what))
	}
	if s.Link.Crypto.Key, err = conf.SharedKey(k.KeyFile, data); err != nil {
		return config.Wrong(fmt.Errorf("%s: %w", c.File, err))
	}
	return nil
}
