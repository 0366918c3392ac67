// Package session turns what clients say into requests of their member, and what the
// member answers into what clients hear: one Conn for each connection, whatever its
// protocol version. It is pure: time is an argument, and bytes come in and go out.
package session
