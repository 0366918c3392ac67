package disk

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// fileSystem is what we know of the one that a directory is on.
type fileSystem struct {
	name   string
	direct error // why there is no direct I/O, or nil
}

func (s *fileSystem) flags() int {
	if s.direct != nil {
		return 0
	}
	return unix.O_DIRECT
}

func (s *fileSystem) describe(depth int) string {
	text := fmt.Sprintf("direct I/O on %s, %d writes in flight", s.name, depth)
	if s.direct != nil {
		text = fmt.Sprintf("%s has no direct I/O (%v), plain writes and fdatasync are used", s.name, s.direct)
	}
	if s.name == "tmpfs" {
		text += "; what is in it does not survive a restart of the host"
	}
	return text
}

// fileSystemNames are those that somebody may have put a journal on, by statfs(2)'s f_type.
var fileSystemNames = map[uint32]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.F2FS_SUPER_MAGIC: "f2fs", unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC: "nfs", unix.FUSE_SUPER_MAGIC: "fuse", 0x2fc12fc1: "zfs",
}

// probe finds out how segments can be written to, by doing it.
func probe(dir string, block []byte) (s fileSystem, err error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return s, fmt.Errorf("cannot look at the file system of %s: %w", dir, err)
	}
	s.name = fileSystemNames[uint32(st.Type)]
	if s.name == "" {
		s.name = fmt.Sprintf("a file system of type %#x", uint32(st.Type))
	}
	// On a full disk there may be no room for another file: a segment does as well.
	list, err := List(dir)
	if err != nil {
		return s, err
	}
	for _, f := range list {
		if _, ok := journal.SegmentFile(f.Name); ok && f.Size >= 2*int64(len(block)) {
			s.direct = tryDirect(filepath.Join(dir, f.Name), block, unix.Pread)
			return s, nil
		}
	}
	path := filepath.Join(dir, "probe"+unfinishedSuffix)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return s, fmt.Errorf("cannot write in %s: %w; give the broker's user the right to, and room", dir, err)
	}
	defer unix.Unlink(path)
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, block, 0); err != nil {
		return s, fmt.Errorf("cannot write in %s: %w; make room on the file system", dir, err)
	}
	s.direct = tryDirect(path, block, unix.Pwrite)
	return s, nil
}

// tryDirect finds out by doing: open may take the flag where reads and writes do not.
func tryDirect(path string, block []byte, do func(fd int, b []byte, offset int64) (int, error)) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = do(fd, block, 0)
	return err
}
