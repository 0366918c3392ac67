// Package systemd holds the broker's units, and what makes its user and directories. The tests
// have systemd's own tools look at them.
package systemd
