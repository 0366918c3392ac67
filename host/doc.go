// Package host asks the machine what the broker has to know of it: which interface and
// address the ring is to use, and whether a process is still there.
package host
