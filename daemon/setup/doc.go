// Package setup writes the configuration of a broker for the network of its host: qpidd.conf, of
// which all else stays as it is, and corosync.conf.
//
//	p, err := setup.Make(setup.Choice{ClusterName: "orders", …})
//	p.Show(w)         // what would change
//	p.Write()         // what was shown
//
// Made again from the same choice a plan changes nothing. A corosync.conf that it has not written
// itself is somebody's, and is left alone.
package setup
