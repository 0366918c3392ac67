package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxNotices bounds what is said of one file.
const maxNotices = 64

// MaxNodes is how many nodes a ring can have.
const MaxNodes = 384

// parser makes a Config of what a file consists of.
type parser struct {
	c          *Config
	directives map[string]directive
	line       int
	notices    []Notice

	// Of sections that may be there several times, what the open one says.
	iface      Interface
	ifaceLine  int
	ringNumber int
	node       Node
	logger     Logger
	device     Device

	secauth     bool
	unprotected error // found on the way, if there is nothing worse
}

// Parse reads a corosync.conf. Notices are returned with an error, too.
func Parse(file string, data []byte) (*Config, []Notice, error) {
	p := &parser{c: defaults(file), device: *defaultDevice()}
	p.directives = p.table()
	err := read(file, data, p)
	if err == nil {
		err = p.finish()
	}
	slices.SortStableFunc(p.notices, func(a, b Notice) int { return a.Line - b.Line })
	if err != nil {
		return nil, p.notices, err
	}
	return p.c, p.notices, nil
}

// notice says something of a line.
func (p *parser) notice(line int, format string, args ...any) {
	switch n := len(p.notices); {
	case n < maxNotices-1:
		p.notices = append(p.notices, Notice{p.c.File, line, fmt.Sprintf(format, args...)})
	case n == maxNotices-1:
		p.notices = append(p.notices, Notice{p.c.File, line, "there is more like this further down"})
	}
}

func (p *parser) known(path string, item bool) bool {
	if item {
		_, ok := p.directives[path]
		return ok
	}
	_, ok := sections[path]
	return ok
}

func (p *parser) begin(line int, path string) error {
	p.line = line
	idle, ok := sections[path]
	switch {
	case !ok && opaque(parent(path)):
		return nil
	case !ok:
		return p.strange(path)
	case idle != "":
		p.notice(line, "section %s: %s", path, idle)
	}
	first := p.c.lines[path] == 0
	if first {
		p.c.lines[path] = line
	}
	if about := concerns[path]; about != "" && first {
		p.notice(line, "section %s: %s", path, about)
	}
	switch path {
	case "totem.interface":
		p.iface, p.ringNumber = defaultInterface(), -1
		p.iface.Link, p.ifaceLine = -1, line
	case "nodelist.node":
		if len(p.c.Nodes) == MaxNodes {
			return fmt.Errorf("the nodelist has more than %d nodes", MaxNodes)
		}
		p.c.lines[p.nodePath()] = line
		p.node = Node{Votes: 1}
	case "logging.logger_subsys", "logging.logging_daemon":
		p.logger = defaultLogger()
	case "quorum.device":
		p.c.Quorum.Device = &p.device
	}
	return nil
}

// strange takes a section that nobody knows, or refuses one that belongs elsewhere.
func (p *parser) strange(path string) error {
	name := last(path)
	var names []string
	for s := range sections {
		if parent(s) == parent(path) {
			names = append(names, last(s))
		} else if last(s) == name && parent(s) != "" {
			return fmt.Errorf("section %q belongs into section %q: move it there, or remove a } above that is one too many", name, parent(s))
		}
	}
	p.notice(p.line, "section %s is not known and has no effect%s", path, mean(name, names))
	return nil
}

func (p *parser) end(line int, path string) error {
	p.line = line
	switch path {
	case "totem.interface":
		return p.endInterface()
	case "nodelist.node":
		p.c.Nodes = append(p.c.Nodes, p.node)
	case "logging.logger_subsys", "logging.logging_daemon":
		if path == "logging.logger_subsys" && p.logger.Subsys == "" {
			return errors.New("the logger_subsys that ends here has no subsys: add one, as in subsys: QUORUM")
		}
		p.c.Logging.Subsystems = append(p.c.Logging.Subsystems, p.logger)
	}
	return nil
}

func (p *parser) nodePath() string { return fmt.Sprintf("nodelist.node.%d", len(p.c.Nodes)) }

// newInterface stands in paths for a link whose number is not known before its section ends.
const newInterface = "totem.interface.new."

func (p *parser) item(line int, section, key, value string) error {
	p.line = line
	if opaque(section) {
		return nil
	}
	path := join(section, key)
	d, ok := p.directives[path]
	if !ok {
		return p.stranger(section, key)
	}
	where := path
	switch section {
	case "totem.interface":
		where = newInterface + key
	case "nodelist.node":
		where = p.nodePath() + "." + key
	case "totem.interface.member", "uidgid", "logging.logger_subsys", "logging.logging_daemon":
		where = fmt.Sprintf("%s.%d", path, line) // may be there many times
	}
	if before := p.c.lines[where]; before != 0 {
		p.notice(line, "%s is in line %d already; this one counts", path, before)
	}
	p.c.lines[where] = line
	if err := d.set(value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if d.idle != "" {
		p.notice(line, "%s: %s", path, d.idle)
	}
	return nil
}

// stranger takes a directive that nobody knows, where corosync does.
func (p *parser) stranger(section, key string) error {
	path := join(section, key)
	switch {
	case section == "uidgid":
		return errUIDGID(key)
	case section == "totem.interface.member":
		return fmt.Errorf("%s: a section member has memberaddr, and nothing else", shorten(key))
	case section == "nodelist.node" && strings.HasPrefix(key, "ring") && strings.HasSuffix(key, "_addr"):
		return fmt.Errorf("%s: a node has %d links at the most, ring0_addr to ring%d_addr", shorten(key), MaxLinks, MaxLinks-1)
	}
	if len(p.notices) == maxNotices && !p.protects(section, key) {
		return nil // no need to think of what might be meant
	}
	var names, homes []string
	for d := range p.directives {
		if parent(d) == section {
			names = append(names, last(d))
		}
		if last(d) == key {
			homes = append(homes, parent(d))
		}
	}
	hint := mean(key, names)
	if len(homes) == 1 {
		hint = "; it belongs into section " + homes[0]
	}
	if strings.ContainsAny(key, " \t\u00a0") {
		return fmt.Errorf("the name %q has a space in it%s", shorten(key), hint)
	}
	if p.unprotected == nil && p.protects(section, key) {
		p.unprotected = &Error{p.c.File, p.line, fmt.Sprintf("%s is not known, and packets would go unprotected%s", shorten(path), hint)}
		return nil
	}
	p.notice(p.line, "%s is not known and has no effect%s", shorten(path), hint)
	return nil
}

// protects tells whether a name that is not known, or not there, is likely to be meant for one
// that protects packets. That must not be overlooked.
func (p *parser) protects(section, key string) bool {
	for d := range p.security() {
		if last(d) == key || strings.HasPrefix(section, "totem") && len(key) > 4 && edits(strings.ToLower(key), last(d)) <= 2 {
			return true
		}
	}
	return false
}

func errUIDGID(key string) error {
	return fmt.Errorf("%s: a section uidgid has uid and gid, and nothing else", shorten(key))
}

// endInterface files an interface, and its lines, under its link.
func (p *parser) endInterface() error {
	i := p.iface
	i.ring = i.Link < 0 && p.ringNumber >= 0
	if i.Link < 0 {
		i.Link = max(p.ringNumber, 0)
	}
	if i.McastPort == 0 {
		i.McastPort = DefaultPort + uint16(i.Link)
	}
	for path, line := range p.c.lines {
		if key, ok := strings.CutPrefix(path, newInterface); ok {
			delete(p.c.lines, path)
			p.c.lines[fmt.Sprintf("totem.interface.%d.%s", i.Link, key)] = line
		}
	}
	path := fmt.Sprintf("totem.interface.%d", i.Link)
	before := p.c.lines[path]
	p.c.lines[path] = p.ifaceLine
	if before != 0 {
		return p.fail(path, "this interface is of link %d, and so is that of line %d: give each a linknumber of its own, or make one of them", i.Link, before)
	}
	p.c.Interfaces = append(p.c.Interfaces, i)
	slices.SortFunc(p.c.Interfaces, func(a, b Interface) int { return a.Link - b.Link })
	return nil
}
