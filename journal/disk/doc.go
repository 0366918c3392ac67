// Package disk gives the journal its memory and does what touches the machine for it.
package disk
