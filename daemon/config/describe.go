package config

import "github.com/spf13/pflag"

// Option is what there is to say of an option, for manuals and completions.
type Option struct {
	Name       string
	Shorthand  string // one letter, or empty
	Argument   string // what stands for its value; empty: it is a switch
	Default    string
	Usage      string
	Repeatable bool
}

// Describe lists all options, in the order of the help.
func Describe() (list []Option) {
	(&Options{}).flags().VisitAll(func(f *pflag.Flag) {
		argument, usage := pflag.UnquoteUsage(f)
		o := Option{Name: f.Name, Shorthand: f.Shorthand, Argument: argument, Default: f.DefValue, Usage: usage}
		switch f.Value.Type() {
		case "stringArray":
			o.Repeatable, o.Default = true, ""
			if v, ok := f.Value.(pflag.SliceValue); ok && len(v.GetSlice()) > 0 {
				o.Default = v.GetSlice()[0]
			}
		case "bool":
			o.Argument = ""
		}
		list = append(list, o)
	})
	return list
}
