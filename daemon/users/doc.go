// Package users keeps who may connect: a file of names and SCRAM-SHA-256 keys, from which
// no password can be read back.
//
// The broker opens it and asks (File has the methods that sessions want of their Users);
// the command line changes it with Add, SetPassword and Delete, and the broker sees that
// at once. One line a user, fields apart by colons, binary ones in base64:
//
//	# users of qpidd: change with 'qpid-cluster user'
//	seed:<16 bytes>
//	user:<name>:SCRAM-SHA-256:<iterations>:<salt>:<stored key>:<server key>
//
// The seed makes the salts that unknown users are shown, so that they are the same each
// time and on each member that has a copy of the file. A change writes a new file beside
// the old one, flushes it and renames it, so that a reader sees the one or the other. The
// file belongs to whom the old one, or else its directory, belonged to, with mode 0600; one
// that others can read is refused.
package users
