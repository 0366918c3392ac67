package main

import (
	"fmt"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

// files tells whether an option's value is the name of a file, and directories likewise.
func files(o *config.Option) bool { return o.Argument == "FILE" }

func directories(o *config.Option) bool { return o.Argument == "DIR" }

// choices are the values that an option can have, if they are few.
func choices(o *config.Option) []string {
	switch {
	case o.Argument == "yes|no":
		return []string{"yes", "no"}
	case o.Name == "ring-provider":
		return []string{config.Totem, config.Corosync}
	case o.Name == "firewall":
		return config.FirewallModes
	case o.Name == "sync":
		return []string{config.SyncMajority, config.SyncAll, config.SyncLocal, config.SyncNone}
	}
	return nil
}

// bash completes the names of options, and the values of some. Bash takes an option's = for a
// word of its own.
func bash(options []config.Option) string {
	var names, file, dir []string
	var cases strings.Builder
	for i := range options {
		o := &options[i]
		name := "--" + o.Name
		switch list := choices(o); {
		case files(o):
			file = append(file, name)
		case directories(o):
			dir = append(dir, name)
		case list != nil:
			fmt.Fprintf(&cases, "        %s) COMPREPLY=($(compgen -W %q -- \"$cur\")); return ;;\n", name, strings.Join(list, " "))
		}
		if o.Argument != "" {
			name += "="
		}
		names = append(names, name)
	}
	return fmt.Sprintf(`# bash completion for qpidd
_qpidd() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    case $prev in
        %s) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        %s) COMPREPLY=($(compgen -d -- "$cur")); return ;;
%s    esac
    COMPREPLY=($(compgen -W "%s" -- "$cur"))
    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
}
complete -F _qpidd qpidd
`, strings.Join(file, "|"), strings.Join(dir, "|"), cases.String(), strings.Join(names, " "))
}

func zsh(options []config.Option) string {
	var b strings.Builder
	b.WriteString("#compdef qpidd\n# zsh completion for qpidd\n_arguments -s \\\n")
	quote := strings.NewReplacer(`'`, `'\''`, `[`, `\[`, `]`, `\]`, `:`, `\:`)
	for i := range options {
		o := &options[i]
		value := ""
		if o.Argument != "" {
			value = "=" // the value may follow after a space, too
		}
		what := ""
		switch list := choices(o); {
		case files(o):
			what = ":file:_files"
		case directories(o):
			what = ":directory:_files -/"
		case list != nil:
			what = ":value:(" + strings.Join(list, " ") + ")"
		case o.Argument != "":
			what = ":" + quote.Replace(strings.ToLower(o.Argument)) + ": "
		}
		many := ""
		if o.Repeatable {
			many = "*"
		}
		fmt.Fprintf(&b, "  '%s--%s%s[%s]%s' \\\n", many, o.Name, value, quote.Replace(o.Usage), what)
		if o.Shorthand != "" {
			fmt.Fprintf(&b, "  '-%s[%s]%s' \\\n", o.Shorthand, quote.Replace(o.Usage), what)
		}
	}
	b.WriteString("  && return 0\n")
	return b.String()
}

func fish(options []config.Option) string {
	var b strings.Builder
	b.WriteString("# fish completion for qpidd\ncomplete -c qpidd -f\n")
	for i := range options {
		o := &options[i]
		fmt.Fprintf(&b, "complete -c qpidd -l %s", o.Name)
		if o.Shorthand != "" {
			fmt.Fprintf(&b, " -s %s", o.Shorthand)
		}
		switch list := choices(o); {
		case files(o):
			b.WriteString(" -r -F")
		case directories(o):
			b.WriteString(" -x -a '(__fish_complete_directories)'")
		case list != nil:
			fmt.Fprintf(&b, " -x -a '%s'", strings.Join(list, " "))
		case o.Argument != "":
			b.WriteString(" -x")
		}
		fmt.Fprintf(&b, " -d '%s'\n", strings.ReplaceAll(o.Usage, "'", `\'`))
	}
	return b.String()
}
