package config

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// ErrHelp says that help was asked for: print Usage.
var ErrHelp = pflag.ErrHelp

// Mistake is an error of whoever wrote the configuration: starting again does not mend it.
type Mistake struct{ error }

// Unwrap returns what is wrong.
func (m *Mistake) Unwrap() error { return m.error }

// Wrong makes an error a Mistake.
func Wrong(err error) error { return &Mistake{err} }

// Load reads the command line, then the environment, then the file. Its errors but ErrHelp are
// Mistakes.
func Load(args []string, environ []string) (*Options, error) {
	o, err := load(args, environ)
	if err != nil && !errors.Is(err, ErrHelp) {
		return nil, Wrong(err)
	}
	return o, err
}

func load(args []string, environ []string) (*Options, error) {
	set := map[string]bool{}
	o := &Options{given: set}
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
	f.Visit(func(g *pflag.Flag) { set[g.Name] = true })
	if err := fromEnvironment(f, environ, set); err != nil {
		return nil, err
	}
	if err := fromFile(f, o.ConfigFile, set); err != nil {
		return nil, err
	}
	o.effective = map[string]string{}
	f.VisitAll(func(g *pflag.Flag) { o.effective[g.Name] = g.Value.String() })
	return o, o.validate(set)
}

// Differing names the options, in the order of their names, that have other values in other.
func (o *Options) Differing(other *Options) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(o.effective)) {
		if o.effective[name] != other.effective[name] {
			names = append(names, name)
		}
	}
	return names
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
		if f.Lookup(option) == nil {
			continue // other programs have QPID_ variables too
		}
		if err := try(option, value); err != nil {
			return fmt.Errorf("environment variable QPID_%s: %w", name, err)
		}
		if set[option] {
			continue // the command line has said otherwise
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
		if n == 1 { // editors of other systems mark UTF-8 there, where nobody sees it
			line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
		}
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
		value = strings.TrimSpace(value)
		if err := try(name, value); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if set[name] && !here[name] {
			continue // the command line or the environment has said otherwise
		}
		if err := f.Set(name, value); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		set[name], here[name] = true, true
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read configuration file %s: %w", path, err)
	}
	return nil
}

// try tells whether an option can have a value, so that a mistake is reported where it was
// made, and also where something else overrides it: the day that goes, the mistake would show.
func try(option, value string) error {
	o := &Options{}
	if err := o.flags().Set(option, value); err != nil {
		return err
	}
	return o.ranges()
}

// ranges looks at each value by itself.
func (o *Options) ranges() error {
	switch {
	case o.Port < 0 || o.Port > 65535:
		return fmt.Errorf("--port %d is no TCP port: 0 to 65535", o.Port)
	case o.McastPort < 1024 || o.McastPort > 65535:
		return fmt.Errorf("--mcastport %d is no UDP port: 1024 to 65535", o.McastPort)
	case o.MeshPort < 0 || o.MeshPort > 65535:
		return fmt.Errorf("--mesh-port %d is no TCP port: 0 to 65535", o.MeshPort)
	case strings.HasPrefix(o.ClusterName, "--"):
		return fmt.Errorf("--cluster-name %s: this is an option, and the name is missing", o.ClusterName)
	case len(o.ClusterName) > MaxClusterName:
		return fmt.Errorf("--cluster-name has %d bytes, it can have %d at most", len(o.ClusterName), MaxClusterName)
	case o.ClusterSize < 0 || o.ClusterSize > wire.MaxMembers:
		return fmt.Errorf("--cluster-size %d: a cluster has 1 to %d members", o.ClusterSize, wire.MaxMembers)
	case o.Acceptors < 1 || o.Acceptors > MaxAcceptors:
		return fmt.Errorf("--acceptors %d: 1 to %d", o.Acceptors, MaxAcceptors)
	case o.MaxFrame < 4096 || o.MaxFrame > 16<<20:
		return fmt.Errorf("--max-frame-size %d: 4096 to %d bytes", o.MaxFrame, 16<<20)
	case o.MaxMessage < 1 || o.MaxMessage > 255<<20:
		return fmt.Errorf("--max-message-size %d: 1 to %d bytes", o.MaxMessage, 255<<20)
	}
	if err := o.amounts(); err != nil {
		return err
	}
	if !slices.Contains([]string{SyncMajority, SyncAll, SyncLocal, SyncNone}, o.Sync) {
		return fmt.Errorf("--sync %q is none of %s, %s, %s and %s", o.Sync, SyncMajority, SyncAll, SyncLocal, SyncNone)
	}
	if !slices.Contains(FirewallModes, o.Firewall) {
		return fmt.Errorf("--firewall %q is none of %s", o.Firewall, strings.Join(FirewallModes, ", "))
	}
	if err := o.metricsAddress(); err != nil {
		return err
	}
	if group, err := netip.ParseAddr(o.McastAddr); o.McastAddr != "" && (err != nil || !group.IsMulticast()) {
		return fmt.Errorf("--mcastaddr %q is no multicast address: give one of 239.0.0.0 to 239.255.255.255, or of ff00::/8 with IPv6, the same to all members; without the option it follows from the cluster's name", o.McastAddr)
	}
	return nil
}

// amounts looks at numbers that have a meaning only above some other.
func (o *Options) amounts() error {
	switch {
	case o.MaxConnections < 0:
		return fmt.Errorf("--max-connections %d is below 0, which is no limit", o.MaxConnections)
	case o.MaxNegotiate < 0:
		return fmt.Errorf("--max-negotiate-time %d: a client needs some milliseconds to open its connection", o.MaxNegotiate)
	case o.WorkerThreads < 0 || o.WorkerThreads > maxThreads:
		return fmt.Errorf("--worker-threads %d: 1 to %d, or 0 for one for each core", o.WorkerThreads, maxThreads)
	case o.Wait < 0:
		return fmt.Errorf("--wait %d: give a number of seconds", o.Wait)
	case o.Token < 0:
		return fmt.Errorf("--token %v: give a time as 3s, or 0 for the ring configuration's", o.Token)
	}
	return nil
}

// metricsAddress looks at [ADDRESS:]PORT.
func (o *Options) metricsAddress() error {
	host, port, err := "", o.MetricsListen, error(nil)
	if strings.Contains(port, ":") {
		host, port, err = net.SplitHostPort(port)
	}
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if _, bad := strconv.ParseUint(port, 10, 16); o.MetricsListen != "" && (err != nil || bad != nil) {
		return fmt.Errorf("--metrics-listen %q is not [ADDRESS:]PORT, as 9419, 127.0.0.1:9419 or [::1]:9419", o.MetricsListen)
	}
	return nil
}

func (o *Options) validate(set map[string]bool) error {
	if err := o.ranges(); err != nil {
		return err
	}
	switch {
	case o.NoDataDir && set["data-dir"]:
		return fmt.Errorf("--data-dir and --no-data-dir contradict each other: give one of them")
	case o.ClusterName == "" && set["cluster-size"]:
		return fmt.Errorf("--cluster-size is of no use without --cluster-name")
	case o.ConnectionRate < 0:
		return fmt.Errorf("--connection-rate %d is below 0, which is no limit", o.ConnectionRate)
	case bool(o.Truncate) && o.NoDataDir && o.StoreDir == "":
		return fmt.Errorf("--truncate is of no use with --no-data-dir: there is nothing to discard; remove one of them, or give --store-dir")
	}
	if err := o.validateProvider(set); err != nil {
		return err
	}
	if o.DataDir == "" && !o.NoDataDir {
		o.DataDir = cmp.Or(os.Getenv("STATE_DIRECTORY"), defaultDir("/var/lib/qpidd"))
	}
	if o.StoreDir == "" {
		o.StoreDir = o.DataDir
	}
	if o.PidDir == "" {
		o.PidDir = defaultDir("/run/qpidd")
	}
	return nil
}

// validateProvider refuses what a ring's provider would ignore.
func (o *Options) validateProvider(set map[string]bool) error {
	switch {
	case o.Provider != Totem && o.Provider != Corosync:
		return fmt.Errorf("--ring-provider %q is neither %s nor %s", o.Provider, Totem, Corosync)
	case !slices.Contains(datapaths, o.Datapath):
		return fmt.Errorf("--ring-datapath %q is none of %s", o.Datapath, strings.Join(datapaths, ", "))
	case !slices.Contains(guards, o.RingGuard):
		return fmt.Errorf("--ring-guard %q is none of %s", o.RingGuard, strings.Join(guards, ", "))
	case o.Provider == Totem:
		return nil
	}
	for _, name := range []string{"ring-config", "bindnetaddr", "mcastaddr", "mcastport", "ring-datapath", "ring-guard", "ring-token-pass", "token"} {
		if set[name] && (name != "ring-config" || o.RingConfig != "") { // which says that there is none
			return fmt.Errorf("--%s is of no use with --ring-provider=corosync: corosync.conf says how its ring is set up; remove one of them", name)
		}
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
