package config

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// ErrHelp says that help was asked for: print Usage.
var ErrHelp = pflag.ErrHelp

// Load reads the command line, then the environment, then the file.
func Load(args []string, environ []string) (*Options, error) {
	o := &Options{}
	f := o.flags()
	if err := f.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, ErrHelp
		}
		return nil, fmt.Errorf("%w; qpidd --help lists the options", err)
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q; qpidd --help lists the options", f.Arg(0))
	}
	set := map[string]bool{}
	f.Visit(func(g *pflag.Flag) { set[g.Name] = true })
	if err := fromEnvironment(f, environ, set); err != nil {
		return nil, err
	}
	if err := fromFile(f, o.ConfigFile, set); err != nil {
		return nil, err
	}
	return o, o.validate(set)
}

// Usage is the text of --help.
func Usage() string {
	o := &Options{}
	return "Usage: qpidd [options]\n\nA clustered AMQP broker.\n\nOptions:\n" + o.flags().FlagUsagesWrapped(100)
}

func fromEnvironment(f *pflag.FlagSet, environ []string, set map[string]bool) error {
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		name, ok := strings.CutPrefix(name, "QPID_")
		if !ok {
			continue
		}
		option := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if f.Lookup(option) == nil || set[option] {
			continue // other programs have QPID_ variables too
		}
		if err := f.Set(option, value); err != nil {
			return fmt.Errorf("environment variable QPID_%s: %w", name, err)
		}
		set[option] = true
	}
	return nil
}

func fromFile(f *pflag.FlagSet, path string, set map[string]bool) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !set["config"] {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read configuration file: %w; check --config and the file's permissions", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	here := map[string]bool{}
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if f.Lookup(name) == nil {
			return fmt.Errorf("%s:%d: unknown option %q; qpidd --help lists the options", path, n, name)
		}
		if !ok {
			value = f.Lookup(name).NoOptDefVal
		}
		if set[name] && !here[name] {
			continue // the command line or the environment has said otherwise
		}
		if err := f.Set(name, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		set[name], here[name] = true, true
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read configuration file %s: %w", path, err)
	}
	return nil
}

func (o *Options) validate(set map[string]bool) error {
	switch {
	case o.Port < 0 || o.Port > 65535:
		return fmt.Errorf("--port %d is no TCP port: 0 to 65535", o.Port)
	case o.McastPort < 1024 || o.McastPort > 65535:
		return fmt.Errorf("--mcastport %d is no UDP port: 1024 to 65535", o.McastPort)
	case len(o.ClusterName) > MaxClusterName:
		return fmt.Errorf("--cluster-name has %d bytes, it can have %d at most", len(o.ClusterName), MaxClusterName)
	case o.ClusterSize < 0 || o.ClusterSize > 384:
		return fmt.Errorf("--cluster-size %d: a cluster has 1 to 384 members", o.ClusterSize)
	case o.MaxFrame < 4096 || o.MaxFrame > 16<<20:
		return fmt.Errorf("--max-frame-size %d: 4096 to %d bytes", o.MaxFrame, 16<<20)
	case o.MaxMessage < 1 || o.MaxMessage > 255<<20:
		return fmt.Errorf("--max-message-size %d: 1 to %d bytes", o.MaxMessage, 255<<20)
	case o.NoDataDir && set["data-dir"]:
		return fmt.Errorf("--data-dir and --no-data-dir contradict each other: give one of them")
	case o.ClusterName == "" && set["cluster-size"]:
		return fmt.Errorf("--cluster-size is of no use without --cluster-name")
	}
	if o.DataDir == "" && !o.NoDataDir {
		o.DataDir = defaultDir("/var/lib/qpidd")
	}
	if o.PidDir == "" {
		o.PidDir = defaultDir("/run/qpidd")
	}
	return nil
}

// defaultDir is where a system service keeps its files, or a user's own directory.
func defaultDir(system string) string {
	if os.Geteuid() == 0 {
		return system
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".qpidd")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf(".qpidd-%d", os.Geteuid()))
}

// PidPath is the file that holds the process id of the daemon of a port.
func (o *Options) PidPath(port int) string {
	if o.PidFile != "" {
		return o.PidFile
	}
	return filepath.Join(o.PidDir, fmt.Sprintf("qpidd.%d.pid", port))
}
