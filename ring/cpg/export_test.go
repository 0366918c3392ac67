package cpg

// LoseSync has a synchronisation begin that nobody else takes part in.
func (m *Machine) LoseSync() {
	m.synced = false
	m.round.step = building
	m.round.services = m.round.services[:0]
	m.round.told = make([]bool, len(m.nodes))
}

// LoseJoin has this process forget that it came into its group.
func (m *Machine) LoseJoin() { m.joined = false }
