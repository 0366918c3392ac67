// Package harness runs clusters of qpidd processes for tests.
//
//	c := harness.Start(t, 3)            // three brokers, each a member and listening
//	c.Brokers[0].Address()              // 127.0.0.1:port
//	c.Kill(1)                           // kill -9
//	c.Restart(1)                        // a new process at the same port
//
//	w := harness.NewNetwork(t, 3, 1500) // three hosts: network namespaces on a bridge
//	c := harness.StartAcross(t, w)      // one broker on each
//	w.Hosts[2].Unplug()
//
// With QPIDD_RING_PROVIDER=corosync brokers attach to the corosync of their host: StartAcross
// starts one on each, and test/e2e/with-corosync runs other tests beside one.
//
// The programs are built once per test binary, from this tree. Brokers are started as people
// do, as daemons with a command line; the ring's interface and port and the directory of
// the pid files come by environment, so that clusters of several tests keep apart and no
// packet leaves the host. When a test fails the brokers' logs are in its output; when it
// ends the brokers are killed, and networks removed, also those of a test that was killed
// itself before it could.
//
// Nothing here sleeps: what takes time is polled until a deadline.
package harness
