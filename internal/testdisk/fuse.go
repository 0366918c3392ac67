package testdisk

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// root is the file system's only directory, with its only file.
type root struct {
	fs.Inode
	image *image
}

func (r *root) OnAdd(ctx context.Context) {
	r.AddChild(imageName, r.NewPersistentInode(ctx, r.image, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}

const imageName = "image"

// image is the file that the loop device is on.
type image struct {
	fs.Inode
	cache *cache
	bytes int64
}

var _ interface {
	fs.NodeOpener
	fs.NodeGetattrer
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
} = (*image)(nil)

func (i *image) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blksize, out.Blocks = syscall.S_IFREG|0o600, uint64(i.bytes), blockBytes, uint64(i.bytes/sectorBytes)
	return 0
}

// Open: nothing of the file is in the kernel's memory, so that a write is a write.
func (i *image) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (i *image) Read(_ context.Context, _ fs.FileHandle, b []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	b = b[:max(0, min(int64(len(b)), i.bytes-offset))]
	return fuse.ReadResultData(b), i.cache.read(b, offset)
}

func (i *image) Write(_ context.Context, _ fs.FileHandle, b []byte, offset int64) (uint32, syscall.Errno) {
	if offset+int64(len(b)) > i.bytes {
		return 0, syscall.ENOSPC
	}
	return uint32(len(b)), i.cache.write(b, offset)
}

func (i *image) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno { return i.cache.sync() }
