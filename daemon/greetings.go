package daemon

import (
	"fmt"
	"net"
	"sync"
)

// greetings are the connections to the mesh of which it is not known yet whose they are.
type greetings struct {
	mu   sync.Mutex
	list []net.Conn // the oldest first
	full bool       // since there was none
}

// add takes a connection in. Where there are too many it closes the one that has taken most
// time over its hello, so that those who say nothing do not keep members out, who say it at
// once. It returns whether this is the first time that there are too many.
func (g *greetings) add(c net.Conn) (crowded bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.list) == maxStrangers {
		g.list[0].Close() // who reads from it finds out
		g.list = append(g.list[:0], g.list[1:]...)
		crowded, g.full = !g.full, true
	}
	g.list = append(g.list, c)
	return crowded
}

// remove forgets a connection that has been told apart, or is closed.
func (g *greetings) remove(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, o := range g.list {
		if o == c {
			g.list = append(g.list[:i], g.list[i+1:]...)
			break
		}
	}
	g.full = g.full && len(g.list) > 0
}

// accept takes connections until the mesh is closed. Other errors pass, such as the want of
// a file descriptor: a member that gave up would be cut off for good.
func (m *mesh) accept() {
	for {
		c, err := m.listen.Accept()
		if m.ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return
		}
		if err != nil {
			m.log.Warn("cannot accept a connection of another member: " + err.Error())
			pause(m.ctx, acceptPause)
			continue
		}
		if m.strangers.add(c) {
			m.log.Warn(fmt.Sprintf("%d connections to the members' port say nothing; the oldest is closed for each new one", maxStrangers),
				"last", c.RemoteAddr())
		}
		m.wg.Add(1)
		go func() {
			defer m.wg.Done()
			err := m.welcome(c)
			m.strangers.remove(c)
			if err != nil {
				m.log.Debug("mesh connection refused: "+err.Error(), "from", c.RemoteAddr())
				c.Close()
			}
		}()
	}
}
