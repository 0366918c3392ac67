// Package logging writes the log as qpidd does: categories, levels, and rules such as
// "info+:Cluster" that say what is logged; to stderr, stdout, files, or the system's journal.
package logging
