package ringconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/conf"
)

// maxFileBytes is far beyond a nodelist of as many nodes as a ring can have.
const maxFileBytes = 1 << 20

// find reads the ring's configuration: the file that was named, or the first of those that are
// looked for. Nil is none.
func find(o *config.Options, say func(string)) (*conf.Config, error) {
	if o.Given("ring-config") {
		if o.RingConfig == "" || o.RingConfig == os.DevNull {
			return nil, nil
		}
		data, err := read(o.RingConfig)
		if err != nil {
			return nil, fmt.Errorf("cannot read the ring's configuration: %w; check --ring-config, which is none if empty", err)
		}
		return parse(o.RingConfig, data, say)
	}
	return search(config.RingFiles, say)
}

func search(files []string, say func(string)) (*conf.Config, error) {
	for _, name := range files {
		data, err := read(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the ring's configuration: %w; make it readable, or start with --ring-config= (empty) for a ring without it", err)
		}
		if c, _, err := conf.Parse(name, data); err == nil && c.Example() {
			say(name + " is not used: it is the example of corosync's package, with no address but loopback; give --ring-config=" + name + " to use it")
			continue
		}
		return parse(name, data, say)
	}
	return nil, nil
}

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFileBytes)
	}
	return data, err
}

func parse(name string, data []byte, say func(string)) (*conf.Config, error) {
	c, notices, err := conf.Parse(name, data)
	if err != nil {
		return nil, fmt.Errorf("ring configuration: %w", err)
	}
	say("ring configuration: " + name)
	for _, n := range notices {
		say(n.String())
	}
	uidgids(c, say)
	return c, nil
}

// uidgids reads the files of uidgid.d beside a corosync.conf. What they say has no effect on the
// broker, and so a mistake in them keeps only corosync from starting.
func uidgids(c *conf.Config, say func(string)) {
	dir := filepath.Join(filepath.Dir(c.File), "uidgid.d")
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		say("not read: " + err.Error())
	}
	for _, e := range list {
		name := filepath.Join(dir, e.Name())
		if i, err := os.Stat(name); err != nil || !i.Mode().IsRegular() {
			continue
		}
		data, err := read(name)
		if err == nil {
			var uids, gids []string
			uids, gids, err = conf.ParseUIDGID(name, data)
			c.UIDs, c.GIDs = append(c.UIDs, uids...), append(c.GIDs, gids...)
		}
		if err != nil {
			say(err.Error() + "; it has no effect on the broker, but corosync does not start with it")
		}
	}
}
