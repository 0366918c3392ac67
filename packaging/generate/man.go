package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

// roff keeps a text from being taken for instructions.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

// manOptions are the options as qpidd(1) lists them: first those of the command line alone.
func manOptions(options []config.Option) string {
	var b strings.Builder
	b.WriteString(".SS On the command line only\n")
	for _, o := range options {
		if slices.Contains(commandLine, o.Name) {
			manOption(&b, &entry{Option: o})
		}
	}
	titles, entries := inSections(options)
	for i, s := range titles {
		fmt.Fprintf(&b, ".SS %s\n", roff(s.title))
		if s.about != "" {
			b.WriteString(roff(s.about) + "\n")
		}
		for _, e := range entries[i] {
			manOption(&b, &e)
		}
	}
	return b.String()
}

func manOption(b *strings.Builder, e *entry) {
	b.WriteString(".TP\n")
	if e.Shorthand != "" {
		fmt.Fprintf(b, `\fB\-%s\fR, `, e.Shorthand)
	}
	fmt.Fprintf(b, `\fB\-\-%s\fR`, roff(e.Name))
	if e.Argument != "" {
		fmt.Fprintf(b, `=\fI%s\fR`, roff(e.Argument))
	}
	b.WriteString("\n" + roff(e.help()) + "\n")
	manDefault(b, e)
}

func manDefault(b *strings.Builder, e *entry) {
	if e.Default != "" && e.Default != "false" && e.Default != "0s" && !strings.Contains(e.Usage, "default") {
		fmt.Fprintf(b, "The default is \\fB%s\\fR.\n", roff(e.Default))
	}
}

// manFile are the options as qpidd.conf(5) lists them.
func manFile(options []config.Option) string {
	var b strings.Builder
	titles, entries := inSections(options)
	for i, s := range titles {
		fmt.Fprintf(&b, ".SS %s\n", roff(s.title))
		if s.about != "" {
			b.WriteString(roff(s.about) + "\n")
		}
		for _, e := range entries[i] {
			argument := e.Argument
			if argument == "" {
				argument = "true|false"
			}
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR=\\fI%s\\fR\n%s\n", roff(e.Name), roff(argument), roff(e.help()))
			manDefault(&b, &e)
			if e.active != "" {
				fmt.Fprintf(&b, "The packages set \\fB%s\\fR.\n", roff(e.active))
			}
		}
	}
	return b.String()
}
