// Package daemon is qpidd: the only place where clocks, sockets and goroutines meet the pure
// parts. One goroutine, the engine, owns ring, log and broker; each client has one that
// reads and one that writes, with its session between them.
//
//	b, err := daemon.Start(options, log)   // listens, joins; an error says what to do
//	<-b.Member()                           // it is a member and serves clients
//	b.Stop()                               // says good-bye
package daemon
