package datapath

import (
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

// Moved puts the guard and the token's program before the ring's interface, which was removed and made
// again, as the link tells it. The link's own program, if it has one, has come along with it.
func (c *Choice) Moved(p link.Place) {
	c.mu.Lock()
	c.place = p
	if c.attached != nil && !c.owned && c.attached.Closed() {
		// The path could not come along, and has said why.
		c.attached, c.name, c.why, c.detail = nil, config.DatapathUDP, "since the interface was made again", ""
	}
	guard, owned, pass := c.attached, c.owned, c.pass
	c.mu.Unlock()
	if guard != nil && owned {
		if err := guard.Move(p.Interface); err != nil {
			c.say(true, "there is no guard before the ring any more, which goes on without: "+err.Error())
		}
	}
	if pass == nil {
		return
	}
	err := pass.table.Move(p.Interface)
	if err == nil {
		err = pass.program.Move(p.Interface)
	}
	if err != nil {
		c.say(true, "the kernel does not pass the token on any more: "+err.Error())
	}
}
