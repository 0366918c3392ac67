// Package peers starts the clusters that the benchmark compares: three nodes each, on this
// host, on 127.0.0.1 only, in a directory that goes with them.
//
//	c, err := peers.StartNATS(ctx, peers.Options{Dir: dir, Nodes: 3})
//	defer c.Stop()
//	c.URLs()            // one a node
//	c.CPU()             // used so far by all of its processes
//
// RabbitMQ is Debian's package (rabbitmq-server, with Erlang), NATS is built from the module
// in natsd, and the broker of this tree is a binary that the caller names. All run as they
// come: what is set is where they listen, where they keep their files, and who is in the
// cluster.
package peers
