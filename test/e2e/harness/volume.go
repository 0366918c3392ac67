package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/internal/testdisk"
)

// FileSystems are those that volumes are made of.
var FileSystems = []string{"ext4", "xfs"}

// Volume is a small file system of its own, in a file.
type Volume struct {
	Dir   string         // where it is mounted
	Disk  *testdisk.Disk // that it is on, which can be made to fail; nil: an ordinary loop device
	image string
	t     testing.TB
}

// NewVolume makes and mounts a file system; it goes with the test. Where the programs for it are
// missing the test is skipped.
func NewVolume(t testing.TB, kind string, bytes int64) *Volume {
	t.Helper()
	Privileged(t)
	v := newVolume(t)
	v.image = filepath.Join(filepath.Dir(v.Dir), "image")
	if err := errors.Join(os.WriteFile(v.image, nil, 0o600), os.Truncate(v.image, bytes)); err != nil {
		t.Fatal(err)
	}
	v.run(maker(t, kind), "-q", v.image)
	v.Mount()
	return v
}

// NewFaultyVolume makes one on a disk that can be made to fail, and to lose its power.
func NewFaultyVolume(t testing.TB, kind string, bytes int64) *Volume {
	t.Helper()
	Privileged(t)
	if err := testdisk.Missing(); err != nil {
		leave(t, err)
	}
	program := maker(t, kind)
	base := t.TempDir()
	d, err := testdisk.New(base, bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after it is unmounted
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	v := newVolume(t)
	v.Disk, v.image = d, base
	v.run(program, "-q", d.Device())
	v.Mount()
	return v
}

func maker(t testing.TB, kind string) string {
	t.Helper()
	program, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		leave(t, fmt.Errorf("%w: install %s", err, map[string]string{"ext4": "e2fsprogs", "xfs": "xfsprogs"}[kind]))
	}
	return program
}

func newVolume(t testing.TB) *Volume {
	t.Helper()
	v := &Volume{Dir: filepath.Join(t.TempDir(), "volume"), t: t}
	if err := os.Mkdir(v.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if mounted(v.Dir) {
			v.run("umount", "-l", v.Dir) // also if the test has failed, and something is left
		}
	})
	return v
}

func (v *Volume) run(name string, args ...string) {
	v.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		v.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// Mount mounts it.
func (v *Volume) Mount() {
	v.t.Helper()
	if v.Disk != nil {
		v.run("mount", v.Disk.Device(), v.Dir)
		return
	}
	v.run("mount", "-o", "loop", v.image, v.Dir)
}

// PowerCycle turns the disk's power on after a cut: what the kernel still has of the file system goes,
// and it is mounted as after a start of the host. Nobody may use it.
func (v *Volume) PowerCycle() {
	v.t.Helper()
	v.unmount()
	if err := v.Disk.Detach(); err != nil {
		v.t.Fatal(err)
	}
	v.awaitDetached()
	v.Disk.Restore()
	if err := v.Disk.Attach(); err != nil {
		v.t.Fatal(err)
	}
	v.Mount()
}

// Unmount unmounts it, as soon as the last of those that have used it is wholly gone. Who has made
// a mount namespace meanwhile, as other tests on this host do, has a copy of the mount: then the file
// system lives on, and what is to happen with its next mount cannot be tested.
func (v *Volume) Unmount() {
	v.t.Helper()
	v.unmount()
	v.awaitDetached()
}

func (v *Volume) unmount() {
	v.t.Helper()
	Eventually(v.t, endLimit, "unmount "+v.Dir, func() error {
		out, err := exec.Command("umount", v.Dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (v *Volume) awaitDetached() {
	v.t.Helper()
	if err := poll(endLimit, v.attached); err != nil {
		v.t.Skip(err)
	}
}

// attached is an error while the image is in use by a loop device.
func (v *Volume) attached() error {
	list, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range list {
		// It goes with the last mount, also while it is looked at.
		if image, e := os.ReadFile(file); e == nil && strings.HasPrefix(string(image), v.image) {
			err = fmt.Errorf("%s is unmounted, but still in use: another mount namespace has it", v.Dir)
		}
	}
	return err
}

// mounted tells whether something is mounted at a directory: its device is not its parent's.
func mounted(dir string) bool {
	var here, above unix.Stat_t
	return unix.Stat(dir, &here) == nil && unix.Stat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}

// filler takes the space that Fill takes.
const filler = "filler"

// Fill takes all space but so many bytes, to the last block if that is 0. The file system's
// reserve for root counts as space, as tests are root.
func (v *Volume) Fill(butBytes int64) {
	v.t.Helper()
	f, err := os.OpenFile(filepath.Join(v.Dir, filler), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	part := int64(1) // of what is free: somebody else may take some of it meanwhile
	for n := v.free() - butBytes; n > 0; n = v.free() - butBytes {
		info, err := f.Stat()
		if err == nil {
			err = unix.Fallocate(int(f.Fd()), 0, info.Size(), max(n/part, 1))
		}
		if err == unix.ENOSPC && butBytes == 0 {
			v.last(f)
			return
		}
		if err == unix.ENOSPC && part < n {
			part *= 2
			continue
		}
		if err != nil {
			v.t.Fatalf("fill %s: %v", v.Dir, err)
		}
	}
	if butBytes == 0 {
		v.last(f)
	}
}

// last writes block by block until there is none left.
func (v *Volume) last(f *os.File) {
	b := make([]byte, 4096)
	for {
		if _, err := f.Write(b); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			v.t.Fatal(err)
		}
	}
}

func (v *Volume) free() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(v.Dir, &st); err != nil {
		v.t.Fatal(err)
	}
	return int64(st.Bfree) * st.Bsize
}

// Relieve gives back what Fill took.
func (v *Volume) Relieve() {
	v.t.Helper()
	if err := os.Remove(filepath.Join(v.Dir, filler)); err != nil {
		v.t.Fatal(err)
	}
}

// Shutdown has the file system fail at once, as if its disk had gone: every call is answered with an
// I/O error, and what it had not written of its own records is lost. It works again when it is
// unmounted and mounted.
func (v *Volume) Shutdown() {
	v.t.Helper()
	// FS_IOC_SHUTDOWN of Linux 6.10, EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN before.
	const shutdown, withoutItsLog = 0x8004587d, uint32(2)
	d, err := os.Open(v.Dir)
	if err != nil {
		v.t.Fatal(err)
	}
	defer d.Close()
	how := withoutItsLog
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		v.t.Fatal(fmt.Errorf("shut %s down: %w", v.Dir, errno))
	}
}
