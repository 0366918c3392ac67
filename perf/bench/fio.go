package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fio measures what the file system can do, in the same directory and the same run as what is
// compared with it.
type fio struct {
	path    string
	version string
	dir     string
}

func findFio(dir string) (*fio, error) {
	path, err := exec.LookPath("fio")
	if err != nil {
		return nil, fmt.Errorf("%w: install it (apt-get install fio)", err)
	}
	version, err := exec.Command(path, "--version").Output()
	return &fio{path, strings.TrimSpace(string(version)), dir}, err
}

// fioResult is what it tells of a job.
type fioResult struct {
	BytesPerSecond float64 `json:"bw_bytes"`
	PerSecond      float64 `json:"iops"`
}

// run runs one job, on a file of its own unless the arguments name others.
func (f *fio) run(ctx context.Context, rw string, args ...string) (fioResult, error) {
	args = append([]string{"--name=bench", "--directory=" + f.dir, "--rw=" + rw, "--output-format=json", "--thread"}, args...)
	cmd := exec.CommandContext(ctx, f.path, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fioResult{}, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	var report struct {
		Jobs []struct {
			Read  fioResult `json:"read"`
			Write fioResult `json:"write"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(out, &report); err != nil || len(report.Jobs) != 1 {
		return fioResult{}, fmt.Errorf("%s: %w", out, errors.Join(err, errors.New("one job is expected")))
	}
	if rw == "read" {
		return report.Jobs[0].Read, nil
	}
	return report.Jobs[0].Write, nil
}

// fileBytes is how long a file is that is written over and over, as segments are.
const fileBytes = 512 << 20

// write writes blocks over and over, many at a time.
func (f *fio) write(ctx context.Context, block int64, depth int, seconds float64) (fioResult, error) {
	return f.run(ctx, "write", "--ioengine=libaio", "--direct=1", "--overwrite=1", fmt.Sprintf("--size=%d", fileBytes/block*block),
		fmt.Sprintf("--bs=%d", block), fmt.Sprintf("--iodepth=%d", depth), fmt.Sprintf("--runtime=%g", seconds), "--time_based")
}

// flush writes a block and flushes it, over and over.
func (f *fio) flush(ctx context.Context, seconds float64) (fioResult, error) {
	return f.run(ctx, "write", "--ioengine=psync", "--direct=1", "--overwrite=1", "--size=64m", "--bs=4096", "--fdatasync=1",
		fmt.Sprintf("--runtime=%g", seconds), "--time_based")
}

// read reads files from their beginnings to their ends, one after the other.
func (f *fio) read(ctx context.Context, dir string, direct bool) (fioResult, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil {
		return fioResult{}, err
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	args := []string{"--directory=" + dir, "--filename=" + strings.Join(files, ":"), "--bs=1m", "--file_service_type=sequential", "--invalidate=1"}
	if direct {
		args = append(args, "--ioengine=libaio", "--direct=1", "--iodepth=8")
	} else {
		args = append(args, "--ioengine=psync")
	}
	return f.run(ctx, "read", args...)
}

// clean removes what fio has left.
func (f *fio) clean() error {
	list, err := filepath.Glob(filepath.Join(f.dir, "bench.*"))
	for _, path := range list {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// forgetPages has the kernel drop what it keeps in memory of a directory's files.
func forgetPages(dir string) error {
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range list {
		err = errors.Join(err, func() error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}())
	}
	return err
}
