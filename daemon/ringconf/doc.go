// Package ringconf finds the ring's configuration, a corosync.conf, and makes of it and of the
// broker's options what ring, link and cluster are told.
//
//	s, err := ringconf.Load(options, say)   // say logs what the operator should know of
//	link.Open(s.Link); s.Node(address)      // its node id there
//	cpg.Config{Totem: s.Totem, Votes: s.Votes, …}
//
// Options override the file; without a file they, and corosync's defaults, are all there is.
// What a file asks for and the broker cannot do is an error if members would otherwise be less
// protected or not find each other, else a notice.
package ringconf
