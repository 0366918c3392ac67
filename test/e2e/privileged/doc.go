// Package privileged has the end-to-end tests that take root, or much time: with clients of
// other makers, and with brokers on several hosts, which are network namespaces on a bridge.
// They run where QPIDD_PRIVILEGED is set: make test-privileged.
package privileged
