package doctor

import (
	"errors"
	"fmt"
	"os"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// storeDir is where the broker keeps messages; empty: nowhere.
func (h *host) storeDir() string {
	switch {
	case h.options == nil:
		return h.dataDir()
	case h.options.Given("store-dir"):
		return h.options.StoreDir
	case h.options.NoDataDir:
		return ""
	}
	return h.dataDir()
}

// store: whose it is, and that this version can read it.
func (h *host) store() []Finding {
	if h.options == nil {
		return one(Unknown, "the configuration has a mistake", "")
	}
	dir := h.storeDir()
	if dir == "" {
		return fine("there is none: nothing is kept on disk")
	}
	s, err := store.Examine(dir)
	other := new(journal.VersionError)
	switch {
	case errors.Is(err, store.ErrNone):
		return fine("there is none in %s yet: the broker makes it", dir)
	case os.IsPermission(err):
		return one(Unknown, err.Error(), "run it as root")
	case errors.As(err, &other):
		return one(Error, err.Error(), fmt.Sprintf("install the version of qpidd-cluster that reads journal format %d", other.Have))
	case err != nil:
		return one(Error, err.Error(), "put it back from a backup; or move it away, and the broker gets everything from the other members")
	}
	return fine("%s, journal format %d, cluster-id %s, %s", dir, journal.FormatVersion, s.Cluster, s.Status())
}
