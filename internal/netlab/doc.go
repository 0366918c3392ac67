// Package netlab makes networks for tests and benchmarks on one machine: hosts that are network
// namespaces, joined by a bridge in a namespace of its own, whose cables can be pulled and
// whose packets can be lost.
//
//	w := netlab.New(3, 1500, t.Fatalf)
//	defer w.Close()
//	exec.Command(w.Hosts[0].Line("ping", "-c1", w.Hosts[1].IP)...)
//	w.Hosts[2].Unplug()
//
// Networks of processes that ended without Close are removed by the next that makes one.
package netlab
