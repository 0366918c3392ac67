// Package conf reads corosync.conf and its forerunner openais.conf: bytes in, a typed Config
// out, with a Notice for whatever is accepted without effect and an Error that names file,
// line and remedy for what is wrong.
//
//	c, notices, err := conf.Parse("/etc/corosync/corosync.conf", data)
//	uids, gids, err := conf.ParseUIDGID(name, data)  // each file of uidgid.d beside it
//	times := c.Times(0)                              // timers as corosync derives them
//	i := c.NodeNamed(hostname)                       // who of the nodelist we are, by name
//
// The grammar is that of corosync 3.1, line by line:
//
//	# comment            only if # is the first character of the line
//	name {               a section begins; nothing may follow the brace
//	key: value           up to the end of the line; nothing is quoted
//	}                    it ends; alone on its line
//
// Defaults, ranges and derived values are corosync 3.1.7's (corosync.conf(5), votequorum(5)),
// with one exception: a file without a nodelist was written for an older corosync or for
// openais, as corosync 3 does not start with it, so that its transport is udp if it names
// none. Like corosync, it takes directives it does not know; unlike corosync, it says so, and
// what they may be meant to be.
//
// Not here: reading files, resolving names, choosing interfaces, and what of all this a broker
// can do (package daemon/ringconf). Node addresses may be host names, and are left as text.
package conf
