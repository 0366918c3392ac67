package cpg

import "github.com/qpidd-cluster/qpidd-cluster/ring/wire"

// Versions of the configuration (section 5.3): every node tells its own in each synchronisation. The
// first time that a node is in a ring with others it compares; if one has a higher version it is not to
// take part. Later rings do not matter: a configuration is brought up to date node by node.

func (m *Machine) onValues(o wire.Order, msg []byte) {
	v, err := wire.ParseConfigVersion(o, msg)
	if err != nil {
		m.stats.Malformed++
		return
	}
	if !m.synced { // else a node has read its configuration anew
		m.newest = max(m.newest, v)
	}
}

func (m *Machine) compareVersions() {
	if m.compared || len(m.nodes) == 1 {
		return
	}
	m.compared = true
	if m.cfg.ConfigVersion != 0 && m.newest > m.cfg.ConfigVersion {
		m.outdated = m.newest
	}
}

// Outdated tells, once, that this member has met others for the first time and one of them has a newer
// configuration, of which version.
func (m *Machine) Outdated() (newest uint64, yes bool) {
	newest, m.outdated = m.outdated, 0
	return newest, newest != 0
}
