// Package datapath has the tests that every datapath of ring/link passes, whichever datapath is at
// the other end: over hosts that are network namespaces on a bridge. They take root, and run where
// QPIDD_PRIVILEGED is set: make test-privileged.
package datapath
