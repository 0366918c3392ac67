// Package config reads qpidd's options, under qpidd's own names: from the command line, from
// the environment (QPID_CLUSTER_NAME for --cluster-name), and from a file of name=value
// lines, in this order of precedence. A value that an option cannot have is reported, with the
// line of the file or the variable, also where another value overrides it.
package config
