package doctor

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/reach"
	"github.com/qpidd-cluster/qpidd-cluster/host/firewall"
)

// tablePrefix begins the names of brokers' tables.
const tablePrefix = "qpidd-"

// reach is what has to get in.
func (h *host) reach() reach.Reach {
	return reach.Reach{Ring: h.ring, At: netip.AddrPortFrom(h.self, h.ring.Link.Port),
		Mesh: uint16(h.options.MeshPort), Clients: []uint16{uint16(h.options.Port)}}
}

// firewall: what rules of others drop.
func (h *host) firewall() (list []Finding) {
	if h.ring == nil {
		return h.noRing()
	}
	r := h.reach()
	found, err := firewall.Obstacles(fmt.Sprintf("%s%d", tablePrefix, h.options.Port), r.Probes())
	if err != nil {
		return one(Unknown, err.Error(), "run it as root")
	}
	for i := range found {
		list = append(list, Finding{Verdict: Error, Safe: true, Fix: found[i].Command,
			Evidence: fmt.Sprintf("%s drops %s (%s port %d)", found[i].Chain, found[i].What, strings.ToUpper(found[i].Protocol), found[i].Port)})
		if !found[i].Sure {
			list[len(list)-1].Verdict = Warning
			list[len(list)-1].Evidence += ", as far as its rules can be read"
		}
	}
	if len(list) == 0 {
		mesh := "one for members that the broker picks"
		if r.Mesh != 0 {
			mesh = strconv.Itoa(int(r.Mesh))
		}
		return fine("nothing drops what the broker is to get: UDP port %d, TCP ports %d and %s", r.At.Port(), h.options.Port, mesh)
	}
	return list
}

// leftovers: tables of brokers that were killed, and would keep others from their ports.
func (h *host) leftovers() (list []Finding) {
	tables, err := firewall.Tables(tablePrefix)
	if err != nil {
		return one(Unknown, err.Error(), "run it as root")
	}
	listening := listeners("tcp", "tcp6")
	for _, name := range tables {
		port, err := strconv.Atoi(strings.TrimPrefix(name, tablePrefix))
		if err != nil || listening[port] != nil {
			continue
		}
		list = append(list, Finding{Verdict: Warning, Safe: true, Fix: "nft delete table inet " + name,
			Evidence: fmt.Sprintf("table inet %s is in the firewall, and no broker listens at port %d: one was killed", name, port)})
	}
	if len(list) == 0 {
		return fine("no table of a broker that is gone")
	}
	return list
}

// ports: whoever else has the broker's.
func (h *host) ports() (list []Finding) {
	if h.options == nil {
		return h.noRing()
	}
	other := func(protocol string, port int, option string, tables ...string) {
		if port == 0 {
			return
		}
		for _, who := range listeners(tables...)[port] {
			if who != "qpidd" && who != "systemd" {
				list = append(list, Finding{Verdict: Error, Evidence: fmt.Sprintf("%s port %d belongs to %s", protocol, port, who),
					Fix: fmt.Sprintf("stop it, or give the broker another %s in qpidd.conf", option)})
			}
		}
	}
	other("TCP", h.options.Port, "port", "tcp", "tcp6")
	if h.ring != nil {
		other("TCP", h.options.MeshPort, "mesh-port", "tcp", "tcp6")
		other("UDP", int(h.ring.Link.Port), "mcastport", "udp", "udp6")
	}
	if len(list) == 0 {
		return fine("the broker's ports are its own, or free")
	}
	return list
}

// corosync: one that runs, and what the broker has to do with it.
func (h *host) corosync() []Finding {
	runs := len(processes("corosync")) > 0
	if h.options == nil || h.options.Provider != config.Corosync {
		if runs && h.ring != nil && slices.Contains(listeners("udp", "udp6")[int(h.ring.Link.Port)], "corosync") {
			return one(Error, fmt.Sprintf("a corosync runs on this host and has UDP port %d, the ring's", h.ring.Link.Port), "ring-provider=corosync in qpidd.conf has the broker use it; or another mcastport for one of them")
		}
		return fine("%s", map[bool]string{true: "one runs, at another port", false: "none runs, none is needed"}[runs])
	}
	if !runs {
		return safely(Error, "ring-provider=corosync, and no corosync runs", "systemctl start corosync")
	}
	if admitted() {
		return fine("it runs, and admits qpidd")
	}
	return safely(Error, "corosync runs, and no rule in /etc/corosync/uidgid.d or corosync.conf admits user or group qpidd",
		`printf 'uidgid {\n\tuid: qpidd\n\tgid: qpidd\n}\n' >/etc/corosync/uidgid.d/qpidd && corosync-cfgtool -R`)
}

// admitted tells whether a rule of corosync's names qpidd.
func admitted() bool {
	files, _ := filepath.Glob("/etc/corosync/uidgid.d/*") // the pattern is right
	for _, name := range append(files, "/etc/corosync/corosync.conf") {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			kind, who, _ := strings.Cut(strings.TrimSpace(line), ":")
			if (kind == "uid" || kind == "gid") && strings.TrimSpace(who) == "qpidd" {
				return true
			}
		}
	}
	return false
}

// processes are the ids of those with a name on this host's network: those of containers with a network of
// their own are on another host, and one that has ended is on none.
func processes(name string) (pids []string) {
	own, _ := os.Readlink("/proc/self/ns/net")
	files, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is right
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || strings.TrimSpace(string(b)) != name {
			continue
		}
		if at, err := os.Readlink(filepath.Join(filepath.Dir(f), "ns/net")); err != nil && !os.IsPermission(err) || err == nil && at != own {
			continue
		}
		pids = append(pids, filepath.Base(filepath.Dir(f)))
	}
	return pids
}

// listeners are the names of the processes that have a port, by the kernel's tables: of TCP those
// that listen. Who cannot be told is "another process".
func listeners(tables ...string) map[int][]string {
	const listening = "0A"
	inodes := map[string]int{}
	ports := map[int][]string{}
	for _, table := range tables {
		f, err := os.Open("/proc/net/" + table)
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			words := strings.Fields(s.Text()) // sl local remote state …, the inode is the tenth
			if len(words) < 10 || strings.HasPrefix(table, "tcp") && words[3] != listening {
				continue
			}
			port, err := strconv.ParseUint(words[1][strings.LastIndexByte(words[1], ':')+1:], 16, 16)
			if err == nil {
				inodes[words[9]] = int(port)
			}
		}
		f.Close()
	}
	owners := map[string]string{}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is right
	for _, l := range links {
		to, err := os.Readlink(l)
		inode := strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")
		if _, ours := inodes[inode]; err != nil || !ours {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(l)), "comm")) // it may have ended
		owners[inode] = strings.TrimSpace(string(name))
	}
	for inode, port := range inodes {
		name := owners[inode]
		if name == "" {
			name = "another process"
		}
		if !slices.Contains(ports[port], name) {
			ports[port] = append(ports[port], name)
		}
	}
	return ports
}
