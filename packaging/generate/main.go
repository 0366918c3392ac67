// Command generate makes the files of the packages that follow from the broker's options, so
// that they cannot go stale: the configuration with every option explained, the manual pages
// qpidd(1) and qpidd.conf(5), and the completions for bash, zsh and fish.
//
//	generate MANUALS DIR    MANUALS holds qpidd.1.in and qpidd.conf.5.in, DIR is written to
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: generate MANUALS DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "generate: "+err.Error())
		os.Exit(1)
	}
}

// write writes all files.
func write(manuals, dir string) error {
	options := config.Describe()
	files := map[string]string{
		"qpidd.conf": configuration(options),
		"qpidd.bash": bash(options),
		"_qpidd":     zsh(options),
		"qpidd.fish": fish(options),
	}
	for name, text := range map[string]string{"qpidd.1": manOptions(options), "qpidd.conf.5": manFile(options)} {
		frame, err := os.ReadFile(filepath.Join(manuals, name+".in"))
		if err != nil {
			return err
		}
		files[name] = strings.NewReplacer("@OPTIONS@\n", text, "@VERSION@", daemon.Version).Replace(string(frame))
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// entry is an option with its explanation.
type entry struct {
	config.Option
	explanation
}

// help is the option's help as a sentence, and what there is to say beyond.
func (e *entry) help() string {
	text := strings.ToUpper(e.Usage[:1]) + e.Usage[1:] + "."
	if e.text != "" {
		text += " " + e.text
	}
	return text
}

// inSections joins options with the sections. Those that no section names follow in one of
// their own; those of the command line are left out.
func inSections(options []config.Option) (titles []section, entries [][]entry) {
	rest := slices.Clone(options)
	take := func(name string) (o config.Option, there bool) {
		i := slices.IndexFunc(rest, func(o config.Option) bool { return o.Name == name })
		if i < 0 {
			return o, false
		}
		o = rest[i]
		rest = slices.Delete(rest, i, i+1)
		return o, true
	}
	for _, name := range commandLine {
		take(name)
	}
	for _, s := range sections {
		var list []entry
		for _, x := range s.list {
			if o, there := take(x.name); there {
				list = append(list, entry{o, x})
			}
		}
		titles, entries = append(titles, s), append(entries, list)
	}
	var further []entry
	for _, o := range rest {
		further = append(further, entry{Option: o})
	}
	if len(further) > 0 {
		titles, entries = append(titles, section{title: "Further options"}), append(entries, further)
	}
	return titles, entries
}

// configuration is the configuration of the packages.
func configuration(options []config.Option) string {
	var b strings.Builder
	b.WriteString(`# Configuration of qpidd, the broker: NAME=VALUE in each line. Lines that begin with # are
# comments, and show each option with its default, or with an example where there is none.
# The command line and the environment (QPID_NAME) come before this file. See qpidd.conf(5).
#
# systemctl reload qpidd follows changes of the log and of users, all others take
# systemctl restart qpidd. qpid-cluster doctor tells whether all is well.
`)
	titles, entries := inSections(options)
	for i, s := range titles {
		fmt.Fprintf(&b, "\n\n# %s %s\n", s.title, strings.Repeat("-", 92-len(s.title)))
		comment(&b, s.about)
		for _, e := range entries[i] {
			b.WriteString("\n")
			comment(&b, e.help())
			if e.active != "" {
				fmt.Fprintf(&b, "%s=%s\n", e.Name, e.active)
			} else {
				fmt.Fprintf(&b, "#%s=%s\n", e.Name, e.shown())
			}
		}
	}
	return b.String()
}

// shown is the value that the configuration shows.
func (e *entry) shown() string {
	switch {
	case e.example != "":
		return e.example
	case e.Default == "":
		return e.Argument
	case e.Argument == "":
		return "true"
	}
	return e.Default
}

// comment writes a text as lines of a comment.
func comment(b *strings.Builder, text string) {
	const most = 94
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > most {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	if line != "#" {
		b.WriteString(line + "\n")
	}
}
