package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
)

// Choice is what a cluster is to be.
type Choice struct {
	ClusterName string
	ClusterSize int    // 0: it is not said
	BindNetAddr string // empty: the network of the default route's interface
	Nodes       []string
	Port        int
	McastPort   int
	MeshPort    int

	Config     string // qpidd.conf
	RingConfig string // corosync.conf
}

// Plan is what is to be written.
type Plan struct {
	Files []File
	Notes []string
}

// File is one of them. Old is nil if there is none yet.
type File struct {
	Name     string
	Old, New []byte
}

// mark tells the files that are ours.
const mark = "# Written by qpid-cluster setup, which writes it again as long as this line is here.\n"

// Make plans. It looks at the host and changes nothing.
func Make(c Choice) (*Plan, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	p := &Plan{}
	conf, err := p.read(c.Config)
	if err != nil {
		return nil, err
	}
	text := string(conf)
	for _, s := range []struct{ name, value string }{
		{"cluster-name", c.ClusterName}, {"cluster-size", nonzero(c.ClusterSize)},
		{"port", strconv.Itoa(c.Port)}, {"mesh-port", strconv.Itoa(c.MeshPort)},
	} {
		text = set(text, s.name, s.value)
	}
	p.add(c.Config, conf, []byte(text))
	ring, err := p.read(c.RingConfig)
	switch {
	case err != nil:
		return nil, err
	case ring != nil && !bytes.HasPrefix(ring, []byte(mark)):
		p.Notes = append(p.Notes, c.RingConfig+" is not of this program: it stays as it is, and says where the ring runs; qpid-cluster doctor tells what of it counts")
	default:
		p.add(c.RingConfig, ring, []byte(c.ring()))
	}
	return p, p.check(&c)
}

// complete fills in what follows from the host, and refuses what cannot be.
func (c *Choice) complete() error {
	at, err := host.RingAddress(c.BindNetAddr)
	if err != nil {
		return err
	}
	if n, known := host.Network(at.Address); c.BindNetAddr == "" && known {
		c.BindNetAddr = n.Addr().String()
	}
	for _, n := range c.Nodes {
		if _, err := netip.ParseAddr(n); err != nil {
			return fmt.Errorf("--node %q is no IP address: give that of each member, this host's too", n)
		}
	}
	if len(c.Nodes) == 1 {
		return errors.New("one --node is no cluster: give each member's address, this host's too")
	}
	if len(c.Nodes) > 0 && c.ClusterSize == 0 {
		c.ClusterSize = len(c.Nodes)
	}
	return nil
}

func nonzero(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// set gives an option a value in a qpidd.conf: in the line that it has, else in place of the comment
// that shows it, else at the end. Without a value the line becomes a comment again.
func set(text, name, value string) string {
	lines := strings.SplitAfter(text, "\n")
	comment := -1
	for i, l := range lines {
		have, _, _ := strings.Cut(strings.TrimSpace(l), "=")
		switch strings.TrimSpace(have) {
		case name:
			if value == "" {
				lines[i] = "#" + l
			} else {
				lines[i] = name + "=" + value + "\n"
			}
			return strings.Join(lines, "")
		case "#" + name:
			comment = i
		}
	}
	switch {
	case value == "":
		return text
	case comment >= 0:
		lines[comment] = name + "=" + value + "\n"
		return strings.Join(lines, "")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + name + "=" + value + "\n"
}

// ring is a corosync.conf.
func (c *Choice) ring() string {
	var b strings.Builder
	b.WriteString(mark)
	transport := "udp"
	if len(c.Nodes) > 0 {
		transport = "udpu"
	}
	fmt.Fprintf(&b, "totem {\n\tversion: 2\n\tcluster_name: %s\n\ttransport: %s\n\tsecauth: off\n\tinterface {\n\t\tbindnetaddr: %s\n\t\tmcastport: %d\n\t}\n}\n",
		c.ClusterName, transport, c.BindNetAddr, c.McastPort)
	if len(c.Nodes) > 0 {
		b.WriteString("nodelist {\n")
		for _, n := range c.Nodes {
			fmt.Fprintf(&b, "\tnode {\n\t\tring0_addr: %s\n\t}\n", n)
		}
		b.WriteString("}\n")
	}
	if c.ClusterSize > 0 {
		fmt.Fprintf(&b, "quorum {\n\tprovider: corosync_votequorum\n\texpected_votes: %d\n}\n", c.ClusterSize)
	}
	return b.String()
}

func (p *Plan) read(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (p *Plan) add(name string, old, fresh []byte) {
	if old == nil || !bytes.Equal(old, fresh) {
		p.Files = append(p.Files, File{name, old, fresh})
	}
}

// check has the broker's own code read what would be written.
func (p *Plan) check(c *Choice) error {
	dir, err := os.MkdirTemp("", "qpid-cluster-setup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "qpidd.conf")
	for i := range p.Files {
		if p.Files[i].Name != c.Config {
			continue
		}
		if err := os.WriteFile(name, p.Files[i].New, 0o600); err != nil {
			return err
		}
		if _, err := config.Load([]string{"--config=" + name}, nil); err != nil {
			return fmt.Errorf("%s would not be accepted: %s", c.Config, strings.ReplaceAll(err.Error(), name, c.Config))
		}
	}
	return nil
}

// Show shows what would change.
func (p *Plan) Show(w io.Writer) {
	for _, n := range p.Notes {
		fmt.Fprintln(w, n)
	}
	for i := range p.Files {
		f := &p.Files[i]
		if f.Old == nil {
			fmt.Fprintf(w, "new file %s:\n", f.Name)
		} else {
			fmt.Fprintf(w, "changes in %s:\n", f.Name)
		}
		old := map[string]int{}
		for l := range strings.Lines(string(f.Old)) {
			old[l]++
		}
		fresh := map[string]int{}
		for l := range strings.Lines(string(f.New)) {
			fresh[l]++
		}
		for l := range strings.Lines(string(f.Old)) {
			if old[l] > fresh[l] {
				fmt.Fprint(w, "  - ", l)
			}
		}
		for l := range strings.Lines(string(f.New)) {
			if fresh[l] > old[l] {
				fmt.Fprint(w, "  + ", l)
			}
		}
	}
}

// Write writes the files, each as a whole. A file keeps its owner and its mode.
func (p *Plan) Write() error {
	for i := range p.Files {
		if err := p.Files[i].write(); err != nil {
			return fmt.Errorf("%s: %w", p.Files[i].Name, err)
		}
	}
	return nil
}

func (f *File) write() (err error) {
	if err := os.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(f.Name), filepath.Base(f.Name)+".new*")
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) // gone already if all went well
	mode := fs.FileMode(0o644)
	if i, err := os.Stat(f.Name); err == nil {
		mode = i.Mode().Perm()
		if s, ok := i.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			if err := t.Chown(int(s.Uid), int(s.Gid)); err != nil {
				return errors.Join(err, t.Close())
			}
		}
	}
	_, err = t.Write(f.New)
	if err = errors.Join(err, t.Chmod(mode), t.Sync(), t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), f.Name)
}
