// Package store is what a broker knows of its store before it reads the journal in it: whose it
// is, and whether it is one of ours at all.
//
//	s, err := store.Open(dir, truncate, random)   // dir is --store-dir
//	log.Notice(s.Notes…)
//	disk.Open(s.Journal, …)                       // locks it
//	s.Cluster = …; s.Save()
//
// The journal is in DIR/journal, and beside its segments there is a text file:
//
//	# DIR/journal/store
//	format: 1
//	store-id: 5d6fbb26-…
//	cluster-id: 8d2f0c11-…      the cluster it belongs to; zeros: none yet
//	shutdown-id: …              what all members had in common that were stopped together; or zeros
//	clean: yes                  the broker ended in order
//
// It is replaced as a whole: after a crash it is the old one or the new one. Stores of the original
// broker are recognised (legacystore's rhm, linearstore's qls), refused, and never touched.
package store
